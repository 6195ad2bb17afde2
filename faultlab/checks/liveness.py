"""L1 to L7, L9, L10: what has ended is gone in time, and what was broken comes back by itself.

What this is: one pure function for each bound. What it is not: what must never happen (`safety`, `protocol`). The
invariant: a bound is only asked for where nothing disturbs it, or from the healing of a fault on; what disturbed it is
in the history, not in the eye of the reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from faultlab.checks.story import SLACK, SPAWN_LEASE_S, Life, Story, Window
from faultlab.checks.verdict import Violation
from faultlab.entries import Belief, Engine, Left, Mark, Reactor

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
        stuck = any(act.act in ("stuck", "immortal") and act.session == one.life.session for act in story.acts)
        if one.lag > bound and not stuck:
            late = "still there" if one.gone is None else f"gone {one.lag:.2f} s after its deadline"
            yield _about("L1", one.life, one.deadline + bound, late)


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
    """L5: after each healing an acquire succeeds again within the lease of a dead spawner and the time of a spawn."""
    bound = SPAWN_LEASE_S + story.setup.acquire_timeout_s + story.promptly
    acquires = [call for calls in story.calls.values() for call in calls if call.op == "acquire"]
    for window in story.windows:
        until = window.heal + bound
        if until > story.end or _disturbed(story, window, until):
            continue
        tried = [call for call in acquires if window.heal <= call.t_call < until - story.setup.acquire_timeout_s]
        if tried and not any(call.ok for call in acquires if window.heal <= call.t_ret <= until):
            text = f"no acquire succeeded within {bound:.0f} s after the healing of {window.name}"
            yield Violation("L5", until, tried[0].session, "", f"{text}: {tried[-1].error}")


def quiescent(story: Story) -> Iterator[Violation]:
    """L9: while nothing changes, nothing is written to the engine, and to Redis only canary, `seen` and `due`."""
    marks = {mark.name: mark.t for mark in story.history.of(Mark)}
    if "calm" not in marks or "stir" not in marks:
        return
    calm, stir = marks["calm"], marks["stir"]
    for event in story.history.of(Engine):
        if calm <= event.t <= stir:
            text = f"the engine was told to {event.action} while all was quiet"
            yield Violation("L9", event.t, event.session, event.container, text)
    for audit in story.audits:
        if calm <= audit.t <= stir:
            yield Violation("L9", audit.t, audit.session, audit.container, f"{audit.event} while all was quiet")
    held = story.looks_between(calm, stir)
    for before, after in pairwise(held):
        for session in before.sessions.keys() | after.sessions.keys():
            if not _same(before.sessions.get(session), after.sessions.get(session)):
                yield Violation("L9", after.t1, session, "", "its record or key changed while all was quiet")


def _same(was: Belief | None, is_now: Belief | None) -> bool:
    """Whether two looks saw the same: a tombstone is no longer told of, and a deadline is told by two clocks."""
    if was is None or is_now is None:
        return was is not None and was.state == "ended"
    if was.deadline is None or is_now.deadline is None:
        return was == is_now
    return (
        msgspec.structs.replace(was, deadline=is_now.deadline) == is_now and abs(was.deadline - is_now.deadline) < SLACK
    )


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
