"""Many processes that want the same new session at the same moment: one spawn, and everybody is answered with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bench.docker_scene import docker_scene
from bench.run import Bench, Run
from bench.sheet import Sheet
from bench.stats import percentile

if TYPE_CHECKING:
    from bench.scene import Scene

CROWD_LIMIT_S = 300.0
WANTED = "wanted-by-all"


def measure(run: Run) -> Sheet:
    """Measure once."""
    sheet, engine, count = Sheet(), run.engine(), run.sized(50, 6)
    with docker_scene(run, engine) as place:
        place.reactor()
        results = place.directory / "crowd"
        results.mkdir()
        crowd = place.child(
            "bench.loads.crowd",
            env=place.env,
            noop=False,
            processes=count,
            start_delay=0,
            id=WANTED,
            results=str(results),
        )
        answers = crowd.hear(CROWD_LIMIT_S)["answers"]
        committed = _committed(place)
    errors = [answer for answer in answers if "error" in answer]
    fine = sorted((answer for answer in answers if "error" not in answer), key=lambda answer: answer["at"])
    made = [answer for answer in fine if answer["created"]]
    late = [answer for answer in fine if answer["early_s"] <= 0]
    won = made[0]["at"] if made else float("nan")
    waits = [(answer["at"] - won) * 1000 for answer in fine if not answer["created"]]
    after = [answer["at"] * 1000 - committed for answer in fine if not answer["created"]]
    sheet.add(
        f"{count} processes: answers by other than one container", len({a["container"] for a in fine}) - 1, most=0
    )
    sheet.add("spawns", len(made), most=1)
    sheet.add("callers that got an error", len(errors), most=0)
    sheet.add("callers that were not there in time", len(late))
    sheet.add("a waiter is answered after the winner, p50", percentile(waits, 0.5), "ms", most=20)
    sheet.add("a waiter is answered after the winner, p99", percentile(waits, 0.99), "ms")
    sheet.add("a waiter is answered after the commit, p50", percentile(after, 0.5), "ms")
    sheet.add("a waiter is answered after the commit, p99", percentile(after, 0.99), "ms")
    return sheet


def _committed(place: Scene) -> float:
    """Return when the container was committed (Redis' clock, ms): that wakes the waiters, the winner looks again."""
    entries = cast("list[tuple[str, dict[str, str]]]", place.client.xrange("mcp:events", count=100))
    found = (at for at, fields in entries if (fields["event"], fields["session_id"]) == ("started", WANTED))
    return next((float(at.partition("-")[0]) for at in found), float("nan"))


BENCH = Bench(name="single-flight", about="processes that acquire one id at once, Docker", measure=measure, docker=True)
