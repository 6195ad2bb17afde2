"""How long an acquire takes: of a session that lives, of a new one, and of a warm one, each beside its limit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from bench.child import ChildFailed
from bench.docker_scene import docker_scene, raw_body, raw_names
from bench.engine_api import EngineApi
from bench.run import Bench, Run
from bench.scene import scene
from bench.sheet import Sheet
from bench.stats import median, percentile, ratio
from reactor.keys import Keys
from reactor.session import HostName

if TYPE_CHECKING:
    from bench.scene import Scene

CALLERS = (1, 50)
HOT_FACTOR = 1.6
COLD_OVERHEAD_MS = 10.0
POOL = 3
FULL_S = 60.0


def measure(run: Run) -> Sheet:
    """Measure hot, cold and warm."""
    sheet = Sheet()
    with scene(run.say) as place:
        _hot(run, place, sheet)
    with docker_scene(run, run.engine()) as place:
        place.reactor()
        _cold(run, place, sheet)
    run.clear()
    with docker_scene(run, run.engine(), pool=POOL) as place:
        place.reactor()
        _warm(run, place, sheet)
    return sheet


def _hot(run: Run, place: Scene, sheet: Sheet) -> None:
    """An acquire of a session that lives on a watched host, and a GET, in turns by the same process."""
    place.reactor()
    caller = place.child("bench.loads.caller", env=place.env, noop=True)
    caller.hear()
    caller.ask("cold", ids=["hot"])
    for callers in CALLERS:
        run.say(f"hot acquires by {callers} callers")
        each = run.sized(2000, 100) // (1 if callers == 1 else 10)
        rounds = run.sized(5, 1)
        question = {"callers": callers, "each": each}
        caller.ask("hot", id="hot", callers=callers, each=20)
        pairs = [(caller.ask("get", **question), caller.ask("hot", id="hot", **question)) for _ in range(rounds)]
        get = median([float(pair[0]["p50_ms"]) for pair in pairs])
        hot = median([float(pair[1]["p50_ms"]) for pair in pairs])
        who = f"{callers} caller{'s' * (callers > 1)}"
        sheet.add(f"hot, {who}: p50", hot, "ms")
        sheet.add(f"hot, {who}: p99", median([float(pair[1]["p99_ms"]) for pair in pairs]), "ms")
        sheet.add(f"limit: GET, {who}: p50", get, "ms")
        sheet.add(f"hot, {who}, of a GET", ratio(hot, get), "x", most=HOT_FACTOR)
        sheet.add(f"hot, {who}: calls that failed", sum(float(pair[1]["failed"]) for pair in pairs), most=0)


def _cold(run: Run, place: Scene, sheet: Sheet) -> None:
    """A spawn, and the same two requests sent raw, in turns."""
    count = run.sized(15, 2)
    caller = place.child("bench.loads.caller", env=place.env, noop=False)
    caller.hear()
    caller.ask("cold", ids=["first"])  # the first of a template in a process is looked at for longer
    raw: list[float] = []
    renames: list[float] = []
    ours: list[float] = []
    with EngineApi(run.engine().socket) as api:
        body = raw_body(place)
        for number, name in enumerate(raw_names(count)):
            run.say(f"cold acquire {number + 1} of {count}")
            began = time.perf_counter()
            container = api.create(name, body)
            api.start(container)
            raw.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            api.rename(container, f"{name}-renamed")
            renames.append((time.perf_counter() - began) * 1000)
            api.remove(container)
            ours.append(float(caller.ask("cold", ids=[f"cold-{number}"])["p50_ms"]))
    limit = median(raw)
    sheet.add("cold: p50", percentile(ours, 0.5), "ms", most=limit + COLD_OVERHEAD_MS)
    sheet.add("cold: worst", max(ours), "ms")
    sheet.add("limit: raw create and start, p50", limit, "ms")
    sheet.add("cold, more than the limit", percentile(ours, 0.5) - limit, "ms")
    sheet.add("limit: rename of a running container, p50", median(renames), "ms")


def _warm(run: Run, place: Scene, sheet: Sheet) -> None:
    """An acquire from a full pool, one by one, with time to refill in between; its limit is the rename above."""
    caller = place.child("bench.loads.caller", env=place.env, noop=False)
    caller.hear()
    count, ours = run.sized(30, 3), list[float]()
    for number in range(count):
        run.say(f"warm acquire {number + 1} of {count}")
        _wait_full(place)
        ours.append(float(caller.ask("cold", ids=[f"warm-{number}"])["p50_ms"]))
    sheet.add("warm: p50", percentile(ours, 0.5), "ms", most=20)
    sheet.add("warm: p99", percentile(ours, 0.99), "ms", most=60)


def _wait_full(place: Scene) -> None:
    key, ends = Keys("mcp").pool(HostName(place.env["REACTOR_HOST"]), "default"), time.monotonic() + FULL_S
    while sum(str(entry).startswith("ready ") for entry in cast("Any", place.client).hvals(key)) < POOL:
        if time.monotonic() > ends:
            raise ChildFailed(f"the pool was not full within {FULL_S:.0f} s")
        time.sleep(0.05)


BENCH = Bench(name="acquire", about="hot on a watched host, cold and warm on Docker", measure=measure, docker=True)
