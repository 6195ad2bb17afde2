"""S1, S2, S3, S5: nothing living is hit, nothing is there twice, nothing foreign is touched.

What this is: one pure function for each invariant. What it is not: the liveness bounds. The invariant: a function that
returns nothing has looked at what it is about; the anti-vacuity gates see to it that there was something to look at.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from faultlab.checks.lives import Life
from faultlab.checks.story import SLACK, Story
from faultlab.checks.verdict import Violation
from faultlab.entries import Call, Left, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT_SLACK = 0.6
"""Seconds by which a client that keeps heartbeating may be late on a loaded machine."""
HEARTBEAT_LIMIT = 1.5
"""Seconds after which a client gives a heartbeat up."""
GHOST_S = 3.0
START_S = 5.0
"""Seconds that a start may have been under way when its engine was killed."""
TICK_S = 0.02
"""The kernel tells the start of a process in hundredths of a second."""
_ALIVE = frozenset({"created", "running", "paused", "restarting"})
_TARGET = re.compile(r"/containers/([^/]+)")


@dataclass(frozen=True, slots=True)
class Try:
    """A call that was to keep a session, from its begin until it was answered or given up."""

    begin: float
    end: float
    refused: bool = False
    """It was told that the session is over."""


def early(story: Story) -> Iterator[Violation]:
    """S1: no container is hit before the TTL of each answered heartbeat has passed since that heartbeat."""
    for life, hit in _hit(story):
        for call in story.calls[life.session]:
            if (
                _promises(call, life, hit)
                and hit < call.t_call + call.ttl - SLACK
                and not story.lossy(call.t_call, hit)
            ):
                left = call.t_call + call.ttl - hit
                text = f"hit {left:.2f} s before the TTL of the {call.op} at {call.t_call:.2f} was over"
                yield _about("S1", life, hit, text)
                break
        else:
            yield from _before_first_ttl(story, life, hit)


def _promises(call: Call, life: Life, hit: float) -> bool:
    """Whether a client was told by this call that this very container lives for a TTL."""
    if not call.ok or call.t_call > hit:
        return False
    if call.op == "acquire":
        return call.container == life.container
    # A claim deletes the key before anything newer can be made: it was this container's if that was there.
    return call.op == "heartbeat" and life.created is not None and call.t_call >= life.created


def _before_first_ttl(story: Story, life: Life, hit: float) -> Iterator[Violation]:
    """S1, second half: nor before its first TTL, counted from when Redis was told of it."""
    for audit in story.audits:
        if audit.container != life.container or audit.event not in ("started", "adopted", "revived"):
            continue
        ttls = [call.ttl for call in story.calls[life.session] if call.op == "acquire" and call.ttl]
        if ttls and audit.t <= hit < audit.t + min(ttls) - SLACK and not story.lossy(audit.t, hit):
            yield _about("S1", life, hit, f"hit {audit.t + min(ttls) - hit:.2f} s before its first TTL was over")
            return


def kept(story: Story) -> Iterator[Violation]:
    """S1 in its weaker form, whatever happened: who keeps heartbeating and acquiring keeps the same container."""
    for life, hit in _hit(story):
        given = [call.ttl for call in story.calls[life.session] if call.ok and call.container == life.container]
        if given and (client := _keeper(story, life, _verdict(story, life, hit), given[0])):
            yield _about("S1k", life, hit, f"hit although {client} kept heartbeating")


def _verdict(story: Story, life: Life, hit: float) -> float:
    """Return since when the session was ending before the hit: an engine that hangs may delay that for long."""
    since = hit
    for look in story.looks:
        if look.t1 > hit:
            break
        belief = look.sessions.get(life.session)
        ending = belief is not None and belief.state == "ending" and belief.generation == life.generation
        since = min(since, look.t1) if ending else hit
    return since


def _keeper(story: Story, life: Life, hit: float, ttl: float) -> str:
    """Return a client that had this container and tried at least every TTL/3 for one TTL before the verdict."""
    tries: dict[str, list[Try]] = defaultdict(list)
    had: set[str] = set()
    for call in story.calls[life.session]:
        if call.op == "acquire" and call.ok and call.container == life.container and call.t_ret <= hit:
            had.add(call.client)
        if call.op in ("heartbeat", "acquire"):
            longest = HEARTBEAT_LIMIT if call.op == "heartbeat" else _patience(story, command=call.command)
            end = min(call.t_ret, call.t_call + longest)
            tries[call.client].append(Try(call.t_call, end, refused=call.reply == 0))
    answered = {(call.client, call.n) for call in story.calls[life.session]}
    for begin in story.begins[life.session]:
        if begin.op == "acquire" and (begin.client, begin.n) not in answered:
            tries[begin.client].append(Try(begin.t_call, begin.t_call + _patience(story, command=begin.command)))
    frozen = [window for window in story.windows if window.name == "client_frozen" and window.touches(hit - ttl, hit)]
    for client in sorted(had):
        stopped = any(client in window.evidence for window in frozen)
        before = sorted((one for one in tries[client] if one.begin <= hit), key=lambda one: one.begin)
        if not stopped and _without_gap(before, hit, hit - ttl, ttl / 3 + KEPT_SLACK):
            return client
    return ""


def _patience(story: Story, *, command: bool) -> float:
    """For how long an acquire that is under way counts as a try."""
    return 0.0 if command else story.setup.acquire_timeout_s


def _without_gap(tries: list[Try], hit: float, since: float, most: float) -> bool:
    last = hit
    for one in reversed(tries):
        # A call under way is a try all the time; one that was told 0 must have been followed at once.
        if last - min(one.end, last) > (KEPT_SLACK if one.refused else most):
            return False
        last = one.begin
        if one.begin <= since:
            return True
    return False


def twice(story: Story) -> Iterator[Violation]:
    """S2a, S2b: a session never has two living containers on a host, nor on two hosts unless data was lost."""
    for listing in story.listings:
        there: dict[str, list[str]] = defaultdict(list)
        for container, (session, _, state) in listing.containers.items():
            if state in _ALIVE and not _planted(story, container):
                there[session].append(container)
        for session, containers in there.items():
            if len(containers) > 1:
                text = f"{len(containers)} living containers on {listing.host}"
                yield Violation("S2", listing.t1, session, containers[0], text)
    yield from _running_twice(story)


def _running_twice(story: Story) -> Iterator[Violation]:
    by_session: dict[str, list[Life]] = defaultdict(list)
    for life in story.lives.values():
        if life.started and not _planted(story, life.container):
            by_session[life.session].append(life)
    for session, lives in by_session.items():
        ordered = sorted(lives, key=lambda life: life.started[0])
        for one, other in pairwise(ordered):
            unseen = one.gone_not_before if one.gone_not_before is not None else float("inf")
            ended = min(one.destroyed + one.died, default=unseen)
            if other.started[0] < ended - TICK_S and not (
                one.host != other.host and story.lossy(one.started[0], other.started[0])
            ):
                text = f"started while {one.container[:12]} still ran"
                yield Violation("S2", other.started[0], session, other.container, text)


def processes(story: Story) -> Iterator[Violation]:
    """S2 as /proc has it: never two containers of a session with a process, and none outlives its container."""
    before: frozenset[tuple[str, str]] = frozenset()
    told: set[str] = set()
    for scan in story.scans:
        there: dict[str, list[Life]] = defaultdict(list)
        for container in scan.containers:
            life = story.lives.get(container)
            if life is None or container in told or _planted(story, container) or _forgotten(story, life):
                continue
            there[life.session].append(life)
            if life.gone is not None and scan.t0 > life.gone + GHOST_S:
                told.add(container)
                yield _about("S2", life, scan.t0, f"a process of it runs {scan.t0 - life.gone:.1f} s after its removal")
        pairs = frozenset((one.container, other.container) for one, other in _pairs(there))
        for one, other in sorted(pairs & before):  # a scan takes a while: seen twice it is no accident
            if other not in told:
                told.add(other)
                yield Violation("S2", scan.t0, story.lives[other].session, other, f"runs beside {one[:12]}")
        before = pairs


def _pairs(there: dict[str, list[Life]]) -> Iterator[tuple[Life, Life]]:
    for lives in there.values():
        yield from combinations(sorted(lives, key=lambda life: life.container), 2)


def handed_out(story: Story) -> Iterator[Violation]:
    """S2c: for one generation at most one container is ever handed out."""
    given: dict[tuple[str, int], set[str]] = defaultdict(set)
    for session, calls in story.calls.items():
        for call in calls:
            if call.op == "acquire" and call.ok and call.container:
                given[session, call.generation].add(call.container)
                if len(given[session, call.generation]) > 1:
                    text = f"another container of generation {call.generation} was handed out before"
                    yield Violation("S2c", call.t_ret, session, call.container, text)


def foreign(story: Story) -> Iterator[Violation]:
    """S3: foreign containers and keys end as they were, no request on the wire names one, and no key is made there."""
    for left in story.history.of(Left):
        for text in left.changed:
            yield Violation("S3", left.t, "", "", text)
    decoys = set(story.setup.decoys)
    for request in story.history.of(Request):
        found = _TARGET.match(request.path)
        if found and found[1] in decoys:
            yield Violation("S3", request.t, "", found[1], f"{request.door} sent {request.method} {request.path}")
    told = set(story.setup.decoy_keys)
    for look in story.looks:
        for key in look.strangers:
            if key not in told:
                told.add(key)
                yield Violation("S3", look.t1, "", "", f"{key} appeared in Redis, which is not ours to write")


def fenced(story: Story) -> Iterator[Violation]:
    """S5: once a generation is committed, no older one is started, and soon none runs."""
    soon = story.setup.janitor_s + story.setup.stop_grace_s + story.promptly
    for session, calls in story.calls.items():
        ours = [life for life in story.lives.values() if life.session == session]
        for call in calls:
            if call.op != "acquire" or not call.ok:
                continue
            for life in ours:
                if life.generation >= call.generation:
                    continue
                if any(start > call.t_ret for start in life.started):
                    yield _about("S5", life, call.t_ret, f"started after generation {call.generation} was handed out")
                ended = min(life.destroyed + life.died, default=float("inf"))
                troubled = story.troubled(call.t_ret, call.t_ret + soon)
                if ended > call.t_ret + soon and not troubled and story.end > call.t_ret + soon:
                    yield _about("S5", life, call.t_ret + soon, f"still runs after generation {call.generation}")


def _hit(story: Story) -> Iterator[tuple[Life, float]]:
    """Yield each session's container that was hit without anybody having asked for it, and when first."""
    for life in story.lives.values():
        if not life.committed:
            continue
        explained: float | None = None
        for hit in life.hits:
            if story.restarting(life, hit):
                continue  # it comes back, so this explains nothing that follows
            again = explained is not None and any(explained < start <= hit for start in life.started)
            if explained is not None and not again:
                continue  # it is dead already, and is cleared away
            if not story.ended_by_somebody(life, hit):
                yield life, hit
                break
            explained = hit


def _forgotten(story: Story, life: Life) -> bool:
    """Whether its engine was killed between its create and the word of its start.

    Such an engine comes back with a container that it holds for never started, while its program runs: nobody who talks
    to the engine can see that, or end it (dockerd 20.10).
    """
    return not life.started and any(
        life.created is not None and life.created <= window.on and window.touches(life.created, life.created + START_S)
        for window in story.under("dies")
    )


def _planted(story: Story, container: str) -> bool:
    return any(act.act == "orphan" and act.container == container for act in story.acts)


def _about(check: str, life: Life, t: float, text: str) -> Violation:
    return Violation(check, t, life.session, life.container, text)
