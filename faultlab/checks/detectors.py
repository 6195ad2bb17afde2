"""L1, L2, L7 by who noticed: ends are found at their deadline, not by the janitor that would find them anyway.

What this is: the detectors that the audit stream names, and how late they were. What it is not: the bound of each
single session (`liveness`). The invariant: one late end may be the machine's; most of them late, or found by the net,
is the product's. So a share and a median are judged, of enough ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from faultlab.checks.liveness import expiries, held_up
from faultlab.checks.lives import Life
from faultlab.checks.story import SLACK, Story
from faultlab.checks.verdict import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from faultlab.entries import Audit

FEWEST = 4
"""Of fewer ends nothing is said."""
SHARE = 0.75
AT_ONCE = 1 / 3
"""Of the janitor's period: what the janitor finds is half a period late in the middle."""
_ON_TIME = frozenset({"deadline", "event"})


@dataclass(frozen=True, slots=True)
class Found:
    """An end: of what, who noticed it, and seconds after it was due (None: not told)."""

    t: float
    life: Life
    detector: str
    late: float | None


def timely(story: Story) -> Iterator[Violation]:
    """L1: in untroubled time deadlines are noticed by those who wait for them, and a DEL by who listens."""
    calm = [one for one in _expired(story) if not story.troubled(one.t - SLACK, one.t + story.promptly)]
    yield from _judged("L1", calm, _ON_TIME, story, "sessions that expired in peace")
    yield from _judged("L1", _deleted(story), frozenset({"event"}), story, "sessions whose key was deleted in peace")


def deaf(story: Story) -> Iterator[Violation]:
    """L2: the same while no notification reaches anybody."""
    windows = story.under("deaf")
    found = [one for one in _expired(story) if any(window.on <= one.t <= window.mend for window in windows)]
    yield from _judged("L2", found, _ON_TIME, story, "sessions that expired while notifications were lost")


def beside_stuck(story: Story) -> Iterator[Violation]:
    """L7: containers that cannot be removed hold up nobody else's end."""
    stuck = [act for act in story.acts if act.act == "stuck"]
    for window in story.windows:
        if not any(window.touches(act.t, act.t) for act in stuck):
            continue
        beside = [one for one in _expired(story) if window.on <= one.t <= window.mend]
        if not beside:
            yield Violation("gate", window.start, "", "", f"no other session ended beside those of {window.name}")
        yield from _judged("L7", beside, _ON_TIME, story, "sessions that expired beside stuck ones")


def _expired(story: Story) -> list[Found]:
    ends = {audit.container: audit for audit in story.audits if audit.event == "ended" and audit.reason == "expired"}
    return [
        Found(one.deadline, one.life, end.detector, None if end.lag_ms is None else end.lag_ms / 1000)
        for one in expiries(story)
        if (end := ends.get(one.life.container)) is not None and not held_up(story, one.life)
    ]


def _deleted(story: Story) -> list[Found]:
    """Return the ends by a DEL that was answered in peace and that no acquire took back."""
    ends = {audit.container: audit for audit in story.audits if audit.event == "ended"}
    found: list[Found] = []
    for session, calls in story.calls.items():
        for call in calls:
            until = call.t_ret + story.promptly
            if call.op != "delete" or call.reply != 1 or until > story.end:
                continue
            if not story.troubled(call.t_call - SLACK, until) and not story.deafened(call.t_call - SLACK, until):
                found += _end_by(story, session, call.t_ret, ends)
    return found


def _end_by(story: Story, session: str, deleted: float, ends: dict[str, Audit]) -> Iterator[Found]:
    """Yield the end of the container that a session had when its key was deleted."""
    for life in story.lives.values():
        end = ends.get(life.container)
        there = life.session == session and life.created is not None and life.created < deleted
        if not there or end is None or life.hit is None or life.hit < deleted - SLACK:
            continue
        begins = story.begins[session]
        if not any(begin.op != "delete" and deleted - SLACK <= begin.t_call <= life.hit + SLACK for begin in begins):
            yield Found(deleted, life, end.detector, life.hit - deleted)


def _judged(check: str, found: Sequence[Found], wanted: frozenset[str], story: Story, what: str) -> Iterator[Violation]:
    if len(found) < FEWEST:
        return
    named = sum(one.detector in wanted for one in found)
    if named < SHARE * len(found):
        others = sorted({one.detector for one in found} - wanted)
        text = f"{len(found) - named} of {len(found)} {what} were noticed by {', '.join(others)}"
        yield Violation(check, found[-1].t, found[-1].life.session, "", text)
    lags = [one.late for one in found if one.late is not None]
    late = median(lags) if lags else 0.0
    if late > AT_ONCE * story.setup.janitor_s:
        text = f"half of {len(lags)} {what} were noticed more than {late:.2f} s late"
        yield Violation(check, found[-1].t, found[-1].life.session, "", text)
