"""`python -m faultlab.clients CONFIG`: one client process, with some users, each with a session at a time.

What this is: programs as others write them: acquire through the library or the command line, then EXPIRE from a plain
Redis client at TTL/3 with jitter; acquire again on reply 0, go on trying on errors. What it is not: a checker; it
writes down what it was told. The invariant: a call is written down before it begins (but for a heartbeat) and after it
has ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from faultlab.entries import Begin, Call
from faultlab.history import Writer, now
from reactor import ReactorError, SessionManager

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE = 40.0
"""Seconds that a command line may take."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a client process does: its users by role, and the TTLs (seconds) they choose from."""

    name: str
    seed: int
    history: str
    redis_url: str
    prefix: str
    users: dict[str, int]
    ttls: tuple[int, ...]
    shared: int = 1
    """How many ids the sharers of all clients share."""


class Got(NamedTuple):
    """What an acquire gave; nothing for what gives nothing, or failed."""

    container: str = ""
    generation: int = 0
    ttl: int = 0


class Said(Exception):
    """A call that failed, with the words."""


class Client:
    """The calls, each written down."""

    def __init__(self, orders: Orders, manager: SessionManager, redis: Redis, writer: Writer) -> None:
        """Take the connections."""
        self.orders = orders
        self._manager = manager
        self._redis = redis
        self._writer = writer
        self._n = 0

    async def acquire(self, session: str, ttl: int, *, command: bool = False) -> int:
        """Get the session; returns its TTL in seconds, which it may have had before, or 0 after an error."""

        async def call() -> Got:
            if command:
                shown = json.loads(await _command("acquire", session, "--ttl", f"{ttl}s", "--json"))
                return Got(str(shown["container_id"]), int(shown["generation"]), int(shown["ttl_ms"]) // 1000)
            got = await self._manager.acquire(session, ttl=timedelta(seconds=ttl))
            return Got(str(got.container_id), got.generation, int(got.ttl.total_seconds()))

        return (await self._said("acquire", session, call, command=command)).ttl

    async def terminate(self, session: str, *, command: bool = False) -> None:
        """End the session, or hear why not."""

        async def call() -> Got:
            if command:
                await _command("terminate", session)
            else:
                await self._manager.terminate(session)
            return Got()

        await self._said("terminate", session, call, command=command)

    async def beat(self, session: str, ttl: int) -> int | None:
        """Touch the session: 1, 0, or None after an error."""
        return await self._asked("heartbeat", session, ttl, "EXPIRE", ttl)

    async def drop(self, session: str) -> int | None:
        """DEL the heartbeat key."""
        self._begin("delete", session)
        return await self._asked("delete", session, 0, "DEL")

    def _begin(self, op: str, session: str, *, command: bool = False) -> int:
        self._n += 1
        entry = Begin(client=self.orders.name, session=session, op=op, n=self._n, t_call=now(), command=command)
        self._writer.write(entry)
        return self._n

    async def _said(self, op: str, session: str, call: Callable[[], Awaitable[Got]], *, command: bool) -> Got:
        n, t_call = self._begin(op, session, command=command), now()
        error, got = "", Got()
        try:
            got = await call()
        except (ReactorError, Said) as failed:
            error = f"{type(failed).__name__}: {failed}"[:300]
        self._writer.write(
            Call(
                client=self.orders.name,
                session=session,
                op=op,
                n=n,
                t_call=t_call,
                t_ret=now(),
                ttl=got.ttl,
                container=got.container,
                generation=got.generation,
                command=command,
                error=error,
            )
        )
        return got

    async def _asked(self, op: str, session: str, ttl: int, *words: str | int) -> int | None:
        verb, *rest = words
        t_call, reply, error = now(), None, ""
        try:
            key = f"{self.orders.prefix}:session:{session}:heartbeat"
            reply = int(await cast("Any", self._redis).execute_command(verb, key, *rest))
        except (exceptions.RedisError, OSError, EOFError) as failed:
            error = f"{type(failed).__name__}: {failed}"[:120]
        self._writer.write(
            Call(
                client=self.orders.name,
                session=session,
                op=op,
                n=0,
                t_call=t_call,
                t_ret=now(),
                ttl=ttl,
                reply=reply,
                error=error,
            )
        )
        return reply


async def _command(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reactor", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise Said(f"{words[0]} did not end in {PATIENCE} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Said(f"exit {process.returncode}: {err.decode(errors='replace').strip()[-200:]}")
    return out.decode()


class User:
    """One user: a role, and a chance of its own."""

    def __init__(self, client: Client, role: str, number: int) -> None:
        """Take a client's calls."""
        self._client = client
        self._role = role
        self._name = f"{client.orders.name}-{role}{number}"
        self._chance = random.Random(f"{client.orders.seed}/{self._name}")
        self._count = 0

    async def live(self) -> None:
        """Go through sessions, one after the other, for ever."""
        await asyncio.sleep(self._chance.uniform(0, 2))
        session = self._next()
        while True:
            asked = self._chance.choice(self._client.orders.ttls)
            ttl = await self._client.acquire(session, asked, command=self._role == "typist")
            if not ttl:
                await asyncio.sleep(self._chance.uniform(0.2, 0.6))
                continue
            if self._role == "idler":
                return
            stays = None if self._role in ("keeper", "sharer") else self._chance.randint(1, 5)
            if not await self._keep(session, ttl, stays):
                continue  # the session was over: acquire again, at once
            if self._role == "prober":
                return  # it has shown that all works
            session = await self._leave(session, ttl)

    async def _keep(self, session: str, ttl: int, stays: int | None) -> bool:
        """Heartbeat `stays` times, or for ever; False when the session turned out to be over."""
        beats = 0
        pause = ttl / 3 * self._chance.uniform(0.7, 1.0)
        while stays is None or beats < stays:
            await asyncio.sleep(pause)
            reply = await self._client.beat(session, ttl)
            if reply == 0:
                return False
            beats += reply is not None
            pause = ttl / 3 * self._chance.uniform(0.7, 1.0) if reply else self._chance.uniform(0.1, 0.3)
        return True

    async def _leave(self, session: str, ttl: int) -> str:
        """Leave a session as the role says; returns the next one, which may be the same."""
        again = self._chance.random() < 0.5
        match self._role:
            case "deleter":
                await self._client.drop(session)
                await asyncio.sleep(self._chance.choice((0.0, 0.001, 0.05, 1.0)))
            case "ender" | "typist":
                await self._client.terminate(session, command=self._role == "typist")
            case _:
                # Silence; who comes back may find it alive, at its edge, being removed, or gone.
                wait = ttl * self._chance.uniform(0.5, 1.5)
                await asyncio.sleep(self._chance.choice((wait, ttl + self._chance.uniform(-0.01, 0.05))))
        return session if again else self._next()

    def _next(self) -> str:
        self._count += 1
        if self._role == "sharer":
            return f"shared-{self._chance.randrange(self._client.orders.shared)}"
        return f"{self._name}-{self._count}-{self._chance.randrange(16**4):04x}"


async def run(orders: Orders) -> None:
    """Let the users live until SIGTERM; then they leave silently."""
    redis = Redis.from_url(
        orders.redis_url,
        client_name="faultlab-client",
        socket_timeout=1.0,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 0),
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    left = False
    while not (stop.is_set() or left):
        try:
            async with SessionManager.from_env() as manager:
                writer = Writer(Path(orders.history), f"client-{orders.name}-{os.getpid()}")
                await _live(Client(orders, manager, redis, writer), stop)
                left = True
        except ReactorError as error:
            print(f"{orders.name}: {error}", file=sys.stderr, flush=True)  # a client that cannot start tries again
            await asyncio.sleep(0.5)


async def _live(client: Client, stop: asyncio.Event) -> None:
    """Let each user live until all have left, or until it is said to stop."""
    users = [User(client, role, number) for role, many in client.orders.users.items() for number in range(many)]
    async with asyncio.TaskGroup() as tasks:
        living = [tasks.create_task(user.live()) for user in users]
        ending = asyncio.create_task(stop.wait())
        everyone = asyncio.ensure_future(asyncio.wait(living))
        await asyncio.wait([ending, everyone], return_when=asyncio.FIRST_COMPLETED)
        for task in (ending, everyone, *living):
            task.cancel()


if __name__ == "__main__":
    asyncio.run(run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders)))
