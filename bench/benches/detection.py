"""How long after its deadline a session is claimed, among how many other keys; and how long others take to notice.

Each peer has keys of its own with the same deadlines, in the same Redis at the same time: our deadline check makes
Redis publish our keys' end at once, to every subscriber, so on our keys every peer would look as good as we are.
"""

from __future__ import annotations

import time

from bench.run import Bench, Run
from bench.scene import Scene, scene
from bench.sheet import Sheet
from bench.stats import median, percentile, ratio, with_missing

LEAD_S = 4.0
SORTED_S = 0.05
WAYS = {
    "subscriber": "a plain subscriber",
    "poll": "a poll of every key each {poll:.0f} s",
    "sorted": "a sorted set polled each 50 ms",
    "minute": "a touch of each {poll:.0f} s at its end",
}


def measure(run: Run) -> Sheet:
    """Measure every load."""
    sheet = Sheet()
    for keys in run.sized((0, 100_000, 1_000_000), (0, 20_000)):
        for rate in run.sized((200, 1000), (200,)):
            run.say(f"{keys:,} other keys, {rate:,} deadlines a second")
            with scene(run.say) as place:
                _load(run, place, sheet, keys, rate)
    return sheet


def _load(run: Run, place: Scene, sheet: Sheet, keys: int, rate: int) -> None:
    load_s, window_s = run.sized((6.0, 65.0), (2.0, 4.0))
    place.fill(keys)
    place.reactor()
    count, first_ms = int(rate * load_s), place.now_ms() + LEAD_S * 1000 + count_s(rate, load_s)
    step_ms = 1000 / rate
    peers = place.child(
        "bench.loads.peers",
        first_ms=first_ms,
        step_ms=step_ms,
        count=count,
        poll_s=min(60.0, window_s),
        sorted_s=SORTED_S,
    )
    group = place.group(count, first_ms, step_ms=step_ms)
    place.seed(group)
    peers.hear()
    over_s = (first_ms + count * step_ms - place.now_ms()) / 1000
    time.sleep(max(0.0, over_s) + window_s)
    heard = peers.ask("results")
    where = f"{keys:>9,} keys, {rate:>5,}/s: "
    ended = place.ended(group)
    lags = [found[0] - group.deadline(n) for n, found in enumerate(ended) if found is not None]
    strict = keys == 1_000_000 and rate == 1000  # noqa: PLR2004 (the load that the targets are about)
    sheet.add(f"{where}claimed, p50", percentile(lags, 0.5), "ms", most=3 if strict else None)
    sheet.add(f"{where}claimed, p99", percentile(lags, 0.99), "ms", most=5 if strict else None)
    sheet.add(f"{where}claimed, worst", max(lags, default=float("nan")), "ms")
    sheet.add(f"{where}never claimed", count - len(lags), most=0)
    for name, title in WAYS.items():
        came = {int(n): float(late) for n, late in heard[name]}
        late = with_missing(came, count, window_s * 1000)
        shown = title.format(poll=min(60.0, window_s))
        sheet.add(f"{where}{shown}, p50", median(late), "ms")
        sheet.add(f"{where}{shown}, p99", percentile(late, 0.99), "ms")
        sheet.add(f"{where}{shown}, never in {window_s:.0f} s", count - len(came))
        if name == "subscriber":
            times = ratio(median(late), percentile(lags, 0.5))
            sheet.add(f"{where}subscriber later than claimed, medians", times, "x", least=5000 if strict else None)


def count_s(rate: int, load_s: float) -> float:
    """Return how much longer it takes to place so many keys, in ms: some thousand a second for each of the ways."""
    return rate * load_s / 5


BENCH = Bench(name="detection", about="deadline to claim, in Redis' own clock (whole ms)", measure=measure)
