"""The soak: clients of many kinds, random faults, hours of virtual time, and a world that has to settle every time.

What this is: the workload, the times at which something goes wrong, and the judgement of one epoch. What it is not:
the faults (`nemesis`). The invariant: one seed is one epoch; its digest covers every call and every change.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import anyio

from faultlab.sim.faults import FAULTS
from faultlab.sim.loop import PROCESS
from faultlab.sim.members import Member, Plan
from faultlab.sim.nemesis import Nemesis
from faultlab.sim.settling import boxes_of
from faultlab.sim.world import World
from reactor.session import SessionId

TTL = 10.0
SETTLE = 240.0
"""Seconds by which belief and engines agree after the last fault: grace, janitor period, lease, back-off."""
QUIET = 180.0
"""Seconds without any client in which nothing may be written (three janitor periods)."""
LEAD_IN = 20.0
LONGEST_TTL = 20.0


@dataclass(slots=True)
class Epoch:
    """What one epoch of a soak did."""

    seed: int
    hours: float
    digest: str = ""
    faults: Counter[str] = field(default_factory=Counter[str])
    counts: Counter[str] = field(default_factory=Counter[str])
    longest_settle: float = 0.0
    wrong: tuple[str, ...] = ()
    trace: tuple[str, ...] = ()


class Clients:
    """Those who use sessions: some keep them, some leave, some delete, some misuse the key."""

    def __init__(self, world: World, rng: Random, counts: Counter[str]) -> None:
        """Take the world to live in."""
        self.world = world
        self.rng = rng
        self.counts = counts
        self.over = False

    def app(self) -> Member | None:
        """Return some living application."""
        found = [m for m in self.world.members.values() if m.alive and m.process.name.startswith("app")]
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

    async def keeper(self, session: str) -> None:
        """Keep one session for ever: its container is never taken away.

        The client beats on while it asks for the session again.
        """
        kept = [await self.get(session, TTL)]
        asking = False

        async def again() -> None:
            nonlocal asking
            box_id = await self.get(session, TTL)
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
        if box_id in observer.by_hand or session in observer.excused:
            self.counts["replaced"] += 1
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


async def epoch(world: World, result: Epoch, faults: Sequence[str]) -> None:
    """Live through one epoch and judge it."""
    rng = Random(f"soak/{world.plan.seed}")
    for host in world.plan.hosts:
        for _ in range(rng.randint(1, 2)):
            world.reactor(host)
        for _ in range(2):
            world.app(host)
    clients = Clients(world, rng, result.counts)
    nemesis = Nemesis(world, rng, FAULTS)
    async with anyio.create_task_group() as tasks:
        for index in range(4):
            tasks.start_soon(clients.keeper, f"k{index}")
        for index in range(6):
            tasks.start_soon(clients.visitor, f"s{index}")
        tasks.start_soon(_inspect, world, nemesis)
        tasks.start_soon(_collect, world)
        await anyio.sleep(LEAD_IN)
        await _harm(world, nemesis, result, rng, faults)
        clients.over = True
        await _last(world, result)
        tasks.cancel_scope.cancel()


async def _harm(world: World, nemesis: Nemesis, result: Epoch, rng: Random, faults: Sequence[str]) -> None:
    ends = world.now() + result.hours * 3600
    while world.now() < ends and not world.observer.violations:
        before = result.counts["beats"]
        nemesis.snapshot = world.redis.store.copy()
        await anyio.sleep(rng.uniform(5, 120))
        chosen = [rng.choice(list(faults)) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        async with anyio.create_task_group() as tasks:
            for name in chosen:
                result.faults[name] += 1
                tasks.start_soon(nemesis.strike, name)
                await anyio.sleep(rng.uniform(0, 5))
        took = await world.settle(SETTLE)
        if took is None:
            world.observer.wrong("L3", f"not settled after {chosen}: {', '.join(world.unsettled())}")
            return
        result.longest_settle = max(result.longest_settle, took)
        result.counts["rounds"] += 1
        if result.counts["beats"] == before:
            world.observer.wrong("VOID", f"nobody beat while {chosen} happened")


async def _last(world: World, result: Epoch) -> None:
    """Nobody comes any more: everything ends, and then nothing is written."""
    observer = world.observer
    if observer.violations:
        return
    ended = False
    with anyio.move_on_after(SETTLE + 90):
        while _anything(world):  # noqa: ASYNC110 (virtual time costs nothing)
            await anyio.sleep(1)
        ended = True
    if not ended:
        observer.wrong("L3", f"not everything ended: {', '.join(world.unsettled())}")
        return
    observer.writes.clear()
    before = sum(engine.writes for engine in world.engines.values())
    await anyio.sleep(QUIET)
    if observer.writes or sum(engine.writes for engine in world.engines.values()) != before:
        observer.wrong("L9", f"written while nothing happened: {dict(observer.writes)}")
    result.counts["removals"] = observer.removals


def _anything(world: World) -> bool:
    return any(boxes_of(world, session) for session in _sessions()) or bool(world.unsettled())


def _sessions() -> list[str]:
    return [f"k{index}" for index in range(4)] + [f"s{index}" for index in range(6)]


async def _inspect(world: World, nemesis: Nemesis) -> None:
    while True:
        await anyio.sleep(5)
        if nemesis.active or not nemesis.reactors():
            world.observer.wrong_ttl.clear()
        else:
            world.observer.inspect_keys(LONGEST_TTL, world.plan.janitor_every + 40)


async def _collect(world: World) -> None:
    """Let go of what is unreachable, at moments that belong to the history."""
    while True:
        await anyio.sleep(900)
        assert PROCESS.get() is None
        gc.collect()
        world.note("collected")


def run_epoch(
    seed: int, hours: float, faults: Sequence[str] = tuple(FAULTS), hosts: tuple[str, ...] = ("h1",)
) -> Epoch:
    """Play one epoch."""
    result = Epoch(seed, hours)
    plan = Plan(seed=seed, ttl=TTL, janitor_every=60, stop_grace=Random(seed).choice((0.0, 2.0)), hosts=hosts)
    world, _ = World.run(plan, lambda world: epoch(world, result, faults))
    result.digest = world.digest
    result.wrong = tuple(str(violation) for violation in world.observer.violations)
    result.trace = tuple(world.trace) if result.wrong else ()
    return result
