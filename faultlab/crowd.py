"""The client processes of a world: who is started, with which users, behind which door.

What this is: the start and end of clients, and the making of sessions that nobody touches. What it is not: what a
client does (`clients`). The invariant: a client that has done its work and ended is forgotten, so that no fault is
played on a process that is not there.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, cast

import msgspec

from faultlab.children import Child, NotStarted, python
from faultlab.clients import Orders
from faultlab.parts import PREFIX, TTLS, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faultlab.parts import Door
    from faultlab.world import World

IDLE_LIMIT = 90.0


class Crowd:
    """The clients of one world."""

    def __init__(self, world: World) -> None:
        """Nobody is there yet."""
        self._world = world
        self.clients: dict[str, Child] = {}
        self._users: dict[str, dict[str, int]] = {}
        self._started = 0

    def start(self, name: str, users: dict[str, int], *, door: Door | None = None, ttls: Sequence[int] = TTLS) -> Child:
        """Start a client process; it goes on until it is told to end, or until all its users have left."""
        world = self._world
        number = int(name.rpartition("-")[2])
        self._users[name] = users
        self._started += 1
        orders = Orders(
            name=name,
            seed=world.plan.seed + self._started,
            history=str(world.history),
            redis_url=world.redis.url,
            prefix=PREFIX,
            users=users,
            ttls=tuple(ttls),
        )
        path = world.plan.directory / f"{name}.json"
        path.write_bytes(msgspec.json.encode(orders))
        env = environment(world.plan, world.deployment, door or world.doors[number % len(world.doors)])
        command = python("-m", "faultlab.clients", str(path))
        self.clients[name] = Child(command, world.plan.directory / f"{name}.log", env=env)
        world.on_leaving(self.clients[name].end, signal.SIGKILL)
        return self.clients[name]

    def restart(self, name: str) -> None:
        """Start a client process that was killed, with the same users and another chance."""
        self.start(name, self._users[name])

    async def once(self, role: str, many: int, *, door: Door | None = None, ttls: Sequence[int] = TTLS) -> list[str]:
        """Let users of a role do what they are there for, and leave; returns their sessions as Redis holds them.

        Raises `NotStarted` where they do not get done.
        """
        name = f"{role}s-{self._started}"
        child = self.start(name, {role: many}, door=door, ttls=ttls)
        code = await child.ended(IDLE_LIMIT)
        del self.clients[name]
        if code != 0:
            await child.end(signal.SIGKILL)
            raise NotStarted(f"{name} did not get done (exit code {code}): {child.log[-500:]}")
        head = f"{PREFIX}:session:"
        keys = cast("list[str]", await self._world.admin.keys(f"{head}{name}-*"))
        return sorted(key.removeprefix(head) for key in keys if not key.endswith(":heartbeat"))

    async def stop(self) -> None:
        """Let all clients leave silently."""
        await asyncio.gather(*(client.end() for client in self.clients.values()))
        self.clients.clear()
