"""What heartbeats cost the reactor, which is not on their path, and what the reactor costs them.

Flags `KExge` tell every subscriber of a touched key; `KExe` tell only of ends.
"""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.run import Bench, Run
from bench.scene import scene
from bench.sheet import Sheet
from bench.stats import ratio
from bench.watch import cpu_over

if TYPE_CHECKING:
    from bench.scene import Scene

LIVING = 1000
CONNECTIONS = 50
BEATS = 5000
ENDS = 1000
"""Sessions that end a second while heartbeats come as fast as Redis takes them."""
LEAD_MS = 3000.0
_RATE = re.compile(r"([\d.]+) requests per second")


def measure(run: Run) -> Sheet:
    """Measure a steady pace with both flags, then the most that Redis takes, with and without a reactor."""
    sheet = Sheet()
    for flags, title, most in (("KExge", "flags KExge", 10.0), ("KExe", "flags KExe", 1.0)):
        run.say(f"{BEATS:,} heartbeats a second, {title}")
        with scene(run.say, options={"notify-keyspace-events": flags}) as place:
            _pace(run, place, sheet, title, most)
    run.say("as many heartbeats as Redis takes")
    with scene(run.say, options={"notify-keyspace-events": ""}) as place:
        silent = _saturated(run, place, "no notifications, no reactor")
    with scene(run.say) as place:
        alone = _saturated(run, place, "no reactor")
    with scene(run.say) as place:
        place.reactor()
        beside = _saturated(run, place, "a reactor")
    sheet.add("limit: heartbeats a second, no notifications, no reactor", silent, "/s")
    sheet.add("heartbeats a second, notifications, no reactor", alone, "/s")
    sheet.add("heartbeats a second, notifications and reactor", beside, "/s")
    sheet.add("of the rate without notifications and reactor", ratio(beside, silent), "x", least=0.6)
    sheet.add("of the rate without reactor", ratio(beside, alone), "x")
    return sheet


def _pace(run: Run, place: Scene, sheet: Sheet, title: str, most: float) -> None:
    sidecar, seconds = place.reactor(), run.sized(15.0, 2.0)
    group = place.group(LIVING, place.now_ms() + 1_800_000)
    place.seed(group)
    idle = cpu_over(sidecar.pid, seconds)
    job = {"head": group.head, "count": group.count, "ttl_s": 1800}
    with place.child("bench.loads.flood", connections=CONNECTIONS, beats=BEATS, **job) as flood:
        flood.hear()
        before = flood.ask("count")
        busy = cpu_over(sidecar.pid, seconds)
        after = flood.ask("count")
    rate = (after["answered"] - before["answered"]) / (after["at"] - before["at"])
    sheet.add(f"{title}: heartbeats", rate, "/s")
    sheet.add(f"{title}: reactor, idle, of a core", idle, "%")
    sheet.add(f"{title}: reactor, more than idle, of a core", busy - idle, "%", most=most)


def _saturated(run: Run, place: Scene, title: str) -> float:
    """Return how many heartbeats a second Redis takes from 50 connections while sessions end."""
    place.learn()
    seconds = run.sized(20.0, 3.0)
    ending = place.group(int(ENDS * seconds), place.now_ms() + LEAD_MS + ENDS * seconds / 20, step_ms=1000 / ENDS)
    living = place.group(LIVING, place.now_ms() + 3_000_000)
    place.seed(living)
    place.seed(ending)
    time.sleep(max(0.0, (ending.deadline_ms - place.now_ms()) / 1000))
    run.say(f"redis-benchmark, {title}")
    port = urlsplit(place.server.url).port
    key = f"mcp:session:{living.head}__rand_int__:heartbeat"
    options = ["-h", "127.0.0.1", "-p", str(port), "-c", str(CONNECTIONS), "-r", str(LIVING), "-q"]
    took = ["-n", str(run.sized(1_000_000, 20_000))]
    done = subprocess.run(
        ["redis-benchmark", *options, *took, "EXPIRE", key, "1800"],
        capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    rates = _RATE.findall(done.stdout)
    return float(rates[-1]) if rates else float("nan")


BENCH = Bench(
    name="heartbeats",
    about="EXPIRE by 50 connections, no-op runtime",
    measure=measure,
    programs=("redis-server", "redis-benchmark", "setpriv"),
)
