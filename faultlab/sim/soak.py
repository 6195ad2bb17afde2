"""The soak: clients of many kinds, random faults, hours of virtual time, and a world that has to settle every time.

What this is: the times at which something goes wrong, and the judgement of one epoch. What it is not: the workload
(`clients`) or the faults (`nemesis`). The invariant: one seed is one epoch; its digest covers every call and change.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import anyio

from faultlab.sim.clients import LONGEST_TTL, TTL, Clients
from faultlab.sim.faults import FAULTS
from faultlab.sim.long_keys import LongKeys
from faultlab.sim.loop import PROCESS
from faultlab.sim.members import Plan
from faultlab.sim.nemesis import Nemesis
from faultlab.sim.settling import boxes_of
from faultlab.sim.world import World

SETTLE = 240.0
"""Seconds by which belief and engines agree after the last fault: grace, janitor period, lease, back-off."""
QUIET = 180.0
"""Seconds without any client in which nothing may be written (three janitor periods)."""
LEAD_IN = 20.0


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


async def epoch(world: World, result: Epoch, faults: Sequence[str]) -> None:
    """Live through one epoch and judge it."""
    rng = Random(f"soak/{world.plan.seed}")
    for host in world.plan.hosts:
        for _ in range(rng.randint(1, 2)):
            world.reactor(host)
        for _ in range(2):
            world.app(host)
    nemesis = Nemesis(world, rng, FAULTS)
    clients = Clients(world, rng, result.counts, nemesis)
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
    keys = LongKeys(world.observer)
    while True:
        await anyio.sleep(5)
        if nemesis.active or not nemesis.reactors():
            keys.clear()
        else:
            keys.look(LONGEST_TTL, world.plan.janitor_every + 40)


async def _collect(world: World) -> None:
    """Let go of what is unreachable, at moments that belong to the history."""
    while True:
        await anyio.sleep(900)
        assert PROCESS.get() is None
        gc.collect()
        world.note("collected")


def run_epoch(seed: int, hours: float, faults: Sequence[str] = tuple(FAULTS), hosts: tuple[str, ...] = ()) -> Epoch:
    """Play one epoch, on the hosts that were named, or on those that come with the seed: one in eight has two."""
    result = Epoch(seed, hours)
    hosts = hosts or (("h1", "h2") if seed % 8 == 7 else ("h1",))
    plan = Plan(seed=seed, ttl=TTL, janitor_every=60, stop_grace=Random(seed).choice((0.0, 2.0)), hosts=hosts)
    world, _ = World.run(plan, lambda world: epoch(world, result, faults))
    result.digest = world.digest
    result.wrong = tuple(str(violation) for violation in world.observer.violations)
    result.trace = tuple(world.trace) if result.wrong else ()
    return result
