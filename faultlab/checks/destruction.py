"""S9 and S10: doubt destroys nothing.

What this is: what may be removed after keys died in a mass, while Redis knows nothing of many containers, and while
nobody can ask Redis. What it is not: the promise to one session (`safety`). The invariant: whether there is doubt is
worked out from what the observer saw in Redis and from what the laboratory did, never from what the product says.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from faultlab.checks.lives import Life
from faultlab.checks.story import SLACK, Story
from faultlab.checks.verdict import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faultlab.checks.lives import Window
    from faultlab.entries import Belief, Look

MASS_WITHIN_S = 60.0
HELD_S = 1.5
"""A session whose client acquires it that soon may be alive again before anybody has looked at it."""
NOTICED_S = 1.0
"""A key that went early is held for that long, to see whether others follow."""
MASS_COUNT, MASS_SHARE = 10, 0.2
BRAKE_COUNT, BRAKE_SHARE = 10, 0.3
GRACE_SHARE = 2 / 3
"""Of its TTL: the shortest grace of a session."""
IN_HAND_S = 1.0
"""A claim is asked for again right before the engine is told; that long its word may take to become a deed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MassDeath:
    """When so many keys of a host were gone too soon that it proves nothing, and whose they were."""

    look: Look
    """The first look that found it."""
    host: str
    sessions: frozenset[str]

    @property
    def t(self) -> float:
        """When it was there."""
        return self.look.t1


def bounded_destruction(story: Story) -> Iterator[Violation]:
    """S9: keys that go in a mass before their time prove nothing; nor do many containers that Redis does not know."""
    for death in mass_deaths(story):
        yield from _before_the_grace(story, death)
    yield from _unasked_burst(story)
    for window in story.windows:
        yield from _braked(story, window)


def mass_deaths(story: Story) -> Iterator[MassDeath]:
    """Yield each mass death: more than max(10, 20 %) of a host's keys gone too soon within a minute."""
    for host in story.setup.hosts:
        gone: dict[str, float] = {}
        for before, look in pairwise(story.good_looks):
            for session, belief in before.sessions.items():
                now = look.sessions.get(session)
                missing = now is None or (now.deadline is None and not now.immortal)
                if belief.host == host and missing and _too_soon(story, session, belief, before.t0, look.t1):
                    gone[session] = look.t1
            recent = frozenset(session for session, t in gone.items() if t > look.t1 - MASS_WITHIN_S)
            there = sum(1 for belief in look.sessions.values() if belief.host == host and belief.state == "running")
            if len(recent) > max(MASS_COUNT, MASS_SHARE * there):
                yield MassDeath(look=look, host=host, sessions=recent)
                gone.clear()


def _too_soon(story: Story, session: str, belief: Belief, since: float, now: float) -> bool:
    """Whether a key went before its host expected it, and neither a `del` nor an acquire explains or mends it."""
    if belief.deadline is None or belief.score is None or min(belief.deadline, belief.score) <= now + SLACK:
        return False
    heard = (since - SLACK <= event.t <= now + SLACK and event.event == "del" for event in story.keys[session])
    acquires = (begin.t_call for begin in story.begins[session] if begin.op == "acquire")
    return not any(heard) and not any(since - SLACK <= t <= now + HELD_S for t in acquires)


def _before_the_grace(story: Story, death: MassDeath) -> Iterator[Violation]:
    """Judge whoever was not ending yet: its key had gone, or was still there when the mass had been noticed."""
    later = story.look_after(death.t + NOTICED_S + SLACK)
    for life in story.lives.values():
        if life.host != death.host or not life.committed or life.hit is None:
            continue
        was = death.look.sessions.get(life.session)
        then = None if later is None else later.sessions.get(life.session)
        mourned = _runs(was, life) and life.session in death.sessions
        spared = _runs(then, life) and then is not None and then.deadline is not None
        over = death.t + GRACE_SHARE * story.ttl_of(life) - SLACK
        hit_then = death.t < life.hit < over and not story.ended_by_somebody(life, life.hit)
        if hit_then and (mourned or (spared and later is not None and later.t1 < life.hit)):
            text = f"hit {life.hit - death.t:.2f} s after {len(death.sessions)} keys had gone before their time"
            yield Violation("S9", life.hit, life.session, life.container, text)


def _runs(belief: Belief | None, life: Life) -> bool:
    return belief is not None and belief.state == "running" and belief.container == life.container


def _unasked_burst(story: Story) -> Iterator[Violation]:
    """Yield containers that went in a mass, within one round of the janitor, though Redis never asked for it."""
    for host in story.setup.hosts:
        ours = [life for life in story.lives.values() if life.host == host]
        found = [(life.hit, life) for life in ours if life.hit is not None and _unasked(story, life, life.hit)]
        unasked = sorted(found, key=lambda one: one[0])
        for index, (hit, life) in enumerate(unasked):
            burst = sum(1 for other, _ in unasked[: index + 1] if other > hit - story.setup.janitor_s)
            there = sum(1 for one in ours if (one.created or 0) < hit and (one.gone or hit) >= hit)
            if burst > max(BRAKE_COUNT, BRAKE_SHARE * there):
                text = f"{burst} of {there} containers were removed at once without a record that asks for it"
                yield Violation("S9", hit, life.session, life.container, text)


def _unasked(story: Story, life: Life, hit: float) -> bool:
    """Whether Redis, seen last before the hit, knew nothing of this container but what its remover had written."""
    look = story.look_before(hit)
    if not life.committed or look is None or story.ended_by_somebody(life, hit):
        return False
    belief = look.sessions.get(life.session)
    return belief is None or (belief.reason == "orphan" and belief.generation == life.generation)


def _braked(story: Story, window: Window) -> Iterator[Violation]:
    """Where a host lost many records at one stroke: nothing goes before a human says so, and then all of it."""
    cut = {act.container: act for act in story.acts if act.act == "unrecord" and window.touches(act.t, act.t)}
    for host in story.setup.hosts:
        lives = [life for life in story.lives.values() if life.container in cut and life.host == host]
        if not lives:
            continue
        began = min(cut[life.container].t for life in lives)
        there = [one for one in story.lives.values() if one.host == host and _there(one, began)]
        if len(lives) > max(BRAKE_COUNT, BRAKE_SHARE * len(there)):
            yield from _held(story, window, lives, began)


def _there(life: Life, t: float) -> bool:
    return (life.created or 0.0) < t and (life.gone is None or life.gone > t)


def _held(story: Story, window: Window, lives: list[Life], began: float) -> Iterator[Violation]:
    forced = min((act.t for act in story.acts if act.act == "force" and window.touches(act.t, act.t)), default=None)
    until = window.heal if forced is None else forced
    for life in lives:
        if life.hit is not None and began < life.hit < until - SLACK:
            text = f"hit {life.hit - began:.2f} s after {len(lives)} records were deleted, and nobody had confirmed it"
            yield Violation("S9", life.hit, life.session, life.container, text)
        over = window.heal + story.promptly
        if forced is not None and over < story.end and (life.gone is None or life.gone > over):
            yield Violation("S9", window.heal, life.session, life.container, "still there after a forced reconcile")
    noticed = story.setup.janitor_s + story.setup.acquire_timeout_s + story.promptly
    said = any(audit.event == "brake" and began - SLACK <= audit.t <= until for audit in story.audits)
    if not said and until > began + noticed:
        text = f"{len(lives)} containers had no record for {until - began:.1f} s, and no brake was told of"
        yield Violation("S9", until, lives[0].session, lives[0].container, text)


def fail_static(story: Story) -> Iterator[Violation]:
    """S10: while no reactor can work with Redis, none removes anything; what was in hand is finished at once."""
    for window in story.under("blind"):
        dark = "dark" in window.flags
        for life in story.lives.values():
            hit = life.hit
            if hit is None or not life.committed or not window.on + IN_HAND_S < hit < window.mend:
                continue
            # Where nobody at all reaches Redis, only what was asked for before counts.
            if story.ended_by_somebody(life, window.on if dark else hit):
                continue
            if dark or not _by_an_acquire(story, life, hit):
                text = f"hit {hit - window.on:.2f} s into {window.name}"
                yield Violation("S10", hit, life.session, life.container, text)


def _by_an_acquire(story: Story, life: Life, hit: float) -> bool:
    """Whether an acquire of this session was under way, which may remove what has ended."""
    finished = {(call.client, call.n): call.t_ret for call in story.calls[life.session]}
    return any(
        begin.op == "acquire" and begin.t_call <= hit <= finished.get((begin.client, begin.n), hit)
        for begin in story.begins[life.session]
    )
