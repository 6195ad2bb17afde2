"""L9: while nothing changes, nothing is written.

What this is: the judgement of the calm, in which only idle sessions live: the engine's events and the wire to it, what
Redis tells of every write, the audit stream, the records. What it is not: the calm itself (`run` makes it, and has
Redis tell of all writes meanwhile). The invariant: a calm in which nothing at all was heard of is void, not quiet.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from faultlab.checks.story import SLACK, Story
from faultlab.checks.verdict import Violation
from faultlab.entries import Belief, Engine, KeyEvent, Mark, Request, Touch

if TYPE_CHECKING:
    from collections.abc import Iterator


def quiescent(story: Story) -> Iterator[Violation]:
    """L9: in the calm nothing is asked of the engine, and in Redis only canary, `seen` and `due` are written."""
    marks = {mark.name: mark.t for mark in story.history.of(Mark)}
    if "calm" not in marks or "stir" not in marks:
        return
    calm, stir = marks["calm"], marks["stir"]
    yield from _engine(story, calm, stir)
    yield from _redis(story, calm, stir)
    for audit in story.audits:
        if calm <= audit.t <= stir:
            yield Violation("L9", audit.t, audit.session, audit.container, f"{audit.event} while all was quiet")
    for before, after in pairwise(story.looks_between(calm, stir)):
        for session in before.sessions.keys() | after.sessions.keys():
            if not _same(before.sessions.get(session), after.sessions.get(session)):
                yield Violation("L9", after.t1, session, "", "its record or key changed while all was quiet")


def _engine(story: Story, calm: float, stir: float) -> Iterator[Violation]:
    for event in story.history.of(Engine):
        if calm <= event.t <= stir:
            text = f"the engine was told to {event.action} while all was quiet"
            yield Violation("L9", event.t, event.session, event.container, text)
    for request in story.history.of(Request):
        if calm <= request.t <= stir:
            text = f"{request.door} sent {request.method} {request.path} while all was quiet"
            yield Violation("L9", request.t, "", "", text)


def _redis(story: Story, calm: float, stir: float) -> Iterator[Violation]:
    prefix = re.escape(story.setup.prefix)
    allowed = re.compile(rf"{prefix}:(canary:[^:]+|host:[^:]+:(seen|due))")
    touches = [touch for touch in story.history.of(Touch) if calm <= touch.t <= stir]
    for touch in touches:
        if not allowed.fullmatch(touch.key):
            yield Violation("L9", touch.t, "", "", f"{touch.event} of {touch.key} while all was quiet")
    for event in story.history.of(KeyEvent):
        if calm <= event.t <= stir:
            text = f"{event.event} of its heartbeat key while all was quiet"
            yield Violation("L9", event.t, event.session, "", text)
    if not touches:
        yield Violation("gate", calm, "", "", "nothing was heard of what is written while all was quiet")


def _same(was: Belief | None, is_now: Belief | None) -> bool:
    """Whether two looks saw the same: a tombstone is no longer told of, and a deadline is told by two clocks."""
    if was is None or is_now is None:
        return was is not None and was.state == "ended"
    if was.deadline is None or is_now.deadline is None:
        return was == is_now
    return (
        msgspec.structs.replace(was, deadline=is_now.deadline) == is_now and abs(was.deadline - is_now.deadline) < SLACK
    )
