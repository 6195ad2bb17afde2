"""What goes wrong in a soak: each fault with its beginning, its length and its end.

What this is: the faults, by name. What it is not: when they come (`soak`). The invariant: a fault that has ended left
nothing of itself behind but its consequences.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from random import Random

    from faultlab.sim.members import Member
    from faultlab.sim.world import World

Written = tuple[bytes, bytes]
"""The doubts that a host has written down: the name of its last quarantine and of its last outage."""
Act = Callable[["Nemesis"], Coroutine[Any, Any, None]]


class Nemesis:
    """Does harm to one world."""

    def __init__(self, world: World, rng: Random, faults: Mapping[str, Act]) -> None:
        """Take whom to harm, and how."""
        self._faults = faults
        self.world = world
        self.rng = rng
        self.active = 0
        """Faults that go on now."""
        self.snapshot = world.redis.store.copy()
        self._before: dict[str, Written] = {}
        self._witnesses: list[Member] = []

    def reactors(self) -> list[Member]:
        """Return the living sidecars."""
        return [m for m in self.world.members.values() if m.alive and m.process.name.startswith("reactor")]

    def apps(self) -> list[Member]:
        """Return the living applications."""
        return [m for m in self.world.members.values() if m.alive and m.process.name.startswith("app")]

    def somebody(self) -> Member | None:
        """Return some living process."""
        return self.one_of(self.reactors() + self.apps())

    def one_of(self, members: list[Member]) -> Member | None:
        """Return one of them, None where there is none."""
        return self.rng.choice(members) if members else None

    async def some_time(self, least: float, most: float) -> float:
        """Let a fault last."""
        length = self.rng.uniform(least, most)
        await anyio.sleep(length)
        return length

    async def strike(self, name: str) -> None:
        """Let one fault happen, from its beginning to its end."""
        self.world.note(f"fault {name}")
        self.active += 1
        try:
            await self._faults[name](self)
        finally:
            self.active -= 1
            self.world.note(f"healed {name}")

    def standstill(self) -> None:
        """Note that nobody is answered from now on: what is written down so far, and who sees it."""
        self._before = {host: self.world.written(host) for host in self.world.plan.hosts}
        self._witnesses = [one for one in self.reactors() if one.at_work]

    def unwritten(self, host: str) -> bool:
        """Whether nobody of a host lived to write down that nobody was answered: to the next reactor all was well."""
        if host not in self._before or self.world.written(host) != self._before[host]:
            return False
        return not any(one.host == host and one.at_work for one in self._witnesses)

    def box(self) -> str | None:
        """Return some running container."""
        running = [b.box_id for e in self.world.engines.values() for b in e.boxes.values() if b.running]
        return self.rng.choice(running) if running else None
