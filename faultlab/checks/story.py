"""A history made readable: each session's calls, the lives of its containers, and what explains that one was hit.

What this is: pure derivation, done once for all checkers. What it is not: a judgement. The invariant: nothing is
guessed; what the history does not say is None, and a checker that needs it says nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faultlab.checks.lives import Life, Window, lives_of, mark_committed, mark_listed, windows_of
from faultlab.entries import Act, Audit, Begin, Call, Engine, Fault, KeyEvent, Listing, Look, Processes

if TYPE_CHECKING:
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
RESTART_S = 10.0
"""Seconds within which a restart by hand has ended its container."""
BELIEVED_DEAD_S = 1.0
"""A container that stays dead for that long is no longer one that is being restarted."""
RECONNECT_S = 10.0
"""Seconds in which a reactor that was cut off from notifications hears them again."""
_ENDING_ACTS = frozenset({"rm", "kill", "force"})
"""What an operator does to end a container; anything else that is done by hand explains no end."""


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

    def deafened(self, begin: float, end: float) -> bool:
        """Whether notifications may not have been heard in this interval."""
        return any(window.touches(begin, end, after=RECONNECT_S) for window in self.under("deaf"))

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

    def ttl_of(self, life: Life) -> float:
        """Return the TTL of the session that a container belongs to, as it was handed out; 0 where it never was."""
        return max((call.ttl for call in self.calls[life.session] if call.container == life.container), default=0.0)

    def ended_by_somebody(self, life: Life, until: float) -> bool:
        """Whether a client, an operator or the engine itself began to end this container by then."""
        since = life.created if life.created is not None else 0.0
        for begin in self.begins[life.session]:
            if begin.op == "acquire" or not since <= begin.t_call <= until + SLACK:
                continue
            if begin.op == "terminate" or not self._revived(life, begin.t_call, until):
                return True
        for act in self.acts:
            # It explains what follows soon; much later the container has a right of its own again.
            ending = act.act in _ENDING_ACTS and act.container == life.container
            if ending and act.t - SLACK <= until <= act.t + EXPLAINS_S:
                return True
        if any(died + BELIEVED_DEAD_S <= min(until, back) for _, died, back in self._restarts(life)):
            return True
        return any(window.touches(until, until) for window in self.under("dies"))

    def restarting(self, life: Life, hit: float) -> bool:
        """Whether this hit is how a restart by hand ends a container before it starts it again."""
        return hit not in life.destroyed and any(asked <= hit <= died for asked, died, _ in self._restarts(life))

    def _restarts(self, life: Life) -> list[tuple[float, float, float]]:
        """Return when each restart by hand was asked for, ended it, and started it again."""
        found: list[tuple[float, float, float]] = []
        for act in self.acts:
            if act.act != "restart" or act.container != life.container:
                continue
            asked = act.t - SLACK
            died = next((t for t in life.died if asked <= t <= act.t + RESTART_S), None)
            if died is not None:
                back = min((start for start in life.started if start > died), default=float("inf"))
                found.append((asked, died, back))
        return found

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
    lives = lives_of(event for event in history.of(Engine) if event.ours and event.container not in decoys)
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
    mark_listed(lives, listings)
    mark_committed(lives, calls, looks, audits)
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
        windows=windows_of(history.of(Fault)),
        acts=history.of(Act),
        audits=audits,
        keys=keys,
        end=max([look.t1 for look in looks] + [one.t1 for one in listings], default=0.0),
    )
