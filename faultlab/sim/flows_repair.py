"""Holding back, as scenes: the brake, and a quarantine that outlives the reactor that began it.

What this is: one coroutine per flow, as in `flows_in`. What it is not: the judgement afterwards (`sweep`). The
invariant: what is held back is there until a person agreed, or the grace is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from faultlab.sim.outcomes import LONG, passes, torn_down
from faultlab.sim.ports import Fault
from faultlab.sim.stage import TTL, Stage
from reactor.crew import open_crew
from reactor.reconcile import DONE_WORDS, BrakeEngaged, Janitor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from faultlab.sim.members import Member, Outcome
    from reactor.plan import PlanLine

ORPHANS = 12
"""More than the ten that the brake lets pass."""
LONG_FAULTS = (Fault.STALL_BEFORE, Fault.STALL_AFTER, Fault.LATE, Fault.STALE)
"""Those that keep a reactor from its work for about a grace."""


async def reconcile_is_braked(stage: Stage) -> None:
    """More orphans than the brake lets pass: none is touched; then a person agrees to them."""
    world, observer = stage.world, stage.world.observer
    await stage.reactor()
    app = await stage.app()
    boxes = {f"o{index}": await stage.given(app, f"o{index}") for index in range(ORPHANS)}
    await stage.given(app, "kept", keep=True)
    for session in boxes:
        observer.excuse(session, "its record was deleted")
        world.redis.direct(b"DEL", f"mcp:session:{session}".encode(), f"mcp:session:{session}:heartbeat".encode())
    await anyio.sleep(world.plan.acquire_timeout + 2)  # what is younger may be somebody's spawn
    operator = await stage.app()
    stage.look_at(operator)
    held = await _reconciles(stage, operator)
    there = [session for session, box_id in boxes.items() if box_id in world.engines["h1"].boxes]
    engaged = isinstance(held.error, BrakeEngaged)
    if len(there) < ORPHANS and not (stage.spoil.at_once and world.ports.fired):
        observer.wrong("BRAKE", f"{ORPHANS - len(there)} orphans were removed although nobody agreed")
    if not engaged and not world.ports.fired:
        observer.wrong("BRAKE", f"a reconcile was not braked: {held!r}")
    lines: Sequence[PlanLine] = held.error.held if isinstance(held.error, BrakeEngaged) else ()
    for _ in range(3):
        operator = operator if operator.alive else await stage.app()
        lines = lines or await _held(stage, operator)
        outcome = await _reconciles(stage, operator, lines)
        if outcome.error is None and not outcome.died:
            break
        if operator.alive and not passes(stage, outcome.error):
            observer.wrong("BRAKE", f"an agreed reconcile ended with {outcome!r}")
    for session in boxes:
        await torn_down(stage, session=session, limit=LONG)


async def _held(stage: Stage, operator: Member) -> Sequence[PlanLine]:
    outcome = await _reconciles(stage, operator)
    return outcome.error.held if isinstance(outcome.error, BrakeEngaged) else ()


async def _reconciles(stage: Stage, operator: Member, agreed: Sequence[PlanLine] = ()) -> Outcome:
    settings, runtime = stage.world.plan.settings("h1"), stage.world.line("h1").runtime()

    async def run() -> list[str]:
        async with open_crew(settings, runtime=runtime) as crew:
            await crew.registry.hear_reactors()
            done = [(line, said) async for line, said in Janitor(crew, settings=settings).run(agreed=agreed)]
        return [said for line, said in done if line.is_drift and said not in DONE_WORDS]

    return await operator.ask(run, LONG)


def _kill_once(stage: Stage, member: Member, true: Callable[[], bool]) -> None:
    # In the very step in which it becomes true: a moment later the first grace would be given.
    redis = stage.world.redis
    before = redis.on_step

    def step(name: str) -> None:
        before(name)
        if true():
            redis.on_step = before
            member.kill()

    redis.on_step = step


async def quarantine_is_resumed(stage: Stage) -> None:
    """A reactor is killed when it has written its doubt down, before any grace; the next one goes on with it."""
    world = stage.world
    first = await stage.reactor()
    app = await stage.app()
    box_id = await stage.given(app, "kept")
    if stage.spoil.fault in LONG_FAULTS:
        # A quarantine ends one grace after it began: where no reactor works for that long, a client has to acquire
        # on reply 0, as it is told to.
        stage.keep(app, "kept", box_id)
    else:
        stage.only_beats("kept", box_id)
    await stage.given(app, "abandoned")
    await anyio.sleep(1)
    written = stage.world.written(stage.home)
    data = [before for before in world.redis.store.copy() if not before.key.endswith(b":heartbeat")]
    world.network.stop()
    world.redis.restart(data)
    world.observer.lost_data("restart without heartbeats")
    world.network.down = False
    _kill_once(stage, first, lambda: stage.world.written(stage.home) != written)
    await stage.until(lambda: not first.alive, 20)
    second = world.reactor()
    stage.look_at(second)
    await torn_down(stage, session="abandoned")
    if not second.alive:
        await stage.reactor()  # at once, as a supervisor of services would
    await anyio.sleep(TTL)
