"""What counts as evidence that a missing heartbeat key proves an end.

What this is: a pure decision over what a host last saw of Redis, what Redis is now, and how this process' own commands
fared. What it is not: input or output (`registry.evidence` reads and writes). The invariant: when in doubt, a
quarantine, whose name derives from the evidence, so that all reactors of a host agree on it without talking to each
other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

CLOCK_SLACK_MS = 2000
"""A clock that moved by more than this against the host's own is doubted."""
CLOCK_DRIFT_PPM = 200
"""What honest clocks may drift apart."""
BASELINE_MS = 60_000
"""How long a reading of the clock is compared with before a newer one replaces it, so that small steps add up."""
STILL_SHARE = 10
"""A clock that went less than a tenth of the time that passed stands still."""
GAP_MS = 4000
"""Reactors look every 2 s; nobody watched where the last good look is older than two of these."""
SHORTEST_OUTAGE_MS = 600
"""A shorter one costs no session a heartbeat: the shortest TTL is 2 s, and a beat is due every third of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """What Redis' clock said, and between which instants of the host's own clock (`boot` names that clock) it did."""

    redis_ms: int
    asked_ms: int
    told_ms: int
    boot: str

    def shift(self, later: ClockReading) -> int:
        """Return by how many ms Redis' clock has surely moved against the host's until `later`; 0 where it need not."""
        least = (later.redis_ms - later.told_ms) - (self.redis_ms - self.asked_ms)
        most = (later.redis_ms - later.asked_ms) - (self.redis_ms - self.told_ms)
        return least if least > 0 else min(most, 0)

    def allowed(self, later: ClockReading) -> int:
        """Return how many ms it may have moved."""
        return CLOCK_SLACK_MS + max(0, later.told_ms - self.asked_ms) * CLOCK_DRIFT_PPM // 1_000_000

    def text(self) -> str:
        """Return it as `seen` holds it."""
        return f"{self.redis_ms} {self.asked_ms} {self.told_ms}"

    @classmethod
    def parse(cls, text: str, boot: str) -> Self | None:
        """Read what `text` wrote; None where there is nothing usable."""
        numbers = text.split()
        if len(numbers) != 3 or not all(number.lstrip("-").isdigit() for number in numbers) or not boot:  # noqa: PLR2004
            return None
        return cls(redis_ms=int(numbers[0]), asked_ms=int(numbers[1]), told_ms=int(numbers[2]), boot=boot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a host's processes last wrote down of Redis; empty, None or 0 for what nobody wrote."""

    run_id: str = ""
    db: str = ""
    replid: str = ""
    evicted: int | None = None
    refused: int | None = None
    well_at: int = 0
    clock: ClockReading | None = None
    clock_moves: int = 0
    clock_still: bool = False
    quarantine: str = ""
    quarantine_at: int = 0
    outage: str = ""
    outage_at: int = 0
    outage_ms: int = 0

    @classmethod
    def parse(cls, fields: Mapping[str, str]) -> Self:
        """Read the hash as Redis holds it; what cannot be read counts as never written."""

        def number(name: str) -> int | None:
            return int(fields[name]) if fields.get(name, "").isdigit() else None

        return cls(
            run_id=fields.get("run_id", ""),
            db=fields.get("db", ""),
            replid=fields.get("replid", ""),
            evicted=number("evicted"),
            refused=number("refused"),
            well_at=number("well_at") or 0,
            clock=ClockReading.parse(fields.get("clock", ""), fields.get("clock_boot", "")),
            clock_moves=number("clock_moves") or 0,
            clock_still=fields.get("clock_still") == "1",
            quarantine=fields.get("quarantine", ""),
            quarantine_at=number("quarantine_at") or 0,
            outage=fields.get("outage", ""),
            outage_at=number("outage_at") or 0,
            outage_ms=number("outage_ms") or 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Redis as it is now, read in one step with what the host has `seen`; '' for what is missing."""

    run_id: str
    replid: str
    evicted: int
    refused: int
    """How many commands Redis has refused because it could not work (a replica, a failed snapshot, loading, ...)."""
    meta_db: str
    meta_deployment: str
    has_records: bool
    clock: ClockReading
    strayed: ClockReading | None = None
    """What this process read since its last look that was far off; the clock may be where it should be again."""
    seen: Seen = field(default_factory=Seen)
    known_db: str = ""
    """The database id that this process has worked with; it remembers what Redis may have lost."""
    failing_ms: int | None = None
    """How long this process' own commands have failed until now; None where they did not, or where it does not judge.
    A number beyond all bounds where none ever worked."""
    still_failing: bool = False
    """Some of them go on failing (a full Redis refuses some writes and takes others)."""


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
    - Another run id or replication history than last seen may mean older data, which keeps the database id: the first
      to see it replaces the id, so that everything made before counts as "another database".
    - Another database id than last seen: data was lost, or another host witnessed a rewind first.
    - A clock that moved or stood still, keys that were evicted: data may be whole, but missing keys prove nothing.
    - Commands that failed, here or (while nobody watched) anybody's: clients could not beat either.
    """
    seen = now.seen
    db = now.meta_db or fresh_db
    if _rewound(now) and db == seen.db:
        db = fresh_db
    quarantine = _doubt(now, db)
    outage, outage_ms = _outage(now)
    fields = {"run_id": now.run_id, "replid": now.replid, "db": db, "evicted": str(now.evicted)}
    fields |= {"refused": str(now.refused)} | _clock_fields(now) | _eviction_fields(now)
    if quarantine:
        fields |= {"quarantine": quarantine, "quarantine_at": str(now.clock.redis_ms)}
    if outage:
        fields |= {"outage": outage, "outage_at": str(now.clock.redis_ms), "outage_ms": str(outage_ms)}
    if not seen.well_at or (outage and not now.still_failing):
        fields["well_at"] = str(now.clock.redis_ms)
    return Conclusion(db=db, quarantine=quarantine, outage=outage, outage_ms=outage_ms, fields=fields)


def explain(reason: str) -> str:
    """Return in words what the name of a quarantine or outage stands for."""
    kind = reason.partition(":")[0]
    return _WORDS.get(kind, "the evidence changed")


_WORDS = {
    "unseen": "there are sessions, but nobody has written down what Redis was before",
    "run": "Redis restarted or is another server, perhaps with older data",
    "role": "Redis was a replica meanwhile, or its replication history was replaced",
    "db": "Redis lost its data, or another host noticed first that it was rewound",
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


def _outage(now: Observation) -> tuple[str, int]:
    """Return the name and length (ms) of a time in which commands failed, both empty where there was none."""
    seen, here = now.seen, now.clock.redis_ms
    lasted = 0
    if now.failing_ms is not None:
        # What another process of the host found well meanwhile was well.
        began = max(here - now.failing_ms, seen.well_at)
        lasted = here - began if began else SHORTEST_OUTAGE_MS
    if seen.run_id == now.run_id and seen.refused not in (None, now.refused) and here - seen.well_at > GAP_MS:
        lasted = max(lasted, here - seen.well_at) if seen.well_at else lasted
    if lasted < SHORTEST_OUTAGE_MS:
        return "", 0
    name = f"outage:{seen.well_at or here}"
    if name != seen.outage and seen.outage and 0 <= here - seen.outage_at <= 3 * seen.outage_ms:
        lasted += seen.outage_ms  # the one before may still count for longer TTLs: both together
    return name, lasted
