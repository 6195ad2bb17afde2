"""The way in, as scenes: acquires of every kind.

What this is: one coroutine per flow; it says which process is looked at, and what that process does. What it is not:
the judgement afterwards (`sweep`). The invariant: a flow's preparation is the same whatever is spoiled, so the n-th
call is the n-th call of every run with that seed.
"""

from __future__ import annotations

import anyio

from faultlab.sim.members import Member, Outcome
from faultlab.sim.stage import TTL, Stage, same
from faultlab.sim.wire import NOWHERE


async def acquire_new(stage: Stage) -> None:
    """The first acquire of a session, a reactor beside it."""
    await stage.reactor()
    app = await stage.app()
    stage.sessions["s1"] = None
    stage.look_at(app)
    await stage.world.acquire(app, "s1")


async def acquire_alone(stage: Stage) -> None:
    """The same without any reactor."""
    app = await stage.app()
    stage.sessions["s1"] = None
    stage.look_at(app)
    await stage.world.acquire(app, "s1")


async def acquire_live(stage: Stage) -> None:
    """An acquire of a session that another one has."""
    await stage.reactor()
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first, keep=True)
    stage.look_at(second)
    same(stage, box_id, await stage.world.acquire(second, "s1"))


async def acquire_together(stage: Stage) -> None:
    """Two applications at the same moment."""
    await stage.reactor()
    first, second = await stage.app(), await stage.app()
    stage.sessions["s1"] = None
    stage.look_at(second)
    got: list[Outcome] = []

    async def one(app: Member) -> None:
        got.append(await stage.world.acquire(app, "s1"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, first)
        tasks.start_soon(one, second)


async def acquire_revives(stage: Stage) -> None:
    """An acquire after the heartbeat ended, before anybody noticed."""
    first, second = await stage.app(), await stage.app()
    await stage.given(first)
    await anyio.sleep(TTL + 0.5)
    stage.look_at(second)
    await stage.world.acquire(second, "s1")


async def acquire_after_dead_spawner(stage: Stage) -> None:
    """An acquire over what a spawner left that was killed between create and commit."""
    first, second = await stage.app(), await stage.app()
    stage.sessions["s1"] = None
    stage.world.loop.create_task(stage.world.acquire(first, "s1"), context=NOWHERE.copy())
    await stage.until(lambda: bool(stage.world.engines["h1"].boxes))
    first.kill()
    stage.look_at(second)
    await stage.world.acquire(second, "s1")


async def acquire_after_loss(stage: Stage) -> None:
    """R4: an acquire after Redis lost everything, while the container still runs."""
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first, keep=True)
    stage.world.redis.direct(b"FLUSHALL")
    stage.world.observer.lost_data("FLUSHALL")
    stage.look_at(second)
    same(stage, box_id, await stage.world.acquire(second, "s1"))


async def acquire_after_death(stage: Stage) -> None:
    """An acquire of a session whose container died, with nobody watching the engine."""
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first)
    stage.world.observer.excuse("s1", "its container died")
    stage.world.engines["h1"].die(box_id)
    stage.look_at(second)
    await stage.world.acquire(second, "s1")


async def acquire_cannot_start(stage: Stage) -> None:
    """D12: an acquire whose container does not start."""
    await stage.reactor()
    app = await stage.app()
    stage.world.engines["h1"].start_error = "exec: no such file"
    stage.sessions["s1"] = None
    stage.look_at(app)
    await stage.world.acquire(app, "s1")
    stage.world.engines["h1"].start_error = ""
