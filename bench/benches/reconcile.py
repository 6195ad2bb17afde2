"""Belief and engine compared, and what differs put right: how long, and in how much memory.

Beside it the least that has to be read for that: one list of the engine, and one pipelined read of every record.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.docker_scene import docker_scene
from bench.fake import fake_scene, serve, socket_of
from bench.run import Bench, Run
from bench.sheet import Sheet
from bench.stats import ratio
from bench.watch import forget_peak, memory, peak_memory

if TYPE_CHECKING:
    from bench.child import Child
    from bench.population import Group
    from bench.scene import Scene

DRIFT = 200
"""With drift, every 200th has no record, and every 200th no heartbeat key: 1 % together."""
SPAWN_LIMIT_S = 900.0
RIGHT_LIMIT_S = 180.0


def measure(run: Run) -> Sheet:
    """Measure every size with and without drift, then real containers."""
    sheet = Sheet()
    for count in run.sized((10_000, 100_000), (1000,)):
        for drift in (False, True):
            run.say(f"{count:,} sessions, {'1' if drift else '0'} % drift")
            with fake_scene(run) as place:
                _compare(place, sheet, count, drift=drift)
    if run.docker:
        _real(run, sheet, run.sized(500, 4))
    return sheet


def _compare(place: Scene, sheet: Sheet, count: int, *, drift: bool) -> None:
    with serve(place, []):
        place.learn()
    every = DRIFT if drift else 0
    group = place.group(count, place.now_ms() + 3_000_000, age_s=600, without_record=every, without_key=every)
    place.seed(group)
    who, strict = f"{count:>7,} sessions, {'1' if drift else '0'} % drift: ", count == 100_000 and not drift  # noqa: PLR2004
    with serve(place, [group]) as engine:
        least = _limit(place, sheet, group, who)
        with place.start_reactor() as sidecar:
            ready = sidecar.hear(600)
            sheet.add(f"{who}first reconcile of a reactor", ready["ready_at"] - ready["up_at"], "s")
            sheet.add(f"{who}reactor, most memory at its start", peak_memory(sidecar.pid), "MB")
            if drift:
                right = _put_right(engine, 2 * count // DRIFT)
                sheet.add(f"{who}all put right after it was up", right - ready["up_at"], "s")
                return
            found = _again(sidecar)
            sheet.add(f"{who}plan", found["plan_s"], "s")
            sheet.add(f"{who}reconcile", found["run_s"], "s", most=5 if strict else None)
            sheet.add(f"{who}reconcile, of the limit", ratio(float(found["run_s"]), least), "x")
            sheet.add(f"{who}reactor, most memory", found["peak"], "MB", most=250 if strict else None)
            sheet.add(f"{who}event loop: longest block", found["worst_ms"], "ms")
            sheet.add(f"{who}found", found["planned"], most=0)


def _limit(place: Scene, sheet: Sheet, group: Group, who: str) -> float:
    """Return how long the least takes that has to be read, in seconds."""
    with place.child("bench.loads.reader", group=group.as_dict(), socket=str(socket_of(place))) as reader:
        reader.ask("read")
        limit = reader.ask("read")
    sheet.add(f"{who}limit: one list, read and decoded", limit["list_s"], "s")
    sheet.add(f"{who}limit: one pipelined read of all records", limit["read_s"], "s")
    return float(limit["list_s"]) + float(limit["read_s"])


def _put_right(engine: Child, expected: int) -> float:
    """Return when as many containers were removed as had to be (wall clock, s); NaN: not within the limit."""
    ends = time.monotonic() + RIGHT_LIMIT_S
    while engine.ask("removed")["removed"] < expected:
        if time.monotonic() > ends:
            return float("nan")
        time.sleep(0.05)
    return time.time()


def _again(sidecar: Child) -> dict[str, float]:
    forget_peak(sidecar.pid)
    sidecar.ask("probe")
    found = sidecar.ask("reconcile", 600)
    found |= {"peak": peak_memory(sidecar.pid), **sidecar.ask("probed")}
    return {name: float(value) for name, value in found.items()}


def _real(run: Run, sheet: Sheet, count: int) -> None:
    """Sessions of a real engine."""
    with docker_scene(run, run.engine()) as place:
        sidecar = place.reactor()
        caller = place.child("bench.loads.caller", env=place.env, noop=False)
        caller.hear()
        run.say(f"{count} real containers are made")
        caller.ask("cold", SPAWN_LIMIT_S, ids=[f"real-{n}" for n in range(count)], hands=8)
        found = _again(sidecar)
        who = f"{count:>7,} real containers: "
        sheet.add(f"{who}reconcile", found["run_s"], "s")
        sheet.add(f"{who}found", found["planned"], most=0)
        sheet.add(f"{who}reactor, memory", memory(sidecar.pid), "MB")
        run.say("they are removed")
        run.clear()


BENCH = Bench(
    name="reconcile", about="belief and engine compared; an engine that only answers, and Docker", measure=measure
)  # fmt: skip
