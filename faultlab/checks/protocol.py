"""S6, S7, S8, S14, S15: what clients are told is true, and everything has a bound and an order.

What this is: one pure function for each invariant. What it is not: the bounds in time (`liveness`). The invariant: an
answer is held against what Redis and the engine were seen to hold, never against what the product says of itself.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from faultlab.checks.lives import Life
from faultlab.checks.story import ENGINE_S, SLACK, Story
from faultlab.checks.verdict import Violation
from faultlab.entries import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faultlab.entries import Call, Look

WATCHED_S = 2.0
"""On a watched host a container that is handed out may have died less than that before."""
SOON = 0.5
RSS_MB, FDS, THREADS = 300.0, 300, 100


def no_resurrection(story: Story) -> Iterator[Violation]:
    """S6: after a claim no EXPIRE of that generation is answered with 1, and its container is not handed out."""
    for session, calls in story.calls.items():
        claims = _claims(story, session)
        if not claims:
            continue
        answered = {(call.client, call.n): call.t_ret for call in calls}
        acquires = [
            (begin.t_call, answered.get((begin.client, begin.n), float("inf")))
            for begin in story.begins[session]
            if begin.op == "acquire"
        ]
        for generation, (claimed, container) in claims.items():
            for call in calls:
                if not call.ok or call.t_call <= claimed + SLACK or story.lossy(claimed, call.t_ret):
                    continue
                if call.op == "acquire" and 0 < call.generation <= generation:
                    text = f"handed out {call.t_call - claimed:.2f} s after its claim"
                    yield Violation("S6", call.t_ret, session, call.container, text)
                newer = any(ended >= claimed - 2 * SLACK and begun < call.t_ret for begun, ended in acquires)
                if call.op == "heartbeat" and not newer:
                    text = f"EXPIRE = 1, {call.t_call - claimed:.2f} s after the claim of generation {generation}"
                    yield Violation("S6", call.t_ret, session, container, text)


def _claims(story: Story, session: str) -> dict[int, tuple[float, str]]:
    found: dict[int, tuple[float, str]] = {}
    for look in story.looks:
        belief = look.sessions.get(session)
        if belief is not None and belief.state in ("ending", "ended") and belief.generation not in found:
            found[belief.generation] = (look.t1, belief.container)
    return found


def told_the_truth(story: Story) -> Iterator[Violation]:
    """S7: what acquire returned was running during the call, and Redis said so too."""
    for session, calls in story.calls.items():
        for call in calls:
            if call.op != "acquire" or not call.ok:
                continue
            life = story.lives.get(call.container)
            if life is None or not _ran_during(story, life, call):
                text = "it was handed out, and did not run then"
                yield Violation("S7", call.t_ret, session, call.container, text)
            elif (look := story.look_after(call.t_ret)) is not None:
                yield from _recorded(story, life, call, look)


def _ran_during(story: Story, life: Life, call: Call) -> bool:
    began = [start for start in life.started if start <= call.t_ret + SLACK]
    if not began:
        return False
    # Later starts are an operator's; the container ran from each start to the next death.
    ends = [end for end in life.died + life.destroyed if end >= began[-1]]
    stale = 0.0 if _unwatched(story, life.host, call) else WATCHED_S
    return min(ends, default=float("inf")) >= call.t_call - stale - SLACK


def _unwatched(story: Story, host: str, call: Call) -> bool:
    """Whether Redis was seen, from before the call until after it, to know of nobody who watches that host's engine."""
    first, last = story.look_before(call.t_call), story.look_after(call.t_ret)
    if first is None or last is None:
        return False
    looks = story.looks_between(first.t0, last.t1)
    return all(look.watched is not None and host not in look.watched for look in looks)


def _recorded(story: Story, life: Life, call: Call, look: Look) -> Iterator[Violation]:
    if look.t0 > call.t_ret + SOON or story.lossy(call.t_call - SLACK, look.t1):
        return
    belief = look.sessions.get(call.session)
    if belief is None or (belief.container != call.container and belief.generation <= call.generation):
        held = "no record" if belief is None else f"container {belief.container[:12] or '-'} ({belief.state})"
        text = f"handed out, and {look.t0 - call.t_ret:.2f} s later Redis held {held}"
        yield Violation("S7", call.t_ret, call.session, call.container, text)
    elif belief.container == call.container and not _may_be_over(story, life, call, look):
        keyless = belief.deadline is None and not belief.immortal
        if belief.state != "running" or keyless:
            held = belief.state if belief.state != "running" else "without a heartbeat key"
            text = f"handed out, and {look.t0 - call.t_ret:.2f} s later its record was {held}"
            yield Violation("S7", call.t_ret, call.session, call.container, text)


def _may_be_over(story: Story, life: Life, call: Call, look: Look) -> bool:
    """Whether its time, its client, an operator or its own death may have ended a session since it was asked for."""
    since, until = call.t_call - SLACK, look.t1
    by_hand = any(act.act == "expire" and act.session == call.session and since <= act.t <= until for act in story.acts)
    died = any(since - WATCHED_S <= t <= until for t in life.died)
    return until >= call.t_call + call.ttl - SLACK or by_hand or died or story.ended_by_somebody(life, until)


def bounded(story: Story) -> Iterator[Violation]:
    """S8: no heartbeat key lacks an end, or has one beyond the TTL, for longer than a janitor's period."""
    most = story.setup.janitor_s + ENGINE_S + SLACK
    since: dict[str, float] = {}
    told: set[str] = set()
    for look in story.looks:
        if look.error:
            since.clear()
            continue
        for session, belief in look.sessions.items():
            end = belief.deadline
            if not belief.immortal and (end is None or end <= look.t1 + _ttl(story, session) + SLACK):
                since.pop(session, None)
                continue
            began = since.setdefault(session, look.t0)
            if look.t0 > began + most and session not in told and not story.troubled(began, look.t0):
                told.add(session)
                text = f"its key had no proper end for {look.t0 - began:.2f} s"
                yield Violation("S8", look.t0, session, belief.container, text)


def _ttl(story: Story, session: str) -> float:
    return max((call.ttl for call in story.calls[session] if call.op == "acquire"), default=story.setup.ttl_max_s)


def bounded_self(story: Story) -> Iterator[Violation]:
    """S14: a reactor's memory, open files and threads stay within bounds."""
    told: set[tuple[str, str]] = set()
    for usage in story.history.of(Usage):
        for what, value, most in (
            ("MB", usage.rss_mb, RSS_MB),
            ("open files", usage.fds, FDS),
            ("threads", usage.threads, THREADS),
        ):
            if value > most and (usage.name, what) not in told:
                told.add((usage.name, what))
                yield Violation("S14", usage.t, "", "", f"{usage.name} had {value:.0f} {what}")


def in_order(story: Story) -> Iterator[Violation]:
    """S15: on a host a newer generation is created only after the older one is gone."""
    by_place: dict[tuple[str, str], list[Life]] = defaultdict(list)
    planted = {act.container for act in story.acts if act.act == "orphan"}
    for life in story.lives.values():
        if life.created is not None and life.container not in planted:
            by_place[life.host, life.session].append(life)
    for (host, session), lives in by_place.items():
        ordered = sorted(lives, key=lambda life: life.created or 0.0)
        for one, other in pairwise(ordered):
            # Equal times come from one look at the process runtime's directory.
            gone = one.gone_not_before
            if gone is None or gone > (other.created or 0.0):
                text = f"created on {host} while {one.container[:12]} was still there"
                yield Violation("S15", other.created or 0.0, session, other.container, text)
