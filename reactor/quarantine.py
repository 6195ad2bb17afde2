"""What counts as evidence that a missing heartbeat key proves an end.

What this is: a pure decision over what a host last saw of Redis, what Redis is now, and how this process' own commands
fared. What it is not: input or output (`registry.evidence` reads and writes). The invariant: when in doubt, a
quarantine, whose name derives from the evidence, so that all reactors of a host agree on it without talking to each
other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reactor.observation import ClockReading, Observation

BASELINE_MS = 60_000
"""How long a reading of the clock is compared with before a newer one replaces it, so that small steps add up."""
STILL_SHARE = 10
"""A clock that went less than a tenth of the time that passed stands still."""
GAP_MS = 4000
"""Reactors look every 2 s; nobody watched where the last good look is older than two of these."""
SHORTEST_OUTAGE_MS = 600
"""A shorter one costs no session a heartbeat: the shortest TTL is 2 s, and a beat is due every third of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What to write: the database id from now on, the doubts that begin ('' for none), and the fields of `seen`."""

    db: str
    quarantine: str = ""
    """Counts for every session of the host."""
    outage: str = ""
    """Counts for those whose heartbeats it can have cost: a third of the TTL is shorter than it was."""
    outage_ms: int = 0
    fields: Mapping[str, str] = field(default_factory=dict[str, str])


def conclude(now: Observation, fresh_db: str) -> Conclusion:
    """Return what the observation means; `fresh_db` is a new database id, used where the present one is void.

    - Redis never held our data: it gets its database id; with records of ours in it all the same (the id was lost
      alone), those are in doubt.
    - Another run id or replication history than last seen, a database id that this process had left behind, a turn
      that was made and is not there any more: older data, which keeps its database id. The first to see it replaces
      the id, so that everything made before counts as "another database".
    - Another database id than last seen: data was lost, or another host witnessed a rewind first.
    - A clock that moved or stood still, keys that were evicted: data may be whole, but missing keys prove nothing.
    - Commands that failed, here or (while nobody watched) anybody's: clients could not beat either.
    """
    seen = now.seen
    db = now.meta_db or fresh_db
    if (_rewound(now) and db == seen.db) or _came_back(now):
        db = fresh_db
    quarantine = _doubt(now, db)
    outage, outage_ms = _outage(now)
    fields = {"run_id": now.run_id, "replid": now.replid, "db": db, "evicted": str(now.evicted)}
    fields |= {"refused": str(now.refused)} | _clock_fields(now) | _eviction_fields(now)
    if quarantine:
        fields |= {"quarantine": quarantine, "quarantine_at": str(now.clock.redis_ms)}
    if outage:
        fields |= {"outage": outage, "outage_at": str(now.clock.redis_ms), "outage_ms": str(outage_ms)}
    if seen.turn < now.turn:
        fields["turn"] = str(now.turn)
    if not seen.well_at or (outage and not now.still_failing):
        fields["well_at"] = str(now.clock.redis_ms)
    elif seen.well_at > now.clock.redis_ms:
        fields["well_at"] = str(_well_at(now) or now.clock.redis_ms)
    return Conclusion(db=db, quarantine=quarantine, outage=outage, outage_ms=outage_ms, fields=fields)


def explain(reason: str) -> str:
    """Return in words what the name of a quarantine or outage stands for."""
    kind = reason.partition(":")[0]
    return _WORDS.get(kind, "the evidence changed")


_WORDS = {
    "unseen": "there are sessions, but nobody has written down what Redis was before",
    "run": "Redis restarted or is another server, perhaps with older data",
    "role": "Redis was a replica meanwhile, or its replication history was replaced",
    "db": "Redis lost its data, or went back to older data",
    "clock": "Redis' clock moved against this machine's, or stood still",
    "evicted": "Redis evicted keys",
    "mass": "many heartbeat keys went before their deadline, and nobody was heard to delete them",
    "outage": "commands to Redis failed, so clients could not beat either",
}


def _rewound(now: Observation) -> bool:
    seen = now.seen
    if not seen.run_id:
        return False
    return seen.run_id != now.run_id or seen.replid not in ("", now.replid)


def _came_back(now: Observation) -> bool:
    """Whether this process knows of a later state than the one that Redis is in: what it saw there came back too."""
    # Under another database id somebody else has found the loss; his turns may begin lower.
    fell = now.seen.run_id != "" and now.seen.turn < now.turn and now.meta_db == now.known_db
    return now.meta_db in now.left or fell


def _evictions(now: Observation) -> str:
    return f"evicted:{now.run_id[:8]}:{now.evicted}"


def _doubt(now: Observation, db: str) -> str:  # noqa: PLR0911 (a table, row by row)
    seen = now.seen
    if not seen.run_id:
        if now.has_records:
            return f"unseen:{now.run_id}"
        if now.known_db not in ("", db):
            return f"db:{db}"
        return _evictions(now) if now.evicted else ""
    if seen.run_id != now.run_id:
        return f"run:{now.run_id}"
    if _rewound(now):
        return f"role:{now.replid[:8]}"
    if seen.db != db:
        return f"db:{db}"
    if _moved(now) or _strayed(now):
        return f"clock:{_moves(now)}"
    # A count that fell was reset by hand, and says nothing of what went before.
    return _evictions(now) if seen.evicted not in (None, now.evicted) else ""


# ---------------------------------------------------------------------- the clock


def _base(now: Observation) -> ClockReading | None:
    """Return the reading to compare with: of this server process and on this very clock of the host."""
    base = now.seen.clock
    if base is None or base.boot != now.clock.boot or now.seen.run_id != now.run_id:
        return None
    return base


def _moved(now: Observation) -> bool:
    base = _base(now)
    return base is not None and abs(base.shift(now.clock)) > base.allowed(now.clock)


def _strayed(now: Observation) -> bool:
    """Whether it was seen to be far off since the last reading that anybody of the host wrote down."""
    base, off = _base(now), now.strayed
    if base is None or off is None or off.boot != base.boot or off.asked_ms < base.told_ms:
        return False
    return abs(base.shift(off)) > base.allowed(off)


def _stands_still(now: Observation) -> bool:
    base = _base(now)
    if base is None or not _moved(now):
        return False
    went = now.clock.redis_ms - base.redis_ms
    return 0 <= went <= (now.clock.told_ms - base.asked_ms) // STILL_SHARE


def _moves(now: Observation) -> int:
    # A clock that goes on standing still is one finding, not one every two seconds.
    same = now.seen.clock_still and _stands_still(now)
    return now.seen.clock_moves + (0 if same else 1)


def _clock_fields(now: Observation) -> dict[str, str]:
    base, other, doubted = _base(now), now.seen.clock, _moved(now) or _strayed(now)
    if base is not None and not doubted and 0 <= now.clock.told_ms - base.told_ms < BASELINE_MS:
        return {}
    if base is None and other is not None and now.seen.run_id == now.run_id:  # noqa: SIM102 (two reasons)
        # Somebody reads it with another machine's clock; while he goes on, he is the judge.
        if 0 <= now.clock.redis_ms - other.redis_ms < 2 * BASELINE_MS:
            return {}
    fields = {"clock": now.clock.text(), "clock_boot": now.clock.boot}
    if doubted:
        fields |= {"clock_moves": str(_moves(now)), "clock_still": "1" if _stands_still(now) else "0"}
    elif now.seen.clock_still:
        fields["clock_still"] = "0"
    return fields


def _eviction_fields(now: Observation) -> dict[str, str]:
    """Note when keys were last found to have been evicted: a record older than that may have been among them."""
    known = now.seen.evicted if now.seen.run_id == now.run_id else 0
    return {"evicted_at": str(now.clock.redis_ms)} if now.evicted != (known or 0) else {}


# ---------------------------------------------------------------------- commands that failed


def _well_at(now: Observation) -> int:
    """Return when anybody of the host last found all well, 0 where that is not known."""
    here = now.clock.redis_ms
    if now.seen.well_at <= here:
        return now.seen.well_at
    # Still to come: it was written before the clock was set back. What this process knows by its own clock is left.
    return 0 if now.failing_ms is None else max(0, here - now.failing_ms)


def _outage(now: Observation) -> tuple[str, int]:
    """Return the name and length (ms) of a time in which commands failed, both empty where there was none."""
    seen, here = now.seen, now.clock.redis_ms
    well_at, lasted = _well_at(now), 0
    if now.failing_ms is not None:
        # What another process of the host found well meanwhile was well.
        began = max(here - now.failing_ms, well_at)
        lasted = here - began if began or seen.well_at else SHORTEST_OUTAGE_MS
    if seen.run_id == now.run_id and seen.refused not in (None, now.refused) and here - well_at > GAP_MS:
        lasted = max(lasted, here - well_at) if seen.well_at else lasted
    if lasted < SHORTEST_OUTAGE_MS:
        return "", 0
    name = f"outage:{well_at or here}"
    if name != seen.outage and seen.outage and 0 <= here - seen.outage_at <= 3 * seen.outage_ms:
        lasted += seen.outage_ms  # the one before may still count for longer TTLs: both together
    return name, lasted
