"""What makes a run worth nothing: faults that never fired, windows in which nothing happened, an observer that slept.

What this is: the checks of the laboratory itself. What it is not: a judgement of the product. The invariant: a run that
proves nothing fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultlab.checks.liveness import expiries
from faultlab.checks.story import Story
from faultlab.checks.verdict import Violation
from faultlab.entries import Left, Mark, Poll

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LOST = 0.05
"""One poll in twenty."""
LEAST_OK = 0.99


def fired(story: Story) -> Iterator[Violation]:
    """Each fault was seen to do something."""
    if not story.windows:
        yield Violation("gate", story.end, "", "", "no fault was injected")
    for window in story.windows:
        if not window.fired:
            yield Violation("gate", window.start, "", "", f"{window.name} never fired")


def busy(story: Story) -> Iterator[Violation]:
    """In each fault's window a session expired or a heartbeat was answered.

    Where nobody reaches Redis none can be: then it is those that were sent in vain which the fault is about.
    """
    deadlines = [one.deadline for one in expiries(story)]
    beats = [call for calls in story.calls.values() for call in calls if call.op == "heartbeat"]
    answered = [call.t_call for call in beats if not call.error]
    for window in story.windows:
        happened = [*deadlines, *([call.t_call for call in beats] if "dark" in window.flags else answered)]
        if not any(window.start <= t <= window.heal for t in happened):
            yield Violation("gate", window.start, "", "", f"nothing happened during {window.name}")


def well_before(story: Story) -> Iterator[Violation]:
    """Before the first fault nearly all calls succeeded."""
    first = min((window.start for window in story.windows), default=story.end)
    calls = [call for some in story.calls.values() for call in some if call.t_ret < first]
    good = sum(1 for call in calls if not call.error)
    if not calls or good < LEAST_OK * len(calls):
        yield Violation("gate", first, "", "", f"before the first fault only {good} of {len(calls)} calls succeeded")


def works_at_the_end(story: Story) -> Iterator[Violation]:
    """After the last healing an acquire, a heartbeat and an expiry work."""
    probes = [mark for mark in story.history.of(Mark) if mark.name == "probe"]
    if not probes:
        yield Violation("gate", story.end, "", "", "there was no probe at the end")
        return
    at = probes[-1].t
    calls = [call for some in story.calls.values() for call in some if call.t_call >= at and "prober" in call.session]
    got = [call for call in calls if call.op == "acquire" and call.ok]
    if not got:
        yield Violation("gate", at, "", "", "the last acquire did not work")
    elif not any(call.op == "heartbeat" and call.reply == 1 for call in calls):
        yield Violation("gate", at, got[0].session, got[0].container, "the last heartbeat did not work")
    elif not any(one.life.container == got[-1].container and one.gone is not None for one in expiries(story)):
        yield Violation("gate", at, got[-1].session, got[-1].container, "the last session did not expire")


def observed(story: Story) -> Iterator[Violation]:
    """The observer kept its rhythm to the end."""
    polls = story.history.of(Poll)
    if not polls:
        yield Violation("gate", story.end, "", "", "the observer did not reach its end")
    for poll in polls:
        if not poll.done or poll.lost_s > MOST_LOST * poll.span_s:
            text = f"the observer missed too much of {poll.what}: {poll.lost_s:.1f} of {poll.span_s:.0f} s"
            yield Violation("gate", story.end, "", "", text)
    if not story.history.of(Left):
        yield Violation("gate", story.end, "", "", "nobody looked at what was left")
