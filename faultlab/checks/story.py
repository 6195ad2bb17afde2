"""A history made readable: the life of each container, each fault's window, each session's calls.

What this is: pure derivation, done once for all checkers. What it is not: a judgement. The invariant: nothing is
guessed; what the history does not say is None, and a checker that needs it says nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faultlab.entries import Act, Audit, Begin, Call, Engine, Fault, KeyEvent, Listing, Look, Processes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faultlab.entries import Setup
    from faultlab.history import History

SLACK = 0.25
"""Seconds by which times of different observers may differ."""
ENGINE_S = 4.0
"""Seconds that a loaded engine may take for one stop and removal."""
CLAIM_LEASE_S = 15.0
SPAWN_LEASE_S = 10.0
BACK_OFF_S = 5.0
EXPLAINS_S = 30.0
"""Seconds for which what an operator did to a container explains that it is hit."""
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


@dataclass(slots=True, kw_only=True)
class Story:
    """All that checkers ask for."""

    history: History
    setup: Setup
    lives: dict[str, Life]
    calls: dict[str, list[Call]]
    begins: dict[str, list[Begin]]
    looks: list[Look]
    listings: list[Listing]
    scans: list[Processes]
    windows: list[Window]
    acts: list[Act]
    audits: list[Audit]
    keys: dict[str, list[KeyEvent]]
    end: float
    """The last moment of the history."""
    good_looks: list[Look] = field(default_factory=list[Look])
    """The looks that Redis answered."""

    def look_after(self, t: float) -> Look | None:
        """Return the first answered look that began after a time."""
        at = bisect_right(self.good_looks, t, key=lambda look: look.t0)
        return self.good_looks[at] if at < len(self.good_looks) else None

    def look_before(self, t: float) -> Look | None:
        """Return the last answered look that was over before a time."""
        at = bisect_left(self.good_looks, t, key=lambda look: look.t1)
        return self.good_looks[at - 1] if at else None

    def looks_between(self, begin: float, end: float) -> list[Look]:
        """Return the answered looks that lie in an interval."""
        first = bisect_left(self.good_looks, begin, key=lambda look: look.t0)
        last = bisect_right(self.good_looks, end, key=lambda look: look.t1)
        return self.good_looks[first:last]

    def under(self, flag: str) -> list[Window]:
        """Return the faults with a flag."""
        return [window for window in self.windows if flag in window.flags]

    def troubled(self, begin: float, end: float) -> bool:
        """Whether a fault that may delay things, or its recovery, touches this interval."""
        disturbing = (window for window in self.windows if "quiet" not in window.flags)
        return any(window.touches(begin, end, after=self.recovery(window)) for window in disturbing)

    def lossy(self, begin: float, end: float) -> bool:
        """Whether Redis may have lost something in this interval."""
        return any(window.touches(begin, end) for window in self.under("loses"))

    def recovery(self, window: Window) -> float:
        """L3: within how many seconds after its healing everything is as it should be."""
        setup = self.setup
        bound = CLAIM_LEASE_S + BACK_OFF_S + setup.janitor_s + setup.stop_grace_s + ENGINE_S
        if "loses" in window.flags:
            bound += setup.ttl_max_s + setup.acquire_timeout_s
        return bound

    @property
    def promptly(self) -> float:
        """L1: within how many seconds after its deadline a session's container is gone, while all is well."""
        return 2.0 + self.setup.stop_grace_s + ENGINE_S

    def ended_by_somebody(self, life: Life, until: float) -> bool:
        """Whether a client, an operator or the engine itself began to end this container by then."""
        since = life.created if life.created is not None else 0.0
        for begin in self.begins[life.session]:
            if begin.op == "acquire" or not since <= begin.t_call <= until + SLACK:
                continue
            if begin.op == "terminate" or not self._revived(life, begin.t_call, until):
                return True
        for act in self.acts:
            if act.session != life.session or act.act in ("immortal", "pause", "stuck"):
                continue
            # It explains what follows soon; much later the container has a right of its own again.
            if act.container in ("", life.container) and act.t - SLACK <= until <= act.t + EXPLAINS_S:
                return True
        return any(window.touches(until, until) for window in self.under("dies"))

    def _revived(self, life: Life, deleted: float, until: float) -> bool:
        """Whether an acquire took a DEL back: it began later, and was given the same container."""
        return any(
            call.op == "acquire" and call.ok and call.container == life.container and deleted <= call.t_call
            for call in self.calls[life.session]
            if call.t_ret <= until
        )


def tell(history: History) -> Story:
    """Derive everything once."""
    decoys = set(history.setup.decoys)
    lives = _lives(event for event in history.of(Engine) if event.ours and event.container not in decoys)
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in history.of(Call):
        calls[call.session].append(call)
    begins: dict[str, list[Begin]] = defaultdict(list)
    for begin in history.of(Begin):
        begins[begin.session].append(begin)
    keys: dict[str, list[KeyEvent]] = defaultdict(list)
    for event in history.of(KeyEvent):
        keys[event.session].append(event)
    looks, audits, listings = history.of(Look), history.of(Audit), history.of(Listing)
    _mark_listed(lives, listings)
    _mark_committed(lives, calls, looks, audits)
    return Story(
        history=history,
        setup=history.setup,
        lives=lives,
        calls=calls,
        begins=begins,
        looks=looks,
        good_looks=[look for look in looks if not look.error],
        listings=listings,
        scans=history.of(Processes),
        windows=_windows(history.of(Fault)),
        acts=history.of(Act),
        audits=audits,
        keys=keys,
        end=max([look.t1 for look in looks] + [one.t1 for one in listings], default=0.0),
    )


def _lives(events: Iterable[Engine]) -> dict[str, Life]:
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


def _mark_listed(lives: dict[str, Life], listings: list[Listing]) -> None:
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


def _mark_committed(
    lives: dict[str, Life], calls: dict[str, list[Call]], looks: list[Look], audits: list[Audit]
) -> None:
    named = {call.container for some in calls.values() for call in some if call.container}
    named |= {belief.container for look in looks for belief in look.sessions.values() if belief.state == "running"}
    named |= {audit.container for audit in audits if audit.event in ("started", "adopted", "revived")}
    for container in named & lives.keys():
        lives[container].committed = True


def _windows(faults: list[Fault]) -> list[Window]:
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
