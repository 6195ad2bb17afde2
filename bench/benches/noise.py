"""What others do in the same Redis: it must cost the reactor nothing, and make no session's end later."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.run import Bench, Run
from bench.scene import scene
from bench.sheet import Sheet
from bench.stats import percentile
from bench.watch import cpu_over, info

if TYPE_CHECKING:
    from bench.scene import Scene

RATE = 50
"""Sessions that end a second, so that there is a lag to look at."""
LIVING = 1000
ENDS, WRITES = 20_000, 50_000
LAG_SLACK_MS = 1.0
"""Lags are counted in whole ms."""


def measure(run: Run) -> Sheet:
    """Measure the same load without and with the noise."""
    sheet, seconds = Sheet(), run.sized(15.0, 2.0)
    with scene(run.say) as place:
        sidecar = place.reactor()
        place.seed(place.group(LIVING, place.now_ms() + 3_000_000))
        run.say("without noise")
        idle = cpu_over(sidecar.pid, seconds)
        calm = _lags(place, seconds)
        run.say("with noise")
        with place.child("bench.loads.flood", connections=4, writes=WRITES - ENDS, ends=ENDS) as flood:
            flood.hear()
            time.sleep(2)
            before, expired = flood.ask("count"), _expired(place)
            noisy = cpu_over(sidecar.pid, seconds)
            after, more = flood.ask("count"), _expired(place)
            lags = _lags(place, seconds)
        took = after["at"] - before["at"]
        sheet.add("foreign writes", (after["answered"] - before["answered"]) / took, "/s")
        sheet.add("foreign expiries", (more - expired) / took, "/s")
    sheet.add("reactor, idle, of a core", idle, "%")
    sheet.add("reactor, in the noise, of a core", noisy, "%")
    sheet.add("reactor, what the noise costs, of a core", noisy - idle, "%", most=3)
    sheet.add("deadline to claim, idle, p50", percentile(calm, 0.5), "ms")
    sheet.add("deadline to claim, idle, p99", percentile(calm, 0.99), "ms")
    limit = percentile(calm, 0.5) + LAG_SLACK_MS
    sheet.add("deadline to claim, in the noise, p50", percentile(lags, 0.5), "ms", most=limit)
    sheet.add("deadline to claim, in the noise, p99", percentile(lags, 0.99), "ms")
    return sheet


def _lags(place: Scene, seconds: float) -> list[float]:
    """Let sessions end for so long; returns how late each was claimed, in ms."""
    group = place.group(int(RATE * seconds), place.now_ms() + 2500, step_ms=1000 / RATE)
    place.seed(group)
    time.sleep(seconds + 4)
    return [found[0] - group.deadline(n) for n, found in enumerate(place.ended(group)) if found is not None]


def _expired(place: Scene) -> int:
    return int(info(place.client, "stats")["expired_keys"])


BENCH = Bench(name="noise", about="foreign writes and expiries in the same Redis, no-op runtime", measure=measure)
