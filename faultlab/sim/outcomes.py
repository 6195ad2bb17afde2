"""What the calls of a flow came to, judged; and whether a session is served again at once where a fault befell.

What this is: L1, L5 and S1 asked while the fault lasts, before a janitor or a settled world hides the answer. What it
is not: the invariants that hold always (`observer`), or what is asked afterwards (`sweep`). The invariant: an error is
passed over only where the fault itself is longer than what the call may take, and then the next call has to work.
"""

from __future__ import annotations

import anyio

from faultlab.sim.members import Member, Outcome
from faultlab.sim.ports import Fault
from faultlab.sim.stage import Stage
from reactor.errors import AcquireTimeout, SessionNotFound, Unavailable

SERVED = 17.0
"""Seconds in which an acquire is served whatever befell: a claim's lease of 15 s, the back-off, and the spawn."""
SERVED_AFTER_SPAWN = 12.0
"""The same where it was a spawn that was struck: its lease is 10 s."""
LONG = 120.0
"""Seconds in which every call has answered: a stall, and the time that the call may take."""


def passes(stage: Stage, error: BaseException | None) -> bool:
    """Whether a caller is told to try again for no other reason than the fault of this run."""
    match stage.spoil.fault:
        case Fault.STALL_BEFORE | Fault.STALL_AFTER:
            return isinstance(error, (AcquireTimeout, Unavailable))
        case Fault.LATE | Fault.LOSE_REPLY | Fault.LOSE_REQUEST:
            return isinstance(error, Unavailable)
        case _:
            return False


async def had(stage: Stage, app: Member, session: str = "s1", *, box_id: str = "") -> Outcome:
    """Acquire as the process that is looked at; it has to be given the session, in `box_id` where that is said."""
    observer = stage.world.observer
    outcome = await stage.world.acquire(app, session, limit=LONG)
    if outcome.session is None and app.alive and passes(stage, outcome.error):
        outcome = await stage.world.acquire(app, session, limit=SERVED)
    if outcome.session is None:
        if app.alive:
            observer.wrong("L5", f"an acquire of {session} ended with {outcome.error!r}")
    elif box_id and outcome.session.container_id != box_id:
        observer.wrong("S1", f"an acquire of a living session gave another container than {box_id[:6]}")
    return outcome


async def refused(stage: Stage, app: Member, error: type[BaseException], session: str = "s1") -> None:
    """Acquire what cannot be had: the caller is told why, and nothing is left."""
    outcome = await stage.world.acquire(app, session, limit=LONG)
    if not app.alive or passes(stage, outcome.error):
        return
    if not isinstance(outcome.error, error):
        stage.world.observer.wrong("D12", f"an acquire of {session} ended with {outcome!r}, not {error.__name__}")


async def put_to_an_end(stage: Stage, app: Member, box_id: str, session: str = "s1") -> None:
    """Terminate: once it returns, the container is gone."""
    observer, world = stage.world.observer, stage.world
    outcome = await world.terminate(app, session, LONG)
    if outcome.error is not None and passes(stage, outcome.error):
        outcome = await world.terminate(app, session, LONG)
    if not app.alive:
        return
    if outcome.died or not (outcome.error is None or isinstance(outcome.error, SessionNotFound)):
        observer.wrong("L1", f"a terminate of {session} ended with {outcome!r}")
    elif any(box_id in engine.boxes for engine in world.engines.values()):
        observer.wrong("L1", f"a terminate of {session} returned while {box_id[:6]} was there")


async def torn_down(stage: Stage, *reasons: str, session: str = "s1", limit: float = 90) -> None:
    """Wait for the way out: the session goes, once, and the audit stream says why."""
    observer = stage.world.observer
    if not await stage.until(lambda: stage.gone(session), limit):
        if stage.target is not None and stage.target.alive:
            observer.wrong("L1", f"{session} was still there after {limit:.0f} s, with a reactor at work")
        return
    allowed = (*reasons, "expired") if stage.spoil.at_once else reasons  # whoever got it again then left it
    if reasons and (said := observer.ended_as.get(session, "nothing")) not in allowed:
        observer.wrong("S4", f"{session} ended as {said}, not {' or '.join(reasons)}")


# ---------------------------------------------------------------------- at once


async def served_at_once(stage: Stage) -> None:
    """L5: while whoever was struck is dead or stands still, another application asks for every session."""
    while not well(stage):  # noqa: ASYNC110 (virtual time costs nothing)
        await anyio.sleep(0.02)
    began = stage.world.now()
    app = await stage.app()
    async with anyio.create_task_group() as tasks:
        for session in list(stage.sessions):
            tasks.start_soon(_served, stage, app, session, began)


async def _served(stage: Stage, app: Member, session: str, began: float) -> None:
    world = stage.world
    record = world.redis.store.data.get(f"mcp:session:{session}".encode())
    spawning = isinstance(record, dict) and record[b"state"] == b"starting"
    limit = SERVED_AFTER_SPAWN if spawning else SERVED
    while True:
        outcome = await world.acquire(app, session, limit=limit)
        took = world.now() - began
        running = outcome.session is not None and outcome.session.container_id in world.observer.running(session)
        if running and took <= limit:
            stage.served = max(stage.served, took)
            return
        if took > limit:
            world.observer.wrong("L5", f"{session} was not had within {limit:.0f} s of the fault: {outcome.error!r}")
            return
        await anyio.sleep(0.2)


def well(stage: Stage) -> bool:
    """Whether what the flow itself did to Redis or to the engine is over: from then on a session can be had."""
    world = stage.world
    broken = world.network.down or world.network.frozen or world.redis.mode or world.clock.standing
    return not broken and not stage.barred and not any(engine.start_error for engine in world.engines.values())
