"""The connection to Redis: opened, checked, translated.

What this is: a pool of connections to one primary, and the one place where redis-py's errors become ours. What it is
not: any knowledge of sessions. The invariant: no command runs on a server whose run id was not witnessed: a connection
that meets another run id than the trusted one is closed before its first command (a restart may have rewound data).
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import anyio
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reactor.errors import ConfigError, OutOfMemory, Unavailable
from reactor.registry.courier import Courier
from reactor.registry.parcels import Group, Parcel, grouped
from reactor.registry.pulse import Lane, Pulse, UnexpectedAnswer
from reactor.registry.scripts import Script, load_script
from reactor.registry.server import Server, parse_server
from reactor.registry.translation import one_line, redis_errors, translated
from reactor.registry.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from redis.asyncio.connection import AbstractConnection

    from reactor.registry.scripts import Call

    Args = Sequence[str | int] | Callable[[], Sequence[str | int]]

CONNECT_TIMEOUT = 3.0
COMMAND_TIMEOUT = 5.0
"""Seconds; beyond any script of ours, short against every lease."""
CLOSE_SECONDS = 1.0
POOL_SIZE = 16

READING = frozenset({Script.NEXT_DUE, Script.SAMPLE, Script.WALK})
"""Scripts that write nothing: a Redis that refuses heartbeats answers them."""


class RunIdChanged(UnexpectedAnswer):
    """The server is another process than the one that was witnessed; its evidence has to be looked at first."""


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
            message = f"REDIS_URL is not usable: {one_line(error)}"
            raise ConfigError(message) from error
        self._wire = Wire(self.client.connection_pool)
        self._courier = Courier(self._send)
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
            await connection.disconnect(nowait=True)  # redis-py would keep it, and take it for good the next time
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
                reply = await client.eval(load_script(name).body, len(keys), *keys, 1)
                return asked, reply, now_ms()
        finally:
            await client.aclose()

    async def trust(self, server: Server) -> None:
        """From here on only connections to this server process carry commands."""
        changed = self.run_id not in ("", server.run_id)
        self.run_id = server.run_id
        if changed:  # a name may lead to two servers: what is idle in the pool may lead to the other one
            self._wire.forget()
            await self.client.connection_pool.disconnect(inuse_connections=False)

    def lane(self, lane: Lane) -> AbstractContextManager[None]:
        """Note how the commands of the body fare, where anybody wants to know."""
        return nullcontext() if self.pulse is None else self.pulse.lane(lane)

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

    async def run(self, name: Script, keys: Sequence[str], args: Args) -> Any:
        """Run one script once; every error is ours afterwards. The effect is unknown after `Unavailable`.

        Scripts that are asked for at the same time travel together. `args` may be a function, called when it is sent.
        """
        return await self._courier.bring(Parcel(name, keys, args if callable(args) else partial(_given, args)))

    async def run_many(self, name: Script, calls: Sequence[Call]) -> list[Any]:
        """Run one script many times in one round trip; an entry that Redis refused is returned as our error.

        Raises `Unavailable` where Redis could not work at all.
        """
        return await self._send([Parcel(name, keys, partial(_given, args)) for keys, args in calls])

    async def _send(self, parcels: Sequence[Parcel]) -> list[Any]:
        groups = list(grouped(parcels))
        lane = nullcontext() if all(group.script in READING for group in groups) else self.lane(Lane.WRITES)
        with lane, redis_errors(self.where):
            told: list[Any] = [None] * len(parcels)
            for group, reply in zip(groups, await self._replies(groups), strict=True):
                for place, answer in zip(group.places, group.answers(reply), strict=True):
                    refused = isinstance(answer, exceptions.ResponseError)
                    told[place] = translated(answer, self.where) if refused else answer
            for answer in told:
                if isinstance(answer, Unavailable) and not isinstance(answer, (UnexpectedAnswer, OutOfMemory)):
                    raise answer
            if all(isinstance(answer, OutOfMemory) for answer in told):
                raise told[0]
        return told

    async def _replies(self, groups: Sequence[Group]) -> list[Any]:
        """Send each group as one EVALSHA, all in one round trip; those that Redis does not know yet are sent again."""
        replies = await self._pipelined(groups)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
        if unknown:
            for script in {groups[at].script for at in unknown}:
                await cast("Any", self.client).script_load(load_script(script).body)
            again = await self._pipelined([groups[at] for at in unknown])
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        return replies

    async def _pipelined(self, groups: Sequence[Group]) -> list[Any]:
        return await self._wire.exchange([("EVALSHA", *group.words) for group in groups])

    async def aclose(self) -> None:
        """Close every connection, in a cancelled task too. Twice is fine."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS):
            await self._courier.aclose()
            await self._wire.aclose()
            await self.client.aclose()


def _given(args: Sequence[str | int]) -> Sequence[str | int]:
    return args


async def _introduce(connection: AbstractConnection) -> Server:
    lines: list[str] = []
    for section in ("server", "replication"):
        await connection.send_command("INFO", section, check_health=False)
        reply = cast("bytes | str", await connection.read_response())
        lines.append(reply.decode() if isinstance(reply, bytes) else str(reply))
    return parse_server("\n".join(lines))


def _from_fields(fields: dict[str, object]) -> Server:
    return parse_server("\n".join(f"{name}:{value}" for name, value in fields.items()))
