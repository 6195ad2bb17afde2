"""What a fault works with, and what it must show: that it happened.

What this is: the world, a seeded chance, and the evidence. What it is not: a fault. The invariant: a fault that saw
nothing of its effect has not fired, and a run with such a fault fails.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, cast

from faultlab.entries import Act
from faultlab.history import now
from faultlab.parts import PREFIX, Door

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterable

    from faultlab.parts import Sidecar
    from faultlab.world import World

OURS = "faultlab-"
CLIENT = "faultlab-client"
"""How the laboratory's own connections to Redis begin to name themselves; the product's have no name."""


class Flag(StrEnum):
    """What a fault means to the checkers."""

    LOSES = "loses"
    """Redis may have lost what it had acknowledged: S1 holds in its weaker form."""
    BLIND = "blind"
    """No reactor can work with Redis: nothing may be removed."""
    DARK = "dark"
    """Nobody can, no client either."""
    DEAF = "deaf"
    """No notification reaches a reactor."""
    DIES = "dies"
    """The engine itself ends containers."""
    QUIET = "quiet"
    """Deadlines stay on time in spite of it."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """One fault's surroundings."""

    world: World
    chance: random.Random
    seen: list[str] = field(default_factory=list[str])

    def saw(self, what: str, *, really: bool = True) -> None:
        """Note an effect that was looked for, if it was really there."""
        if really:
            self.seen.append(what)

    def act(self, act: str, *, container: str = "", session: str = "") -> None:
        """Write down what was done to one container or key by hand."""
        self.world.writer.write(Act(t=now(), act=act, container=container, session=session))

    def some_reactors(self) -> list[Sidecar]:
        """Return one of the reactors, or all."""
        running = [one for one in self.world.sidecars if one.child is not None]
        return running if self.chance.random() < 0.5 else [self.chance.choice(running)]

    async def idle(self, many: int, ttl: int) -> list[Held]:
        """Make so many sessions on one host that nobody touches, and return what Redis holds of them."""
        door = self.chance.choice(self.world.doors)
        names = await self.world.crowd.once("idler", many, door=door, ttls=(ttl,))
        return await self._held(names)

    async def run_id(self) -> str:
        """Return which process Redis is."""
        return str((await self.world.admin.info("server"))["run_id"])

    async def heartbeat_keys(self) -> list[str]:
        """Return the heartbeat keys that are there."""
        return sorted(cast("list[str]", await self.world.admin.keys(f"{PREFIX}:session:*:heartbeat")))

    async def running(self, number: int) -> list[Held]:
        """Return up to `number` running sessions by chance."""
        head = f"{PREFIX}:session:"
        keys = sorted(cast("list[str]", await self.world.admin.keys(f"{head}*")))
        found = await self._held([key.removeprefix(head) for key in keys if not key.endswith(":heartbeat")])
        return self.chance.sample(found, min(number, len(found)))

    async def _held(self, sessions: Iterable[str]) -> list[Held]:
        found: list[Held] = []
        doors = {door.host.name: door for door in self.world.doors}
        for session in sessions:
            key = f"{PREFIX}:session:{session}"
            state, container, host = await self.world.admin.hmget(key, "state", "container_id", "host")
            if state == "running" and container and host in doors:
                found.append(Held(session, container, doors[host]))
        return found

    async def subscribers(self) -> set[int]:
        """Return the connections of the product that are subscribed to anything."""
        return {int(one["id"]) for one in await self._connections("pubsub") if not one["name"].startswith(OURS)}

    async def listeners(self) -> set[int]:
        """Return those of them that listen to notifications."""
        found = [one for one in await self._connections("pubsub") if int(one["psub"])]
        return {int(one["id"]) for one in found if not one["name"].startswith(OURS)}

    async def eavesdroppers(self) -> int:
        """Return how many of the laboratory's own connections listen to notifications."""
        found = [one for one in await self._connections("pubsub") if int(one["psub"])]
        return sum(one["name"].startswith(OURS) for one in found)

    async def connections(self) -> tuple[set[int], set[int]]:
        """Return the ordinary connections of the product, and those of its clients' heartbeats."""
        found = await self._connections("normal")
        product = {int(one["id"]) for one in found if not one["name"].startswith(OURS)}
        return product, {int(one["id"]) for one in found if one["name"] == CLIENT}

    async def _connections(self, kind: str) -> list[dict[str, str]]:
        return cast("list[dict[str, str]]", await self.world.admin.client_list(_type=kind))

    async def cut(self, numbers: Iterable[int]) -> int:
        """Cut these connections; returns how many there still were."""
        done = 0
        for number in numbers:
            done += int(await self.world.admin.execute_command("CLIENT", "KILL", "ID", number))
        return done

    async def ended_since(self, began: str, reason: str) -> int:
        """Return how many sessions have ended for a reason since an entry of the audit stream."""
        entries = await self.world.admin.xrange(f"{PREFIX}:events", f"({began}", "+")
        return sum(1 for _, fields in entries if fields.get("event") == "ended" and fields.get("reason") == reason)

    async def last_entry(self) -> str:
        """Return the newest entry of the audit stream."""
        newest = await self.world.admin.xrevrange(f"{PREFIX}:events", count=1)
        return str(newest[0][0]) if newest else "0-0"

    async def deaf_hosts(self) -> int:
        """Return on how many hosts the reactors know that they hear no notifications."""
        keys = [f"{PREFIX}:host:{host.name}:seen" for host in self.world.hosts]
        return sum([int(await self.world.admin.hget(key, "ahead_ms") or 0) > 0 for key in keys])


@asynccontextmanager
async def going_on(work: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """Do something again and again while the body runs; an error of it is the fault's."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Held(NamedTuple):
    """A running session as Redis holds it: its id, its container, a door of its host."""

    session: str
    container: str
    door: Door


Inject = Callable[[Scene], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A fault that can be chosen: entering `inject` begins it, leaving it heals."""

    name: str
    inject: Inject
    flags: tuple[Flag, ...] = ()
    seconds: tuple[float, float] = (2.0, 6.0)
    needs_engine: bool = False
