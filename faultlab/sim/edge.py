"""Heartbeats that race the deadline: sent within 5 ms of it, many thousand times.

What this is: sessions that are all touched at the last moment, and what became of each. What it is not: a measurement
of speed. The invariant: a heartbeat that was answered 1 keeps its container for another TTL; one that was answered 0
came after the key was gone; never 1 after the verdict and then a removal.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import anyio

from faultlab.sim.loop import PROCESS
from faultlab.sim.members import Plan
from faultlab.sim.world import World

RACE = 0.005
TTL = 2.0
AT_ONCE = 200
"""Sessions that race in one world at the same time."""


@dataclass(slots=True)
class Edge:
    """What became of the races."""

    trials: int = 0
    alive: int = 0
    over: int = 0
    wrong: tuple[str, ...] = ()
    digest: str = ""


async def race(world: World, result: Edge, trials: int) -> None:  # noqa: C901 (a race and its crowd)
    """Let sessions be born, raced, and judged, until there were enough trials."""
    rng = Random(f"edge/{world.plan.seed}")
    for _ in range(1 + world.plan.seed % 2):
        world.reactor()
    app = world.app()
    await world.ready(app)
    left = trials

    async def one(session: str) -> None:
        nonlocal left
        while left > 0 and not world.observer.violations:
            assert PROCESS.get() is None
            outcome = await world.acquire(app, session)
            if outcome.session is None:
                continue
            await _touch(world, session, outcome.session.container_id or "")

    async def _touch(world: World, session: str, box_id: str) -> None:
        nonlocal left
        key = f"mcp:session:{session}:heartbeat".encode()
        while left > 0:
            ends = world.redis.store.expires.get(key)
            if ends is None:
                return
            until = (ends - world.clock.now_ms()) / 1000 + rng.uniform(-RACE, RACE)
            await anyio.sleep(max(0.0, until))
            left -= 1
            result.trials += 1
            before = world.observer.promises
            if world.beat(session, TTL) == 1:
                result.alive += 1
                # What S1 and S6 hold it to from here on; half of the sessions are then left to end.
                assert before
                if box_id not in world.observer.running(session):
                    world.observer.wrong("S6", f"{session} was told alive and has no container")
                    return
                continue
            result.over += 1
            return

    async with anyio.create_task_group() as tasks:
        for index in range(AT_ONCE):
            tasks.start_soon(one, f"e{index}")
    await anyio.sleep(TTL + 3)
    if world.engines["h1"].boxes:
        world.observer.wrong("L1", f"{len(world.engines['h1'].boxes)} containers are left")


def run_edge(trials: int, seed: int = 1) -> Edge:
    """Race `trials` heartbeats against their deadlines."""
    result = Edge()
    plan = Plan(seed=seed, ttl=TTL, undo=False)
    world, _ = World.run(plan, lambda world: race(world, result, trials))
    result.digest = world.digest
    result.wrong = tuple(str(violation) for violation in world.observer.violations)
    return result
