"""What a host knows of its Redis: what it last wrote down, and what it sees now.

What this is: the values that a judgement is made of, and the comparison of two readings of a clock. What it is not: the
judgement (`reactor.quarantine`), or the reading (`registry.evidence`). The invariant: what cannot be read counts as
never written.
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
    turn: int = 0
    """How often the host's reactors have looked: a number that only rises."""
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
            turn=number("turn") or 0,
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
    has_records: bool
    clock: ClockReading
    strayed: ClockReading | None = None
    """What this process read since its last look that was far off; the clock may be where it should be again."""
    seen: Seen = field(default_factory=Seen)
    known_db: str = ""
    """The database id that this process has worked with; it remembers what Redis may have lost."""
    left: frozenset[str] = frozenset()
    """Database ids that this process worked with before that one: what stands under them is older."""
    turn: int = 0
    """The last turn that this process made itself: Redis may have a higher one, never a lower."""
    failing_ms: int | None = None
    """How long this process' own commands have failed until now; None where they did not, or where it does not judge.
    A number beyond all bounds where none ever worked."""
    still_failing: bool = False
    """Some of them go on failing (a full Redis refuses some writes and takes others)."""
