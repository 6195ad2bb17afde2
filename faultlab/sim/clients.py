"""Who uses the sessions of a soak: some keep them, some leave, some delete, some misuse the key.

What this is: the clients, each with its way of coming and going. What it is not: what goes wrong meanwhile (`nemesis`).
The invariant: whoever keeps a session beats on while it asks for it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from faultlab.sim.loop import Life
from reactor.session import SessionId

if TYPE_CHECKING:
    from collections import Counter
    from random import Random

    from faultlab.sim.members import Member
    from faultlab.sim.nemesis import Nemesis
    from faultlab.sim.world import World

TTL = 10.0
LONGEST_TTL = 20.0


class Clients:
    """Those who use sessions: some keep them, some leave, some delete, some misuse the key."""

    def __init__(self, world: World, rng: Random, counts: Counter[str], nemesis: Nemesis) -> None:
        """Take the world to live in, and who knows what was done to it."""
        self.world = world
        self.nemesis = nemesis
        self.rng = rng
        self.counts = counts
        self.over = False
        self.unheard: dict[str, float] = {}
        """When nobody could be asked for a session that is kept."""

    def app(self, host: str = "", *, well: bool = False) -> Member | None:
        """Return some living application, of this host if one is named; `well`: that runs and reaches Redis."""
        found = [one for one in self.nemesis.apps() if host in ("", one.host)]
        if well:
            cut_off = self.world.network.cut_off
            found = [one for one in found if one.process.life is Life.RUNS and one.process.name not in cut_off]
        return self.rng.choice(found) if found else None

    async def get(self, session: str, ttl: float) -> str | None:
        """Acquire until it works; return the container."""
        while not self.over:
            app = self.app()
            if app is not None:
                outcome = await self.world.acquire(app, session, ttl=ttl, limit=90)
                if outcome.session is not None and outcome.session.container_id is not None:
                    self.counts["acquired"] += 1
                    return outcome.session.container_id
                self.counts["not acquired"] += 1
            await anyio.sleep(self.rng.uniform(0.2, 2))
        return None

    async def get_again(self, session: str, box_id: str | None) -> str | None:
        """Acquire what is kept, from whoever is well: who answers late is not waited for for a whole grace.

        Once Redis has lost all, only the host where it runs can know of it.
        """
        life = self.world.observer.lives.get(box_id or "")
        while not self.over:
            app = self.app("" if life is None else life.host, well=True)
            if app is None:
                self.unheard[session] = self.world.now()
            else:
                outcome = await self.world.acquire(app, session, ttl=TTL, limit=TTL / 3)
                if outcome.session is not None and outcome.session.container_id is not None:
                    self.counts["acquired"] += 1
                    return outcome.session.container_id
                self.counts["not acquired"] += 1
            await anyio.sleep(self.rng.uniform(0.2, 1))
        return None

    async def keeper(self, session: str) -> None:
        """Keep one session for ever: its container is never taken away.

        The client beats on while it asks for the session again.
        """
        kept = [await self.get(session, TTL)]
        asking = False

        async def again() -> None:
            nonlocal asking
            box_id = await self.get_again(session, kept[0])
            if box_id is not None and box_id != kept[0]:
                self._judge_change(session, kept[0])
                kept[0] = box_id
            asking = False

        async with anyio.create_task_group() as tasks:
            while not self.over:
                await anyio.sleep(TTL / 3 * self.rng.uniform(0.8, 1.0))
                self.counts["beats"] += 1
                if self.world.beat(session, TTL) == 0 and not asking and not self.over:
                    self.counts["heard 0"] += 1
                    asking = True
                    tasks.start_soon(again)

    def _judge_change(self, session: str, box_id: str | None) -> None:
        observer = self.world.observer
        life = observer.lives.get(box_id or "")
        if box_id in observer.by_hand or session in observer.excused:
            self.counts["replaced"] += 1
        elif life is not None and self.nemesis.unwritten(life.host):
            self.counts["lost to an outage that nobody lived to write down"] += 1
        elif self.world.now() - self.unheard.get(session, float("-inf")) < 2 * TTL:
            self.counts["lost while no application reached Redis"] += 1
        else:
            observer.wrong("S1", f"{session}: its client kept it, and lost {str(box_id)[:6]}")

    async def visitor(self, session: str) -> None:
        """Come, stay for a while, leave; again and again, each time in another way."""
        world = self.world
        while not self.over:
            await anyio.sleep(self.rng.expovariate(1 / 60))
            ttl = self.rng.choice((2.0, 5.0, TTL, LONGEST_TTL))
            if await self.get(session, ttl) is None:
                return
            for _ in range(self.rng.randint(0, 12)):
                await anyio.sleep(ttl * self.rng.choice((0.2, 0.33, 0.9, 0.9995, 1.0, 1.0005)))
                self.counts["beats"] += 1
                if world.beat(session, ttl) == 0:
                    break
            await self._leave(session)

    async def _leave(self, session: str) -> None:
        world, key = self.world, self.world.observer.keys.heartbeat(SessionId(session))
        match self.rng.randint(0, 7):
            case 0:
                world.observer.excuse(session, "DEL")
                world.client("DEL", key)
            case 1:
                world.observer.excuse(session, "EXPIRE 0")
                world.client("EXPIRE", key, 0)
            case 2 | 3:
                app = self.app()
                if app is not None:
                    await world.terminate(app, session)
                    self.counts["terminated"] += 1
            case 4:
                world.client("PERSIST", key)
                world.observer.excuse(session, "PERSIST")
            case 5:
                world.client("EXPIRE", key, 10**6)
                world.observer.excuse(session, "EXPIRE 10^6")
            case _:
                return
