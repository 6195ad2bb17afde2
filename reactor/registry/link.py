"""The connection to Redis: opened, checked, translated.

What this is: a pool of connections to one primary, and the one place where redis-py's errors become ours. What it is
not: any knowledge of sessions. The invariant: no command runs on a server whose run id was not witnessed: a connection
that meets another run id than the trusted one is closed before its first command (a restart may have rewound data).
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reactor.errors import ConfigError, ForeignData, OutOfMemory, PermissionRefused, ReactorError, Unavailable
from reactor.registry.scripts import Script, load_script

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from redis.asyncio.connection import AbstractConnection

CONNECT_TIMEOUT = 3.0
COMMAND_TIMEOUT = 5.0
"""Seconds; beyond any script of ours, short against every lease."""
POOL_SIZE = 16
MIN_REDIS = (7, 0)
MIN_VALKEY = (7, 2)


class RunIdChanged(Unavailable):
    """The server is another process than the one that was witnessed; its evidence has to be looked at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a connection says of the server behind it."""

    run_id: str
    version: str
    role: str
    cluster: bool
    valkey: bool

    def check(self) -> None:
        """Raise `Unavailable` for a server that cannot carry sessions: too old, a cluster, or a replica."""
        numbers = tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])
        needed = MIN_VALKEY if self.valkey else MIN_REDIS
        name = "Valkey" if self.valkey else "Redis"
        if numbers < needed:
            message = f"{name} {self.version} is too old; use {name} {needed[0]}.{needed[1]} or later"
            raise Unavailable(message)
        if self.cluster:
            message = "a Redis Cluster is not supported; point REDIS_URL at a single primary"
            raise Unavailable(message)
        if self.role != "master":
            message = f"this Redis is a {self.role}, not a primary; point REDIS_URL at the primary"
            raise Unavailable(message)


def parse_server(info: str) -> Server:
    """Read the answer of `INFO server replication`; raise `Unavailable` where it is not one."""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    valkey = "valkey_version" in fields
    if "run_id" not in fields or "role" not in fields:
        message = "the server behind REDIS_URL does not answer INFO like Redis"
        raise Unavailable(message)
    return Server(
        run_id=fields["run_id"],
        version=fields.get("valkey_version", fields.get("redis_version", "0")),
        role=fields["role"],
        cluster=fields.get("redis_mode", fields.get("server_mode")) == "cluster",
        valkey=valkey,
    )


_PASSING = (
    "LOADING",
    "MASTERDOWN",
    "READONLY",
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "UNKILLABLE",
)


@contextmanager
def redis_errors(where: str) -> Generator[None]:
    """Turn redis-py's errors into ours; `where` is the address for the message, without secrets."""
    try:
        yield
    except ReactorError:
        raise
    except (exceptions.AuthenticationError, exceptions.AuthenticationWrongNumberOfArgsError) as error:
        message = f"Redis at {where} refused the password: {error}; check REDIS_URL"
        raise PermissionRefused(message) from error
    except exceptions.NoPermissionError as error:
        message = f"Redis at {where} lacks a permission: {error}; see users.acl"
        raise PermissionRefused(message) from error
    except exceptions.OutOfMemoryError as error:
        message = f"Redis at {where} is out of memory (maxmemory); nothing was started"
        raise OutOfMemory(message) from error
    except exceptions.ResponseError as error:
        raise _answered(error, where) from error
    except (exceptions.RedisError, OSError, EOFError) as error:
        message = f"cannot reach Redis at {where}: {_one_line(error)}; is it running, is REDIS_URL right?"
        raise Unavailable(message) from error


def _answered(error: exceptions.ResponseError, where: str) -> ReactorError:
    # In a pipeline redis-py puts the command in front of what the server said, and says it as a tuple of one.
    text = _one_line(error).rpartition("of pipeline caused error: ")[2].removeprefix("('").removesuffix("',)")
    if isinstance(error, (exceptions.ReadOnlyError, exceptions.ClusterDownError)) or text.startswith(_PASSING):
        return Unavailable(f"Redis at {where} cannot work now: {text}")
    if text.startswith("WRONGTYPE"):
        return ForeignData(
            f"a key of ours in Redis at {where} has another type; it is left alone, look at it and DEL it"
        )
    if text.startswith("SCHEMA"):
        return ForeignData(
            f"{text.removeprefix('SCHEMA ').split(' script:')[0]}; it is left alone (newer version running?)"
        )
    if "OOM" in text:
        return OutOfMemory(f"Redis at {where} is out of memory (maxmemory); nothing was started")
    if "NOPERM" in text or "ACL failure" in text:
        return PermissionRefused(f"Redis at {where} lacks a permission: {text}; see users.acl")
    return Unavailable(f"Redis at {where} refused: {text}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def shown_address(url: str) -> str:
    """Return where a Redis URL points, without user and password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


class RedisLink:
    """A pool to one Redis primary. Safe for many tasks at once; a cancelled command costs only its connection."""

    def __init__(self, url: str) -> None:
        """Note where to connect; nothing is sent yet. Raises `ConfigError` for a URL that redis-py cannot read."""
        self.where = shown_address(url)
        self.run_id = ""
        self._url = url.replace("valkey://", "redis://", 1).replace("valkeys://", "rediss://", 1)
        self._tcp: dict[str, Any] = {} if url.startswith("unix:") else {"socket_keepalive": True}
        try:
            self.client = self._client(POOL_SIZE, self._check_run_id)
        except ValueError as error:
            message = f"REDIS_URL is not usable: {_one_line(error)}"
            raise ConfigError(message) from error
        self.database = int(self.client.connection_pool.connection_kwargs.get("db") or 0)

    def _client(self, size: int, connected: object) -> Redis:
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=size,
            timeout=COMMAND_TIMEOUT,
            socket_timeout=COMMAND_TIMEOUT,
            socket_connect_timeout=CONNECT_TIMEOUT,
            decode_responses=True,
            **self._tcp,
            encoding_errors="backslashreplace",
            protocol=2,
            driver_info=None,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=connected,
        )
        return Redis.from_pool(pool)

    async def _check_run_id(self, connection: AbstractConnection) -> None:
        await connection.on_connect()
        server = await _introduce(connection)
        if server.run_id != self.run_id:
            message = f"Redis at {self.where} is another process than before"
            raise RunIdChanged(message)

    async def look(self) -> Server:
        """Ask the server who it is, on a connection of its own; raises `Unavailable` or `PermissionRefused`."""
        client = self._client(1, None)
        try:
            with redis_errors(self.where):
                info = cast("Any", await client.execute_command("INFO", "server"))
                more = cast("Any", await client.execute_command("INFO", "replication"))
        finally:
            await client.aclose()
        server = _from_fields({**info, **more})
        server.check()
        return server

    def trust(self, server: Server) -> None:
        """From here on only connections to this server process carry commands."""
        self.run_id = server.run_id

    def subscriber(self) -> Redis:
        """Return a client of its own for a subscription, in bytes; the caller closes it."""
        return Redis.from_url(
            self._url,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_TIMEOUT,
            decode_responses=False,
            **self._tcp,
            protocol=2,
            driver_info=None,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
        )

    async def run(self, name: Script, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Run one script once; every error is ours afterwards. The effect is unknown after `Unavailable`."""
        script = load_script(name)
        client = cast("Any", self.client)
        with redis_errors(self.where):
            try:
                return await client.evalsha(script.sha, len(keys), *keys, *args)
            except exceptions.NoScriptError:
                return await client.eval(script.body, len(keys), *keys, *args)

    async def run_many(self, name: Script, calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]) -> list[Any]:
        """Run one script many times in one round trip; an entry that Redis refused is returned as our error."""
        script = load_script(name)
        with redis_errors(self.where):
            replies = await self._pipelined(script.sha, calls)
            if any(isinstance(reply, exceptions.NoScriptError) for reply in replies):
                await cast("Any", self.client).script_load(script.body)
                replies = await self._pipelined(script.sha, calls)
        return [_answered(r, self.where) if isinstance(r, exceptions.ResponseError) else r for r in replies]

    async def _pipelined(self, sha: str, calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]) -> list[Any]:
        pipe = cast("Any", self.client.pipeline(transaction=False))
        for keys, args in calls:
            pipe.evalsha(sha, len(keys), *keys, *args)
        return cast("list[Any]", await pipe.execute(raise_on_error=False))

    async def aclose(self) -> None:
        """Close every connection. Twice is fine."""
        await self.client.aclose()


async def _introduce(connection: AbstractConnection) -> Server:
    lines: list[str] = []
    for section in ("server", "replication"):
        await connection.send_command("INFO", section, check_health=False)
        reply = cast("bytes | str", await connection.read_response())
        lines.append(reply.decode() if isinstance(reply, bytes) else str(reply))
    return parse_server("\n".join(lines))


def _from_fields(fields: dict[str, object]) -> Server:
    return parse_server("\n".join(f"{name}:{value}" for name, value in fields.items()))
