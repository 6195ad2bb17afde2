"""Many sessions that end in one second, with a runtime that costs nothing: claim, finish and record alone.

Beside it redis-py merely receives as many notifications, in the same Redis: an event that is received is not yet a
claim, not exclusive, and not recorded.
"""

from __future__ import annotations

import time

from bench.run import Bench, Run
from bench.scene import scene
from bench.sheet import Sheet
from bench.stats import ratio
from bench.watch import peak_memory, reading

SPAN_MS = 1000.0
LEAD_S = 6.0
LIMIT_S = 300.0


def measure(run: Run) -> Sheet:
    """Measure once."""
    sheet, count = Sheet(), run.sized(100_000, 3000)
    with scene(run.say) as place:
        sidecar = place.reactor()
        caller = place.child("bench.loads.caller", env=place.env, noop=True)
        caller.hear()
        living = place.group(1, place.now_ms() + 1_800_000)
        place.seed(living)
        caller.ask("begin", id=living.id(0))
        time.sleep(run.sized(3.0, 0.5))
        calm = caller.ask("end")
        first_ms = place.now_ms() + LEAD_S * 1000
        group = place.group(count, first_ms, step_ms=SPAN_MS / count)
        run.say(f"{count:,} sessions are written")
        place.seed(group)
        time.sleep(max(0.0, (first_ms - place.now_ms()) / 1000 - 0.5))
        sidecar.ask("probe")
        caller.ask("begin", id=living.id(0))
        before = reading(sidecar.pid)
        _wait_done(place.client, living.host)
        used = reading(sidecar.pid)
        busy, probe = caller.ask("end"), sidecar.ask("probed")
        ended = place.ended(group)
        peak = peak_memory(sidecar.pid)
        run.say("as many notifications are received by a client that does nothing else")
        receiver = place.child("bench.loads.receiver", count=count, step_ms=SPAN_MS / count, lead_s=5.0, window_s=60.0)
        alone = receiver.hear()
    done = [found for found in ended if found is not None]
    took_s = (max((found[1] for found in done), default=float("nan")) - first_ms) / 1000
    claims = [found[0] - group.deadline(n) for n, found in enumerate(ended) if found is not None]
    sheet.add(f"{count:,} claimed, finished and recorded", took_s, "s", most=8)
    sheet.add("never finished", count - len(done), most=0)
    sheet.add("last claim after its deadline", max(claims, default=float("nan")) / 1000, "s")
    sheet.add("sessions a second", ratio(len(done), took_s), "/s")
    sheet.add("event loop: longest block", probe["worst_ms"], "ms", most=50)
    sheet.add("event loop: p99", probe["p99_ms"], "ms")
    sheet.add("reactor, processor time", used.cpu - before.cpu, "s")
    sheet.add("reactor, most memory", peak, "MB")
    for name in ("heartbeat", "acquire"):
        sheet.add(f"{name} meanwhile, p50", busy[name]["p50_ms"], "ms")
        sheet.add(f"{name} meanwhile, p99", busy[name]["p99_ms"], "ms")
        sheet.add(f"{name} meanwhile: calls that failed", busy[name]["failed"], most=0)
        times = ratio(busy[name]["p50_ms"], calm[name]["p50_ms"])
        sheet.add(f"{name} meanwhile, of its calm p50", times, "x", most=2 if name == "heartbeat" else None)
    sheet.add("limit: redis-py receives as many events", alone["took_s"], "s")
    sheet.add("limit: of them received", alone["heard"])
    sheet.add("drain, of the limit", ratio(took_s, alone["took_s"]), "x")
    return sheet


def _wait_done(client: object, host: str) -> None:
    """Return once only the living session is in the index."""
    ends = time.monotonic() + LEAD_S + LIMIT_S
    zcard = client.zcard  # type: ignore[attr-defined]
    while zcard(f"mcp:host:{host}:due") > 1 and time.monotonic() < ends:
        time.sleep(0.1)


BENCH = Bench(name="drain", about="sessions that end in one second, no-op runtime", measure=measure)
