"""What tests of the evidence observe: a Redis that is well, and what the next process would see of a conclusion.

It is not a Redis; nothing here reads or writes.
It keeps this: `QUIET` gives no reason for any doubt.
"""

from dataclasses import replace

from reactor.observation import ClockReading, Observation, Seen
from reactor.quarantine import Conclusion

NOW_MS = 4_102_444_800_000
BOOT = "this boot"
FRESH = "fresh"
READING = ClockReading(redis_ms=NOW_MS, asked_ms=100_000, told_ms=100_002, boot=BOOT)
WELL = Seen(
    run_id="run-now", db="d1", replid="replid-now", evicted=0, refused=0, well_at=NOW_MS - 2000,
    clock=replace(READING, redis_ms=NOW_MS - 10_000, asked_ms=90_000, told_ms=90_002),
)  # fmt: skip
QUIET = Observation(
    run_id="run-now", replid="replid-now", evicted=0, refused=0, meta_db="d1", has_records=True,
    clock=READING, seen=WELL,
)  # fmt: skip


def written(observation: Observation, found: Conclusion) -> Observation:
    """Return what the next process of the host observes, once the conclusion is in Redis."""
    seen = observation.seen
    before = {
        "run_id": seen.run_id, "db": seen.db, "replid": seen.replid, "well_at": str(seen.well_at or ""),
        "quarantine": seen.quarantine, "outage": seen.outage, "turn": str(seen.turn),
    }  # fmt: skip
    if seen.clock is not None:
        before |= {"clock": seen.clock.text(), "clock_boot": seen.clock.boot}
    return replace(observation, meta_db=found.db, seen=Seen.parse({**before, **found.fields}), failing_ms=None)
