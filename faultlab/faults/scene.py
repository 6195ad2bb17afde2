"""What a fault works with, and what it must show: that it happened.

What this is: the world, a seeded chance, and the evidence. What it is not: a fault. The invariant: a fault that saw
nothing of its effect has not fired, and a run with such a fault fails.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, cast

from faultlab.entries import Act
from faultlab.history import now
from faultlab.parts import PREFIX

if TYPE_CHECKING:
    from faultlab.parts import Door, Sidecar
    from faultlab.world import World


class Flag(StrEnum):
    """What a fault means to the checkers."""

    LOSES = "loses"
    """Redis may have lost what it had acknowledged: S1 holds in its weaker form."""
    BLIND = "blind"
    """No reactor can work with Redis: nothing may be removed."""
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

    async def run_id(self) -> str:
        """Return which process Redis is."""
        return str((await self.world.admin.info("server"))["run_id"])

    async def heartbeat_keys(self) -> list[str]:
        """Return the heartbeat keys that are there."""
        return sorted(cast("list[str]", await self.world.admin.keys(f"{PREFIX}:session:*:heartbeat")))

    async def running(self, number: int) -> list[tuple[str, str, Door]]:
        """Return up to `number` running sessions by chance: id, container, a door of its host."""
        found: list[tuple[str, str, Door]] = []
        doors = {door.host.name: door for door in self.world.doors}
        for key in sorted(cast("list[str]", await self.world.admin.keys(f"{PREFIX}:session:*"))):
            if key.endswith(":heartbeat"):
                continue
            state, container, host = await self.world.admin.hmget(key, "state", "container_id", "host")
            if state == "running" and container and host in doors:
                found.append((key.rpartition(":")[2], container, doors[host]))
        return self.chance.sample(found, min(number, len(found)))


Inject = Callable[[Scene], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A fault that can be chosen: entering `inject` begins it, leaving it heals."""

    name: str
    inject: Inject
    flags: tuple[Flag, ...] = ()
    seconds: tuple[float, float] = (2.0, 6.0)
    needs_engine: bool = False
