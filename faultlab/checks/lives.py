"""The lives of containers and the windows of faults, as a history tells them.

What this is: two nouns, and how they are put together. What it is not: what explains a hit (`story`), or a judgement.
The invariant: nothing is guessed; what the history does not say is None.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faultlab.entries import Audit, Call, Engine, Fault, Listing, Look

_STOPS = frozenset({"kill", "die", "destroy"})


@dataclass(slots=True, kw_only=True)
class Life:
    """One container of ours, as the engine told it."""

    container: str
    session: str
    generation: int
    host: str
    created: float | None = None
    started: list[float] = field(default_factory=list[float])
    died: list[float] = field(default_factory=list[float])
    destroyed: list[float] = field(default_factory=list[float])
    hits: list[float] = field(default_factory=list[float])
    """When it was stopped, killed or removed, or died: each time."""
    listed: float | None = None
    """When a list last held it."""
    missed: float | None = None
    """When a list first lacked it, where no event told of its end: an engine that was killed in between tells none."""
    committed: bool = False
    """Redis or an answer named it as the session's."""

    @property
    def hit(self) -> float | None:
        """When it was first stopped, killed or removed, or died."""
        return self.hits[0] if self.hits else None

    @property
    def gone(self) -> float | None:
        """When it was removed, at the latest."""
        return self.destroyed[0] if self.destroyed else self.missed

    @property
    def gone_not_before(self) -> float | None:
        """When it was removed, at the earliest."""
        return self.listed if not self.destroyed and self.missed is not None else self.gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One fault: `start` to `heal` may be touched by it, between `on` and `mend` it held without doubt."""

    n: int
    name: str
    start: float
    on: float
    mend: float
    heal: float
    flags: frozenset[str]
    fired: bool
    evidence: str

    def touches(self, begin: float, end: float, *, after: float = 0.0) -> bool:
        """Whether it overlaps an interval; `after` is how long it counts beyond its healing."""
        return self.start <= end and self.heal + after >= begin


def lives_of(events: Iterable[Engine]) -> dict[str, Life]:
    """Return each container's life by its ID, from the engine's events in the order of time."""
    found: dict[str, Life] = {}
    for event in events:
        life = found.setdefault(
            event.container,
            Life(container=event.container, session=event.session, generation=event.generation, host=event.host),
        )
        match event.action:
            case "create":
                life.created = event.t
            case "start":
                life.started.append(event.t)
            case "die":
                life.died.append(event.t)
            case "destroy":
                life.destroyed.append(event.t)
            case _:
                pass
        if event.action in _STOPS:
            life.hits.append(event.t)
    return found


def mark_listed(lives: dict[str, Life], listings: list[Listing]) -> None:
    """Note when lists held each container, and first lacked it."""
    for listing in listings:
        for container in listing.containers.keys() & lives.keys():
            lives[container].listed = listing.t0
            lives[container].missed = None
        if not listing.error:
            for container, life in lives.items():
                if life.listed is not None and life.missed is None and life.host == listing.host:
                    life.missed = None if container in listing.containers else listing.t1
    for life in lives.values():
        life.missed = None if life.destroyed else life.missed


def mark_committed(
    lives: dict[str, Life], calls: dict[str, list[Call]], looks: list[Look], audits: list[Audit]
) -> None:
    """Note which containers were ever a session's."""
    named = {call.container for some in calls.values() for call in some if call.container}
    named |= {belief.container for look in looks for belief in look.sessions.values() if belief.state == "running"}
    named |= {audit.container for audit in audits if audit.event in ("started", "adopted", "revived")}
    for container in named & lives.keys():
        lives[container].committed = True


def windows_of(faults: list[Fault]) -> list[Window]:
    """Return each fault's window."""
    by_number: dict[int, dict[str, Fault]] = defaultdict(dict)
    for fault in faults:
        by_number[fault.n][fault.phase] = fault
    found: list[Window] = []
    for n, phases in sorted(by_number.items()):
        start, last = phases["start"], phases.get("heal")
        heal = last.t if last is not None else float("inf")  # it never healed: nothing after it counts as well
        found.append(
            Window(
                n=n,
                name=start.name,
                start=start.t,
                on=phases["on"].t if "on" in phases else start.t,
                mend=phases["mend"].t if "mend" in phases else heal,
                heal=heal,
                flags=frozenset(start.flags),
                fired=last is not None and last.fired,
                evidence=last.evidence if last is not None else "",
            )
        )
    return found
