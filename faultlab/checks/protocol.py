"""S6 to S10, S14, S15: what clients are told is true, and doubt destroys nothing.

What this is: one pure function for each invariant. What it is not: the bounds in time (`liveness`). The invariant: an
answer is held against what Redis and the engine were seen to hold, never against what the product says of itself.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from faultlab.checks.story import ENGINE_S, SLACK, Life, Story
from faultlab.checks.verdict import Violation
from faultlab.entries import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faultlab.entries import Belief, Call, Look

WATCHED_S = 2.0
"""On a watched host a container that is handed out may have died less than that before."""
SOON = 0.5
MASS_WITHIN_S = 60.0
HELD_S = 1.5
"""A session whose client acquires it that soon may be alive again before anybody has looked at it."""
MASS_COUNT, MASS_SHARE = 10, 0.2
BRAKE_COUNT, BRAKE_SHARE = 10, 0.3
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
            if life is None or not _ran_during(life, call):
                text = "it was handed out, and did not run then"
                yield Violation("S7", call.t_ret, session, call.container, text)
            elif (look := story.look_after(call.t_ret)) is not None:
                yield from _recorded(story, call, look)


def _ran_during(life: Life, call: Call) -> bool:
    began = [start for start in life.started if start <= call.t_ret + SLACK]
    if not began:
        return False
    # Later starts are an operator's; the container ran from each start to the next death.
    ends = [end for end in life.died + life.destroyed if end >= began[-1]]
    return min(ends, default=float("inf")) >= call.t_call - WATCHED_S - SLACK


def _recorded(story: Story, call: Call, look: Look) -> Iterator[Violation]:
    if look.t0 > call.t_ret + SOON or story.lossy(call.t_call - SLACK, look.t1):
        return
    belief = look.sessions.get(call.session)
    if belief is None or (belief.container != call.container and belief.generation <= call.generation):
        held = "no record" if belief is None else f"container {belief.container[:12] or '-'} ({belief.state})"
        text = f"handed out, and {look.t0 - call.t_ret:.2f} s later Redis held {held}"
        yield Violation("S7", call.t_ret, call.session, call.container, text)


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


def bounded_destruction(story: Story) -> Iterator[Violation]:
    """S9: keys that go in a mass before their time prove nothing; nor do many containers that Redis does not know."""
    for t, sessions in mass_deaths(story):
        for life in story.lives.values():
            if life.session not in sessions or not life.committed or life.hit is None or life.created is None:
                continue
            by_hand = any(
                begin.op in ("delete", "terminate") and life.created <= begin.t_call <= life.hit
                for begin in story.begins[life.session]
            )
            if life.created < t < life.hit < t + _ttl(story, life.session) / 3 and not by_hand:
                text = f"hit {life.hit - t:.2f} s after {len(sessions)} keys had gone before their time"
                yield Violation("S9", life.hit, life.session, life.container, text)
    yield from _brake(story)


def mass_deaths(story: Story) -> Iterator[tuple[float, set[str]]]:
    """Yield each moment from which on so many keys of a host were gone too soon that it is a mass death, and whose."""
    for host in story.setup.hosts:
        gone: dict[str, float] = {}
        for before, look in pairwise(story.good_looks):
            for session, belief in before.sessions.items():
                now = look.sessions.get(session)
                missing = now is None or (now.deadline is None and not now.immortal)
                if belief.host == host and missing and _too_soon(story, session, belief, before.t0, look.t1):
                    gone[session] = look.t1
            recent = {session for session, t in gone.items() if t > look.t1 - MASS_WITHIN_S}
            there = sum(1 for belief in look.sessions.values() if belief.host == host and belief.state == "running")
            if len(recent) > max(MASS_COUNT, MASS_SHARE * there):
                yield look.t1, recent
                gone.clear()


def _too_soon(story: Story, session: str, belief: Belief, since: float, now: float) -> bool:
    """Whether a key went before its host expected it, and neither a `del` nor an acquire explains or mends it."""
    if belief.deadline is None or belief.score is None or min(belief.deadline, belief.score) <= now + SLACK:
        return False
    heard = (since - SLACK <= event.t <= now + SLACK and event.event == "del" for event in story.keys[session])
    acquires = (begin.t_call for begin in story.begins[session] if begin.op == "acquire")
    return not any(heard) and not any(since - SLACK <= t <= now + HELD_S for t in acquires)


def _brake(story: Story) -> Iterator[Violation]:
    unasked = sorted(
        (life.hit, life) for life in story.lives.values() if life.hit is not None and _unasked(story, life)
    )
    for index, (hit, life) in enumerate(unasked):
        burst = sum(1 for other, _ in unasked[: index + 1] if other > hit - 1.0)
        there = sum(1 for one in story.lives.values() if (one.created or 0) < hit and (one.gone or hit) >= hit)
        if burst > max(BRAKE_COUNT, BRAKE_SHARE * there):
            text = f"{burst} of {there} containers were removed at once without a record that asks for it"
            yield Violation("S9", hit, life.session, life.container, text)


def _unasked(story: Story, life: Life) -> bool:
    """Whether Redis, seen last before the hit, knew nothing of this container."""
    look = story.look_before(life.hit or 0.0)
    return life.committed and look is not None and life.session not in look.sessions


def fail_static(story: Story) -> Iterator[Violation]:
    """S10: while no reactor can work with Redis, none removes anything; what was in hand is finished."""
    for window in story.under("blind"):
        begin = window.on + story.setup.stop_grace_s + ENGINE_S
        for life in story.lives.values():
            hit = life.hit
            if hit is None or not life.committed or not begin < hit < window.mend:
                continue
            if not story.ended_by_somebody(life, hit) and not _by_an_acquire(story, life, hit):
                text = f"hit {hit - window.on:.2f} s into {window.name}"
                yield Violation("S10", hit, life.session, life.container, text)


def _by_an_acquire(story: Story, life: Life, hit: float) -> bool:
    """Whether an acquire of this session was under way, which may remove what has ended."""
    finished = {(call.client, call.n): call.t_ret for call in story.calls[life.session]}
    return any(
        begin.op == "acquire" and begin.t_call <= hit <= finished.get((begin.client, begin.n), hit)
        for begin in story.begins[life.session]
    )


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
