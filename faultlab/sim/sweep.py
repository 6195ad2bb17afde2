"""The crash-point sweep: each flow, each call of the process that is looked at, each fault.

What this is: the enumeration, the judgement of each run, and the count. What it is not: chance (`soak`). The
invariant: a run passes only if nothing was violated, the fault fired, the world settled by itself, and an acquire, a
heartbeat and an end work afterwards.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import anyio

from faultlab.sim.flows import FLOWS, plan_of
from faultlab.sim.members import Member
from faultlab.sim.observer import CLAIM_LEASE
from faultlab.sim.outcomes import served_at_once
from faultlab.sim.ports import AT_ONCE_FAULTS, CALL_FAULTS, LATE, PUSH_FAULTS, STALL, Fault
from faultlab.sim.stage import TTL, Spoil, Stage
from faultlab.sim.wire import NOWHERE
from faultlab.sim.world import World

SETTLE = 200.0
"""Seconds by which belief and engines agree again: a stall, a grace, a janitor period and a lease."""
L5 = 25.0
"""Seconds in which an acquire is served afterwards: the dead spawner's lease, and the spawn."""
L1 = 4.0
"""Seconds between the end of a heartbeat and its container being gone."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run and what was wrong with it."""

    flow: str
    seed: int
    spoil: Spoil
    call: str
    digest: str
    wrong: tuple[str, ...]
    trace: tuple[str, ...] = ()
    excused: int = 0
    served: float = 0.0

    def __str__(self) -> str:
        """Return one line."""
        at_once = ", asked for at once" if self.spoil.at_once else ""
        what = f"{self.spoil.fault} at {self.spoil.at} ({self.call}){at_once}"
        return f"{self.flow} seed {self.seed}: {what}: {'; '.join(self.wrong)}"


@dataclass(slots=True)
class Tally:
    """What a sweep did."""

    runs: int = 0
    calls: int = 0
    pushes: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    excused: int = 0
    """Kept sessions that were lost because nobody was left to write down that Redis stood still."""
    served: float = 0.0
    """The longest that somebody waited who asked as soon as the fault befell."""
    failed: list[Run] = field(default_factory=list[Run])

    def add(self, other: Tally) -> None:
        """Take in another one."""
        self.runs += other.runs
        self.calls += other.calls
        self.pushes += other.pushes
        self.faults.update(other.faults)
        self.excused += other.excused
        self.served = max(self.served, other.served)
        self.failed += other.failed


async def play(world: World, name: str, spoil: Spoil) -> Stage:
    """Let a flow play, and judge what is left of it."""
    stage = Stage(world, spoil)
    asked: list[asyncio.Task[None]] = []
    if spoil.at_once:
        stage.on_fired = lambda: asked.append(world.loop.create_task(served_at_once(stage), context=NOWHERE.copy()))
    with anyio.move_on_after(600) as limit:
        await FLOWS[name](stage)
        for task in asked:
            await task
    if limit.cancelled_caught:
        world.observer.wrong("L3", "the flow did not end")
    world.ports.counting = False
    await afterwards(stage)
    return stage


async def afterwards(stage: Stage) -> None:
    """Heal, let the world settle, and see that everything still works."""
    world, observer = stage.world, stage.world.observer
    if stage.spoil.fault in (Fault.STALL_BEFORE, Fault.STALL_AFTER):
        await anyio.sleep(STALL + 1)
    if stage.spoil.fault is Fault.LATE:
        # An order whose caller gave up is carried out late, and perhaps by nobody: its claim is taken over then.
        await anyio.sleep(LATE + CLAIM_LEASE)
    if not any(member.reactor is not None and member.alive for member in world.members.values()):
        await stage.reactor()
    stage.target = None
    took = await world.settle(SETTLE)
    for session, box_id in stage.kept.items():
        if box_id not in observer.running(session):
            stage.lost(session, box_id)
    stage.kept.clear()
    if took is None:
        observer.wrong("L3", f"not settled after {SETTLE:.0f} s: {', '.join(world.unsettled())}")
        return
    app = await stage.app()
    for session in stage.sessions:
        await _had_again(stage, app, session)
    await anyio.sleep(TTL)
    # A grace is owed where Redis was silent or anything but itself, and a hard end comes when it comes.
    owed = observer.doubts > 0 or world.plan.max_lifetime is not None
    limit = L1 + TTL if owed else L1
    await stage.until(lambda: all(stage.gone(session) for session in stage.sessions), limit)
    for session in stage.sessions:
        if not stage.gone(session):
            observer.wrong("L1", f"{session} is still there {limit:.0f} s after its heartbeat ended")
    world.observer.writes.clear()


async def _had_again(stage: Stage, app: Member, session: str) -> None:
    world, observer = stage.world, stage.world.observer
    began = world.now()
    outcome = await world.acquire(app, session)
    if outcome.session is None:
        observer.wrong("L5", f"{session} could not be had afterwards: {outcome.error}")
    elif world.now() - began > L5:
        observer.wrong("L5", f"{session} was had after {world.now() - began:.1f} s")
    elif world.beat(session, TTL) != 1:
        observer.wrong("S7", f"{session} was had and its heartbeat says no")
    elif len(observer.running(session)) != 1:
        observer.wrong("S2", f"{session} runs {len(observer.running(session))} times")


def run_one(name: str, seed: int, spoil: Spoil) -> tuple[World, Run]:
    """Play a flow with one fault."""
    world, stage = World.run(plan_of(name, seed), lambda world: play(world, name, spoil))
    wrong = [str(violation) for violation in world.observer.violations]
    if spoil.fault is not Fault.NONE and not world.ports.fired:
        wrong.append("the fault never fired")
    trace = tuple(world.trace) if wrong else ()
    fired, served = world.ports.fired, stage.served
    run = Run(name, seed, spoil, fired, world.digest, tuple(wrong), trace, stage.excused, served)
    return world, run


def spoils(calls: int, pushes: int, faults: Sequence[Fault]) -> Iterator[Spoil]:
    """Yield each fault at each call; those of one process once more, with somebody who asks at once."""
    for fault in faults:
        for at in range(1, (pushes if fault in PUSH_FAULTS else calls) + 1):
            yield Spoil(fault, at)
    for fault in AT_ONCE_FAULTS:
        for at in range(1, calls + 1):
            yield Spoil(fault, at, at_once=True)


def sweep_flow(name: str, seed: int, *, every: int = 1, first: int = 0) -> Tally:
    """Sweep one flow; `every` n-th run only, beginning with the `first`."""
    tally = Tally()
    world, plain = run_one(name, seed, Spoil())
    tally.runs += 1
    tally.calls, tally.pushes = len(world.ports.calls), len(world.ports.pushes)
    if plain.wrong:
        tally.failed.append(plain)
        return tally
    for index, spoil in enumerate(spoils(tally.calls, tally.pushes, (*CALL_FAULTS, *PUSH_FAULTS))):
        if index % every != first % every:
            continue
        _, run = run_one(name, seed, spoil)
        tally.runs += 1
        tally.faults[spoil.fault.value + " at once" * spoil.at_once] += 1
        tally.excused += run.excused
        tally.served = max(tally.served, run.served)
        if run.wrong:
            tally.failed.append(run)
    return tally
