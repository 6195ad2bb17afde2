"""L1, L3 to L6, L10: what has ended is gone in time, and what was broken comes back by itself.

What this is: one pure function for each bound. What it is not: what must never happen (`safety`, `protocol`). The
invariant: a bound is only asked for where nothing disturbs it, or from the healing of a fault on; what disturbed it is
in the history, not in the eye of the reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faultlab.checks.lives import Life, Window
from faultlab.checks.story import BACK_OFF_S, SLACK, SPAWN_LEASE_S, Story
from faultlab.checks.verdict import Violation
from faultlab.entries import Left, Mark, Reactor

if TYPE_CHECKING:
    from collections.abc import Iterator

DRAIN_MARGIN_S = 7.0
"""Seconds beyond the stop grace in which a reactor that got SIGTERM has ended (5, and the start of the last second)."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """A session that nobody kept: its deadline in Redis, and when its container was removed (None: it was not)."""

    life: Life
    deadline: float
    gone: float | None

    @property
    def lag(self) -> float:
        """Seconds from the deadline to the removal."""
        return float("inf") if self.gone is None else self.gone - self.deadline


def expiries(story: Story) -> list[Expiry]:
    """Return every session that expired: the last deadline seen in Redis, where nobody ended it before that."""
    last: dict[str, float] = {}
    for look in story.looks:
        for belief in look.sessions.values():
            if belief.deadline is not None and belief.container in story.lives and belief.state == "running":
                last[belief.container] = belief.deadline
    found: list[Expiry] = []
    for container, deadline in last.items():
        life = story.lives[container]
        beats = (call for call in story.calls[life.session] if call.op == "heartbeat" and call.ok)
        born = life.created if life.created is not None else deadline
        end = life.hit if life.hit is not None else story.end
        later = [call.t_call + call.ttl for call in beats if born <= call.t_call <= end]
        until = max([deadline, *later])
        if until < story.end and not story.ended_by_somebody(life, until):
            found.append(Expiry(life, until, life.gone))
    return sorted(found, key=lambda one: one.deadline)


def prompt(story: Story) -> Iterator[Violation]:
    """L1, L2, L7: while nothing hinders it, a container is gone soon after its deadline, whatever becomes of events."""
    for one in expiries(story):
        bound = story.promptly
        if one.deadline + bound > story.end or story.troubled(one.deadline - SLACK, one.deadline + bound):
            continue
        if one.lag > bound and not held_up(story, one.life):
            late = "still there" if one.gone is None else f"gone {one.lag:.2f} s after its deadline"
            yield _about("L1", one.life, one.deadline + bound, late)


def held_up(story: Story, life: Life) -> bool:
    """Whether the laboratory keeps this container, or its key, from going."""
    return any(act.act in ("stuck", "immortal") and act.session == life.session for act in story.acts)


def cleared(story: Story) -> Iterator[Violation]:
    """L3, D22: a container whose program ended is cleared away soon, with the engine's word of it or without."""
    bound = story.setup.janitor_s + story.promptly
    for life in story.lives.values():
        died = life.died[-1] if life.died else float("inf")
        over = died + bound
        if over > story.end or any(start > died for start in life.started) or story.troubled(died - SLACK, over):
            continue
        if (life.gone is None or life.gone > over) and life.committed and not held_up(story, life):
            gone = "still there" if life.gone is None else f"gone {life.gone - died:.2f} s after it died"
            yield _about("L3", life, over, f"dead, and {gone}")


def recovered(story: Story) -> Iterator[Violation]:
    """L3, L6: a while after each healing nothing is left whose time was over at the healing."""
    for window in story.windows:
        bound = story.recovery(window)
        at = window.heal + bound
        if at > story.end or _disturbed(story, window, at):
            continue
        for one in expiries(story):
            gone = one.gone if one.gone is not None else float("inf")
            born = one.life.created or 0.0
            if born < at and one.deadline + story.promptly < at < gone:
                text = f"{at - one.deadline:.2f} s overdue, {bound:.0f} s after the healing of {window.name}"
                yield _about("L3", one.life, at, text)


def _disturbed(story: Story, window: Window, until: float) -> bool:
    """Whether a later fault that may delay things began before the bound was over."""
    return any(other.n > window.n and other.start < until and "quiet" not in other.flags for other in story.windows)


def orphans(story: Story) -> Iterator[Violation]:
    """L4: a container that no record knows of is gone (or known again) soon."""
    bound = story.setup.janitor_s + 2 * story.setup.acquire_timeout_s + story.promptly
    for life in story.lives.values():
        born = life.created if life.created is not None else 0.0
        gone = life.gone if life.gone is not None else story.end
        unknown: float | None = None
        for look in story.looks_between(born + SLACK, gone):
            if life.session in look.sessions:
                unknown = None
                continue
            unknown = look.t0 if unknown is None else unknown
            if look.t0 > unknown + bound and not story.troubled(unknown, look.t0):
                yield _about("L4", life, look.t0, f"no record knew of it for {look.t0 - unknown:.2f} s")
                break


def served(story: Story) -> Iterator[Violation]:
    """L5: after a healing every id that is asked for is had within the lease of a dead spawner and a spawn's time."""
    bound = SPAWN_LEASE_S + story.setup.acquire_timeout_s + story.promptly
    for window in story.windows:
        for session, begins in story.begins.items():
            tries = [begin.t_call for begin in begins if begin.op == "acquire" and begin.t_call >= window.heal]
            until = min(tries, default=float("inf")) + bound
            if until > story.end or _disturbed(story, window, until):
                continue
            calls = [call for call in story.calls[session] if call.op == "acquire" and window.heal <= call.t_call]
            had = any(call.ok and call.t_ret <= until for call in calls)
            # Who stopped asking before the bound was over may have been killed.
            if not had and any(until - story.setup.acquire_timeout_s - BACK_OFF_S <= t <= until for t in tries):
                last = calls[-1].error if calls else "never answered"
                text = f"not to be had for {bound:.0f} s after it was first asked for after {window.name}: {last}"
                yield Violation("L5", until, session, "", text)


def drained(story: Story) -> Iterator[Violation]:
    """L10: after SIGTERM a reactor ends with 0 in time."""
    asked: dict[tuple[str, int], float] = {}
    for entry in story.history.of(Reactor):
        who = (entry.name, entry.pid)
        if entry.event == "signal":
            asked[who] = entry.t
        if entry.event == "exit" and who in asked:
            took = entry.t - asked[who]
            if entry.code != 0:
                yield Violation("L10", entry.t, "", "", f"{entry.name} ended with {entry.code} after SIGTERM")
            elif took > story.setup.stop_grace_s + DRAIN_MARGIN_S:
                yield Violation("L10", entry.t, "", "", f"{entry.name} needed {took:.1f} s to end after SIGTERM")


def crashes(story: Story) -> Iterator[Violation]:
    """No reactor, and no client that uses the library, ends by itself."""
    for mark in story.history.of(Mark):
        if mark.name == "crash":
            yield Violation("crash", mark.t, "", "", mark.detail)


def leaks(story: Story) -> Iterator[Violation]:
    """L3 at the very end: nothing of ours is left."""
    for left in story.history.of(Left):
        for container in left.containers:
            life = story.lives.get(container)
            session = life.session if life is not None else ""
            yield Violation("leak", left.t, session, container, "its container was left")
        for container in left.processes:
            yield Violation("leak", left.t, "", container, "its process was left")
        for key in left.keys:
            yield Violation("leak", left.t, "", "", f"key {key} was left")


def _about(check: str, life: Life, t: float, text: str) -> Violation:
    return Violation(check, t, life.session, life.container, text)
