"""The way in, as scenes: acquires of every kind.

What this is: one coroutine per flow; it says which process is looked at, and what that process does. What it is not:
the judgement afterwards (`sweep`). The invariant: a flow's preparation is the same whatever is spoiled, so the n-th
call is the n-th call of every run with that seed.
"""

from __future__ import annotations

import anyio

from faultlab.sim.members import Member
from faultlab.sim.outcomes import had, refused
from faultlab.sim.ports import Fault
from faultlab.sim.stage import TTL, Stage
from faultlab.sim.wire import NOWHERE
from reactor.errors import SpawnFailed


async def acquire_new(stage: Stage) -> None:
    """The first acquire of a session, a reactor beside it."""
    await stage.reactor()
    app = await stage.app()
    stage.sessions["s1"] = None
    stage.look_at(app)
    await had(stage, app)


async def acquire_alone(stage: Stage) -> None:
    """The same without any reactor."""
    app = await stage.app()
    stage.sessions["s1"] = None
    stage.look_at(app)
    await had(stage, app)


async def acquire_live(stage: Stage) -> None:
    """An acquire of a session that another one has."""
    await stage.reactor()
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first, keep=True)
    stage.look_at(second)
    await had(stage, second, box_id=box_id)


async def acquire_together(stage: Stage) -> None:
    """Two applications at the same moment."""
    await stage.reactor()
    first, second = await stage.app(), await stage.app()
    stage.sessions["s1"] = None
    stage.look_at(second)
    got: list[str | None] = []

    async def one(app: Member) -> None:
        outcome = await had(stage, app)
        if outcome.session is not None:
            got.append(outcome.session.container_id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, first)
        tasks.start_soon(one, second)
    if len(set(got)) > 1 and stage.spoil.fault not in (Fault.STALL_BEFORE, Fault.STALL_AFTER):
        stage.world.observer.wrong("S2", f"two callers at the same moment were given {got}")


async def acquire_revives(stage: Stage) -> None:
    """An acquire after the heartbeat ended, before anybody noticed."""
    first, second = await stage.app(), await stage.app()
    await stage.given(first)
    await anyio.sleep(TTL + 0.5)
    stage.look_at(second)
    await had(stage, second)


async def acquire_after_dead_spawner(stage: Stage) -> None:
    """An acquire over what a spawner left that was killed between create and commit."""
    first, second = await stage.app(), await stage.app()
    stage.sessions["s1"] = None
    stage.world.loop.create_task(stage.world.acquire(first, "s1"), context=NOWHERE.copy())
    await stage.until(lambda: bool(stage.world.engines["h1"].boxes))
    first.kill()
    stage.look_at(second)
    await had(stage, second)


async def acquire_after_loss(stage: Stage) -> None:
    """R4: an acquire after Redis lost everything, while the container still runs."""
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first, keep=True)
    stage.world.redis.direct(b"FLUSHALL")
    stage.world.observer.lost_data("FLUSHALL")
    stage.look_at(second)
    await had(stage, second, box_id=box_id)


async def acquire_after_death(stage: Stage) -> None:
    """An acquire of a session whose container died, with nobody watching the engine."""
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first)
    stage.world.observer.excuse("s1", "its container died")
    stage.world.engines["h1"].die(box_id)
    stage.look_at(second)
    await had(stage, second)


async def acquire_cannot_start(stage: Stage) -> None:
    """D12: an acquire whose container does not start."""
    await stage.reactor()
    app = await stage.app()
    stage.world.engines["h1"].start_error = "exec: no such file"
    stage.sessions["s1"] = None
    stage.look_at(app)
    await refused(stage, app, SpawnFailed)
    stage.world.engines["h1"].start_error = ""
