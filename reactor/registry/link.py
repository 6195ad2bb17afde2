"""The connection to Redis: opened, checked, translated.

What this is: a pool of connections to one primary, and the one place where redis-py's errors become ours. What it is
not: any knowledge of sessions. The invariant: no command runs on a server whose run id was not witnessed: a connection
that meets another run id than the trusted one is closed before its first command (a restart may have rewound data).
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import anyio
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reactor.errors import ConfigError, ForeignData, OutOfMemory, PermissionRefused, ReactorError, Unavailable
from reactor.registry.pulse import Lane, Pulse, UnexpectedAnswer
from reactor.registry.scripts import Script, load_script
from reactor.registry.server import Server, parse_server

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    from redis.asyncio.connection import AbstractConnection

CONNECT_TIMEOUT = 3.0
COMMAND_TIMEOUT = 5.0
"""Seconds; beyond any script of ours, short against every lease."""
CLOSE_SECONDS = 1.0
POOL_SIZE = 16


READING = frozenset({Script.NEXT_DUE, Script.SAMPLE})
"""Scripts that write nothing: a Redis that refuses heartbeats answers them."""


class RunIdChanged(UnexpectedAnswer):
    """The server is another process than the one that was witnessed; its evidence has to be looked at first."""


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
    except AttributeError as error:
        if error.name != "_add_writer":
            raise
        # Python up to 3.13.5 says it so when it writes to a connection that was lost at this very moment.
        message = f"cannot reach Redis at {where}: the connection was lost"
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
    return UnexpectedAnswer(f"Redis at {where} refused: {text}")


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

    def __init__(self, url: str, pulse: Pulse | None = None) -> None:
        """Note where to connect; nothing is sent yet. Raises `ConfigError` for a URL that redis-py cannot read.

        `pulse` is told how the commands fare.
        """
        self.where = shown_address(url)
        self.pulse = pulse
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
            with self.lane(Lane.PROBE), redis_errors(self.where):
                info = cast("Any", await client.execute_command("INFO", "server"))
                more = cast("Any", await client.execute_command("INFO", "replication"))
        finally:
            await client.aclose()
        server = _from_fields({**info, **more})
        server.check()
        return server

    async def ask(self, name: Script, keys: Sequence[str], now_ms: Callable[[], int]) -> tuple[int, Any, int]:
        """Run a reading script on a connection of its own, whatever server is behind it.

        Returns when it was asked, the answer, and when that was told, by `now_ms`.
        """
        client = cast("Any", self._client(1, None))
        try:
            with self.lane(Lane.PROBE), redis_errors(self.where):
                await client.ping()  # connects: only the question itself is timed
                asked = now_ms()
                reply = await client.eval(load_script(name).body, len(keys), *keys)
                return asked, reply, now_ms()
        finally:
            await client.aclose()

    async def trust(self, server: Server) -> None:
        """From here on only connections to this server process carry commands."""
        changed = self.run_id not in ("", server.run_id)
        self.run_id = server.run_id
        if changed:  # a name may lead to two servers: what is idle in the pool may lead to the other one
            await self.client.connection_pool.disconnect(inuse_connections=False)

    def lane(self, lane: Lane) -> AbstractContextManager[None]:
        """Note how the commands of the body fare, where anybody wants to know."""
        return nullcontext() if self.pulse is None else self.pulse.lane(lane)

    def _lane_of(self, name: Script) -> AbstractContextManager[None]:
        return nullcontext() if name in READING else self.lane(Lane.WRITES)

    def prober(self) -> Redis:
        """Return a client with one connection of its own, to the trusted server alone; the caller closes it."""
        return self._client(1, self._check_run_id)

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
        with self._lane_of(name), redis_errors(self.where):
            try:
                return await client.evalsha(script.sha, len(keys), *keys, *args)
            except exceptions.NoScriptError:
                return await client.eval(script.body, len(keys), *keys, *args)

    async def run_many(self, name: Script, calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]) -> list[Any]:
        """Run one script many times in one round trip; an entry that Redis refused is returned as our error.

        Raises `Unavailable` where Redis could not work at all.
        """
        script = load_script(name)
        with self._lane_of(name), redis_errors(self.where):
            replies = await self._pipelined(script.sha, calls)
            if any(isinstance(reply, exceptions.NoScriptError) for reply in replies):
                await cast("Any", self.client).script_load(script.body)
                replies = await self._pipelined(script.sha, calls)
            answers = [_answered(r, self.where) if isinstance(r, exceptions.ResponseError) else r for r in replies]
            for answer in answers:
                if isinstance(answer, Unavailable) and not isinstance(answer, UnexpectedAnswer):
                    raise answer
        return answers

    async def _pipelined(self, sha: str, calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]) -> list[Any]:
        pipe = cast("Any", self.client.pipeline(transaction=False))
        for keys, args in calls:
            pipe.evalsha(sha, len(keys), *keys, *args)
        return cast("list[Any]", await pipe.execute(raise_on_error=False))

    async def aclose(self) -> None:
        """Close every connection, in a cancelled task too. Twice is fine."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS):
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
