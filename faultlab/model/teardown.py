"""The way out: a claim, then list, extend, remove and finish.

What this is: the flow of `reactor/teardown.py`, for reactors and for acquirers that found a session dead. What it is
not: who noticed. The invariant: the claim is asked for right before the engine is, and the container goes by its ID.
"""

from __future__ import annotations

from faultlab.model.conflict import idle
from faultlab.model.engine import abandoned, bereft, removed, unspared
from faultlab.model.moves import ABANDON, LOST_REPLY, Moves
from faultlab.model.scripts import examine, extend, finish
from faultlab.model.state import FAULT, MEMBER, STEP, Actor, Container, Redis, Request, State, acted

CLAIMING = frozenset(("examine", "end", "terminate", "orphan", "list", "look at member", "extend", "remove", "finish"))
"""The steps in which an actor's token is that of a claim."""


def fresh_claim(s: State) -> int:
    """Return a token that nobody holds."""
    used = {s.redis.record.claim, *(a.token for a in s.actors if a.at in CLAIMING)}
    if s.replica is not None:
        used.add(s.replica.record.claim)
    return next(n for n in range(1, len(used) + 2) if n not in used)


def examined(m: Moves, index: int, a: Actor, at: str, *, kind: str = STEP) -> str:
    """Ask for the verdict and act on it; `at` says in which mode. Returns the verdict."""
    s = m.state
    token = a.token or fresh_claim(s)
    by_name = at in ("end", "terminate")
    meant = a.generation if at == "terminate" else 0
    answer, redis = examine(m.rules, s.redis, a.host, token, end=by_name, expected=a.container, generation=meant)
    if answer == "UNSURE":
        return answer
    if answer != "CLAIMED":
        if a.at != "idle" or redis != s.redis:
            m.add(f"{a.role}: {at} {answer}", acted(s, index, idle(a), redis=redis), kind)
        return answer
    claimed(m, index, a, token, redis=redis, at=at, kind=kind)
    return answer


def claimed(  # noqa: PLR0913 (what `examine` and `adopt_orphan` know)
    m: Moves, index: int, a: Actor, token: int, *, redis: Redis, at: str, kind: str = STEP
) -> None:
    """Go on with a claim that was just answered, or was not heard of."""
    s = m.state
    record, ghost = redis.record, s.ghost
    if not ghost.lost:
        ghost = ghost._replace(claimed=ghost.claimed | 1 << record.generation)
    onward = "list" if not record.container else "extend" if m.rules.extend else "remove"
    if record.start and record.container == MEMBER and m.bounds.warm and m.rules.spare_uncommitted:
        onward = "look at member"
    holder = Actor(a.role, a.host, onward, token, record.generation, redis.db, record.container)
    m.add(f"{a.role}: {at} CLAIMED", acted(s, index, holder, redis=redis, ghost=ghost), kind)
    if m.has(LOST_REPLY) and not a.token:
        unheard = Actor(a.role, a.host, at, token, a.generation, 0, a.container, a.found)
        after = acted(s, index, unheard, redis=redis, ghost=ghost, left=m.spent(LOST_REPLY))
        m.add(f"{a.role}: {at} CLAIMED, reply lost", after, FAULT)


def listing(m: Moves, index: int, a: Actor) -> None:
    """The claim knows no container: what the session's spawns made, up to this generation."""
    s = m.state
    found = s.engines[a.host]
    ours = found.number and found.generation and (found.generation <= a.generation or not m.rules.list_older)
    before = found.db != a.db and found.state == "running" and m.rules.conflict_minds_db
    if ours and not before:
        onward = "extend" if m.rules.extend else "remove"
        after = Actor(a.role, a.host, onward, a.token, a.generation, a.db, found.number)
        m.add(f"{a.role}: lists a container", acted(s, index, after))
    else:
        after = Actor(a.role, a.host, "finish", a.token)
        m.add(f"{a.role}: lists nothing", acted(s, index, after))


def looking_at_member(m: Moves, index: int, a: Actor) -> None:
    """The claim of a start names a member: its commit may have been lost with the rest, if another database made it."""
    s = m.state
    held = s.engines[a.host] if s.engines[a.host].number == a.container else s.spare
    before = held.number == a.container and held.db != a.db and held.state == "running"
    onward = "finish" if before else "extend" if m.rules.extend else "remove"
    m.add(f"{a.role}: looks at the member", acted(s, index, a._replace(at=onward)))


def extending(m: Moves, index: int, a: Actor) -> None:
    """`extend`: is the claim still ours?"""
    s = m.state
    answer, redis = extend(s.redis, a.token)
    after = a._replace(at="remove") if answer == "OK" else idle(a)
    m.add(f"{a.role}: extend {answer}", acted(s, index, after, redis=redis))


def removing(m: Moves, index: int, a: Actor) -> None:
    """Remove by ID until it is gone; an unknown outcome is asked for again."""
    s = m.state
    number = s.engines[a.host].number if m.rules.remove == "name" else a.container
    engines, spare = removed(s.engines, a.host, number), unspared(s, number)
    client = s.client if engines is s.engines else bereft(s.client, number)
    done = Actor(a.role, a.host, "finish", a.token)
    m.add(f"{a.role}: remove", acted(s, index, done, engines=engines, client=client, spare=spare))
    if engines is s.engines and spare is s.spare:
        return
    again = a._replace(at="extend") if m.rules.extend else a
    if m.has(LOST_REPLY):
        after = acted(s, index, again, engines=engines, client=client, spare=spare, left=m.spent(LOST_REPLY))
        m.add(f"{a.role}: remove, reply lost", after, FAULT)
    if m.has(ABANDON):
        pending = abandoned(s, Request("remove", a.host, Container(number)))
        unsure = again if m.rules.unknown == "repeat" else done
        after = acted(s, index, unsure, pending=pending, left=m.spent(ABANDON))
        m.add(f"{a.role}: remove abandoned", after, FAULT)
        if m.rules.unknown == "done":
            after = acted(s, index, done, left=m.spent(ABANDON))
            m.add(f"{a.role}: remove timed out and never happens", after, FAULT)


def finishing(m: Moves, index: int, a: Actor) -> None:
    """`finish`: the record becomes a tombstone."""
    s = m.state
    answer, redis = finish(m.rules, s.redis, a.host, a.token)
    if redis != s.redis and m.has(LOST_REPLY):
        m.add(f"{a.role}: finish ENDED, reply lost", acted(s, index, a, redis=redis, left=m.spent(LOST_REPLY)), FAULT)
    if answer == "ENDED" and redis.record.claim == a.token:
        redis = redis._replace(record=redis.record._replace(claim=0))  # nobody asks with it any more
    left = Actor(a.role, a.host, "leave") if answer == "ENDED" and m.rules.leave_index == "blind" else idle(a)
    m.add(f"{a.role}: finish {answer}", acted(s, index, left, redis=redis))


def leaving(m: Moves, index: int, a: Actor) -> None:
    """Of a broken variant only: the due entry goes later, whatever it is then about."""
    s = m.state
    due = (*s.redis.due[: a.host], False, *s.redis.due[a.host + 1 :])
    m.add(f"{a.role}: leaves the index", acted(s, index, idle(a), redis=s.redis._replace(due=due)))


def examining(m: Moves, index: int, a: Actor) -> None:
    """Mode claim: a missing key, or a lease that ran out."""
    examined(m, index, a, "examine")


def ending(m: Moves, index: int, a: Actor) -> None:
    """Mode end, for a container that was seen not to run."""
    examined(m, index, a, "end")


STEPS = {
    "examine": examining,
    "end": ending,
    "list": listing,
    "look at member": looking_at_member,
    "extend": extending,
    "remove": removing,
    "finish": finishing,
    "leave": leaving,
}
ON_ENGINE = frozenset(("list", "look at member", "remove"))
