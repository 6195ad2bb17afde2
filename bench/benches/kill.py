"""One session at a time on a real engine: how long after its deadline its container is gone."""

from __future__ import annotations

import time

from bench.docker_scene import NEAR_MS, Gone, docker_scene, end_at, raw_body, raw_names, state_of
from bench.engine_api import EngineApi
from bench.run import Bench, Run
from bench.sheet import Sheet
from bench.stats import median, percentile

OVERHEAD_MS = 12.0


def measure(run: Run) -> Sheet:
    """Remove by hand and by deadline in turns."""
    sheet, engine, count = Sheet(), run.engine(), run.sized(15, 3)
    with docker_scene(run, engine) as place, EngineApi(engine.socket) as api:
        place.reactor()
        caller = place.child("bench.loads.caller", env=place.env, noop=False)
        caller.hear()
        gone, body = Gone(engine), raw_body(place)
        raw: list[float] = []
        answered: list[float] = []
        ours: list[float] = []
        claims: list[float] = []
        for number, name in enumerate(raw_names(count)):
            run.say(f"container {number + 1} of {count}")
            container = api.create(name, body)
            api.start(container)
            session = f"kill-{number}"
            made = caller.ask("cold", ids=[session])["made"][session]
            time.sleep(0.3)
            began = time.time() * 1000
            api.remove(container)
            answered.append(time.time() * 1000 - began)
            raw.append(gone.wait(container) - began)
            deadline = float(int(place.now_ms() + NEAR_MS))
            end_at(place, session, deadline)
            ours.append(gone.wait(made) - deadline)
            claims.append(float(state_of(place, session)["claimed_at"]) - deadline)
    limit = median(raw)
    sheet.add("deadline to container gone, p50", percentile(ours, 0.5), "ms", most=limit + OVERHEAD_MS)
    sheet.add("deadline to container gone, worst", max(ours), "ms")
    sheet.add("of it: deadline to claim, p50", percentile(claims, 0.5), "ms")
    sheet.add("limit: forced removal by the raw API, request to gone, p50", limit, "ms")
    sheet.add("limit: request to answer, p50", median(answered), "ms")
    sheet.add("more than the limit, p50", percentile(ours, 0.5) - limit, "ms")
    return sheet


BENCH = Bench(name="kill", about="deadline to container gone, stop grace 0, Docker", measure=measure, docker=True)
