"""Many containers whose deadlines fall in one second, against the best that the engine can do with the same shape."""

from __future__ import annotations

import time

from bench.docker_scene import Gone, docker_scene, end_at, raw_body, raw_names
from bench.engine_api import remove_many, spawn_many
from bench.run import Bench, Run
from bench.sheet import Sheet
from bench.stats import ratio

HANDS = (2, 4, 8, 16, 32)
LEAD_S = 1.5


def measure(run: Run) -> Sheet:
    """Measure the engine, then the storm."""
    sheet, engine, count = Sheet(), run.engine(), run.sized(200, 8)
    with docker_scene(run, engine) as place:
        place.reactor()
        caller = place.child("bench.loads.caller", env=place.env, noop=False)
        caller.hear()
        body = raw_body(place)
        best_rate, best_hands = 0.0, 0
        for hands in run.sized(HANDS, (4,)):
            some = run.sized(48, 8)
            run.say(f"{some} raw containers are removed, {hands} at once")
            rate = some / remove_many(engine.socket, spawn_many(engine.socket, raw_names(some), body), hands)
            sheet.add(f"limit: raw removals, {hands} at once", rate, "/s")
            best_rate, best_hands = max((best_rate, best_hands), (rate, hands))
        if not run.quick:
            run.say(f"as many raw containers as in the storm, {best_hands} at once")
            raw = spawn_many(engine.socket, raw_names(count), body)
            best_rate = max(best_rate, count / remove_many(engine.socket, raw, best_hands))
        run.say(f"{count} sessions are acquired")
        ids = [f"storm-{number}" for number in range(count)]
        made = caller.ask("cold", 600, ids=[*ids, "calm"], hands=4)["made"]
        place.wait_watched()
        caller.ask("begin", id="calm")
        time.sleep(run.sized(5.0, 1.0))
        calm = caller.ask("end")
        gone = Gone(engine)
        first = place.now_ms() + LEAD_S * 1000
        for number, session in enumerate(ids):
            end_at(place, session, first + number * 1000 / count)
        caller.ask("begin", id="calm")
        times = sorted(gone.wait(made[session], 300) for session in ids)
        busy = caller.ask("end")
    took_s = (times[-1] - first) / 1000
    sheet.add("limit: the engine's best removal rate", best_rate, "/s")
    sheet.add("storm: containers gone a second, from the first deadline", ratio(count, took_s), "/s")
    sheet.add("storm, of the engine's best rate", ratio(count / took_s, best_rate), "x", least=0.95)
    sheet.add("first gone after the first deadline", times[0] - first, "ms")
    sheet.add("all gone after the first deadline", took_s, "s")
    for name in ("heartbeat", "acquire"):
        sheet.add(f"{name} meanwhile, p50", busy[name]["p50_ms"], "ms")
        sheet.add(f"{name} meanwhile, p99", busy[name]["p99_ms"], "ms")
        sheet.add(f"{name} meanwhile: calls that failed", busy[name]["failed"], most=0)
        sheet.add(f"{name} meanwhile, of its calm p50", ratio(busy[name]["p50_ms"], calm[name]["p50_ms"]), "x", most=2)
    return sheet


BENCH = Bench(name="storm", about="deadlines in one second, stop grace 0, Docker", measure=measure, docker=True)
