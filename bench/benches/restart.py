"""A reactor that starts to find many sessions overdue."""

from __future__ import annotations

import time

from bench.run import Bench, Run
from bench.scene import scene
from bench.sheet import Sheet
from bench.watch import peak_memory

OVERDUE_S = 10.0


def measure(run: Run) -> Sheet:
    """Measure once."""
    sheet, count = Sheet(), run.sized(10_000, 500)
    with scene(run.say) as place:
        place.learn()
        group = place.group(count, place.now_ms() - OVERDUE_S * 1000, step_ms=1000 / count, age_s=600)
        place.seed(group)
        began = time.time()
        sidecar = place.start_reactor(listed=True)
        ready = sidecar.hear()
        place.wait_ended(60)
        ended = place.ended(group)
        peak = peak_memory(sidecar.pid)
    done = [found for found in ended if found is not None]
    claims = sorted(found[0] / 1000 for found in done)
    last = claims[-1] if claims else float("nan")
    sheet.add(f"{count:,} overdue: last claim after it was up", last - ready["up_at"], "s", most=2)
    sheet.add("never claimed", count - len(done), most=0)
    sheet.add("first claim after it was up", (claims[0] if claims else float("nan")) - ready["up_at"], "s")
    sheet.add("last one ended, after it was up", max((f[1] / 1000 for f in done), default=0) - ready["up_at"], "s")
    sheet.add("up, after the process was started", ready["up_at"] - began, "s")
    sheet.add("first reconcile over, after it was up", ready["ready_at"] - ready["up_at"], "s")
    sheet.add("reactor, most memory", peak, "MB")
    return sheet


BENCH = Bench(name="restart", about="overdue sessions when a reactor starts, no-op runtime", measure=measure)
