"""S4: each container is removed once, by one hand at a time.

What this is: the teardown requests on the wire, and the audit entries of ends. What it is not: whether it was right to
remove (`safety`). The invariant: what follows a request of unknown outcome, or one that the engine refused, may well be
asked for by another hand; nothing else may.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from faultlab.checks.story import SLACK, Story
from faultlab.checks.verdict import Violation
from faultlab.entries import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faultlab.entries import Audit

_TEARDOWN = re.compile(r"/containers/([0-9a-f]+)(/(?:kill|stop))?")
_ANY = re.compile(r"/containers/([^/]+)")
_ID = re.compile(r"[0-9a-f]{12,64}")
_CONFLICT, _REFUSED = 409, 500


def once(story: Story) -> Iterator[Violation]:
    """S4: no two hands tear one container down at the same time; a generation ends once; a container goes once."""
    for life in story.lives.values():
        if len(life.destroyed) > 1:
            text = f"removed {len(life.destroyed)} times"
            yield Violation("S4", life.destroyed[1], life.session, life.container, text)
    yield from _by_name(story)
    yield from _overlaps(story)
    yield from _ended_twice(story)


def _by_name(story: Story) -> Iterator[Violation]:
    for request in story.history.of(Request):
        found = _ANY.fullmatch(request.path)
        if found and request.method == "DELETE" and not _ID.fullmatch(found[1]):
            yield Violation("S4", request.t, "", "", f"{request.door} removed {found[1]} by its name, not by an ID")


def _overlaps(story: Story) -> Iterator[Violation]:
    by_container: dict[str, list[Request]] = defaultdict(list)
    for request in story.history.of(Request):
        found = _TEARDOWN.fullmatch(request.path)
        if found and (request.method == "DELETE" or found[2]):
            by_container[found[1]].append(request)
    for container, requests in by_container.items():
        life = story.lives.get(container)
        for index, late in enumerate(requests):
            early = next((one for one in requests[:index] if _beside(one, late)), None)
            if early is None or any(_unclear(one, late.t) for one in requests[:index]):
                continue
            if not story.lossy(early.t - SLACK, late.t):
                text = f"{late.door} sent {late.method} while {early.door} was at it ({early.method})"
                yield Violation("S4", late.t, life.session if life is not None else "", container, text)
                break


def _beside(early: Request, late: Request) -> bool:
    """Whether another door's request was under way."""
    return early.door != late.door and early.t <= late.t and early.t_end is not None and late.t < early.t_end


def _unclear(request: Request, at: float) -> bool:
    """Whether this request had ended by then, and not told whether the container is gone."""
    over = request.t_end is not None and request.t_end <= at
    return over and (request.status in (0, _CONFLICT) or request.status >= _REFUSED)


def _ended_twice(story: Story) -> Iterator[Violation]:
    ends: dict[tuple[str, int], list[Audit]] = defaultdict(list)
    for audit in story.audits:
        if audit.event == "ended":
            ends[audit.session, audit.generation].append(audit)
    for (session, generation), audits in ends.items():
        for one, other in pairwise(audits):
            if not story.lossy(one.t - SLACK, other.t + SLACK) and not _found_again(story, one, other):
                text = f"generation {generation} ended again, {other.t - one.t:.2f} s after its end"
                yield Violation("S4", other.t, session, other.container, text)


def _found_again(story: Story, one: Audit, other: Audit) -> bool:
    """Whether the first end was that of a record only.

    A spawn whose commit Redis may have lost ends without its container, since the client may have been told of it; who
    acquires the id then finds that container by its labels, and it is registered again with its generation.
    """
    back = [
        a for a in story.audits if a.event == "adopted" and a.generation == one.generation and one.t <= a.t < other.t
    ]
    lives = [story.lives[a.container] for a in back if a.container in story.lives]
    return not one.container and any(life.created is not None and story.lossy(life.created, one.t) for life in lives)
