"""The way in: reserve, create, fence, start, commit, inspect; and what becomes of each step that fails.

What this is: the flows of `reactor/acquire.py` and `spawn.py`, one Redis script or engine call to a step. What it is
not: waiting; an acquirer that has to wait is idle again, and may come back or give up. The invariant: what a step knows
is in its actor, never in the state that it has not read.
"""

from __future__ import annotations

from faultlab.model.conflict import idle, onward, removing
from faultlab.model.engine import abandoned, running, started
from faultlab.model.moves import ABANDON, CANCEL, LOST_REPLY, Moves
from faultlab.model.scripts import abort, commit, renew, reserve
from faultlab.model.state import (
    ACQUIRE,
    BOUND,
    FAULT,
    HANDED,
    IDLE,
    MEMBER,
    READ,
    STEP,
    TRUSTED,
    Actor,
    Client,
    Container,
    Ghost,
    Redis,
    Request,
    State,
    acted,
    put,
)

CANCELLABLE = frozenset(("take", "rename", "create", "fence", "start", "commit"))


def handed_out(s: State, index: int, a: Actor, container: int, redis: Redis | None = None) -> State:
    """Give the session of this generation to the client, and let the acquirer go."""
    known = redis or s.redis
    alive = 1 if known.key == a.generation else 0
    ghost, pair = s.ghost, (a.generation, container)
    if pair not in ghost.handed:
        ghost = ghost._replace(handed=tuple(sorted((*ghost.handed, pair))))
    return acted(s, index, idle(a), redis=redis, client=Client(a.generation, container, alive), ghost=ghost)


def reserving(m: Moves, index: int, a: Actor) -> None:
    """`reserve`, first or again after a lost reply."""
    s, rules = m.state, m.rules
    clock = s.ghost.generations + 1
    token = a.token or clock
    answer, redis = reserve(rules, s.redis, a.host, token, clock)
    kind = STEP if a.token else ACQUIRE
    record = redis.record
    if answer == "SPAWN" and clock > m.bounds.spawns:
        m.add("reserve: beyond the bounds", s, BOUND)
    elif answer in ("SPAWN", "SPAWN AGAIN"):
        at = "take" if m.bounds.warm and not a.host else "create"
        granted = Actor(a.role, a.host, at, token, record.generation, redis.db)
        ghost = s.ghost._replace(generations=clock) if answer == "SPAWN" else s.ghost
        m.add(f"acquirer: reserve {answer}", acted(s, index, granted, redis=redis, ghost=ghost), kind)
        if answer == "SPAWN" and m.has(LOST_REPLY):
            unheard = Actor(a.role, a.host, "reserve again", token)
            after = acted(s, index, unheard, redis=redis, ghost=ghost, left=m.spent(LOST_REPLY))
            m.add("acquirer: reserve SPAWN, reply lost", after, FAULT)
    elif answer == "LIVE":
        _live(m, index, a, redis, kind)
    elif answer == "TEAR DOWN":
        m.add(
            "acquirer: reserve, nobody holds it", acted(s, index, Actor(a.role, a.host, "examine"), redis=redis), kind
        )
    elif answer == "WAIT":
        if rules.waiter == "record" and record.state in ("starting", "ending"):
            m.add("acquirer: reserve WAIT", acted(s, index, Actor(a.role, a.host, "wait"), redis=redis), kind)
        elif a.token or redis != s.redis:
            m.add("acquirer: reserve WAIT", acted(s, index, idle(a), redis=redis), kind)


def _live(m: Moves, index: int, a: Actor, redis: Redis, kind: str) -> None:
    s, record = m.state, redis.record
    served = Actor(a.role, a.host, "inspect", 0, record.generation)
    if record.host != a.host:
        m.add("acquirer: reserve LIVE elsewhere", handed_out(s, index, served, record.container, redis), TRUSTED)
    elif not m.rules.inspect:
        m.add("acquirer: reserve LIVE, handed out", handed_out(s, index, served, record.container, redis), HANDED)
    else:
        after = acted(s, index, served._replace(container=record.container), redis=redis)
        m.add("acquirer: reserve LIVE", after, kind)


def waiting(m: Moves, index: int, a: Actor) -> None:
    """Of a broken variant only: the waiter reads the record and hands out what it finds there."""
    s = m.state
    record = s.redis.record
    if record.state == "running":
        served = Actor(a.role, a.host, "wait", 0, record.generation)
        m.add("acquirer: hands out what it read", handed_out(s, index, served, record.container), READ)
    elif record.state in ("none", "ended"):
        m.add("acquirer: reads that it ended", acted(s, index, idle(a)))


def create(m: Moves, index: int, a: Actor) -> None:
    """Create under the session's name, which is the mutex of this engine."""
    s = m.state
    wanted = Container(0, a.generation, a.token, a.db)
    if s.engines[a.host].number:
        m.add("acquirer: create 409", acted(s, index, onward(a, "look")))
    elif s.ghost.containers >= m.bounds.containers:
        m.add("create: beyond the bounds", s, BOUND)
    else:
        number = s.ghost.containers + 1
        engines = put(s.engines, a.host, Container(number, a.generation, a.token, a.db, "created"))
        ghost = s.ghost._replace(containers=number)
        made = onward(a, "fence" if m.rules.fence else "start", container=number)
        m.add("acquirer: create", acted(s, index, made, engines=engines, ghost=ghost))
        if m.has(LOST_REPLY):
            after = acted(s, index, a, engines=engines, ghost=ghost, left=m.spent(LOST_REPLY))
            m.add("acquirer: create, reply lost", after, FAULT)
    if m.has(ABANDON):
        pending = abandoned(s, Request("create", a.host, wanted))
        m.add("acquirer: create abandoned", acted(s, index, a, pending=pending, left=m.spent(ABANDON)), FAULT)


def undo(m: Moves, index: int, a: Actor) -> None:
    """Remove what this spawn made, by its ID; it was superseded."""
    removing(m, index, a, idle(a), "removes its own")


def own(m: Moves, index: int, a: Actor) -> None:
    """Remove what this spawn made; if it does not know, the name's holder with its token."""
    s = m.state
    holder = s.engines[a.host]
    number = a.container or (holder.number if holder.token == a.token else 0)
    removing(m, index, onward(a, "own", container=number), onward(a, "abort", container=0), "gives up what it made")


def fence(m: Moves, index: int, a: Actor) -> None:
    """`renew`, between create and start."""
    s = m.state
    answer, redis = renew(m.rules, s.redis, a.host, a.token, a.db)
    m.add(f"acquirer: renew {answer}", acted(s, index, _after_loss(m, a, answer, "start"), redis=redis))


def _is_taken(m: Moves, a: Actor) -> bool:
    return m.bounds.warm and a.container == MEMBER


def _after_loss(m: Moves, a: Actor, answer: str, then: str) -> Actor:
    if answer.startswith("OK"):
        return onward(a, then)
    if _is_taken(m, a):
        return idle(a)  # whoever took over removes what the record named
    if answer == "SUPERSEDED" or m.rules.undo == "always":
        return Actor(a.role, a.host, "undo", 0, 0, 0, a.container)
    return idle(a)


def start(m: Moves, index: int, a: Actor) -> None:
    """Start the container; a 404 means that somebody newer removed it."""
    s = m.state
    holder = s.engines[a.host]
    if holder.number != a.container:
        m.add("acquirer: start 404", acted(s, index, idle(a)))
        return
    if holder.state == "exited":
        m.add("acquirer: it exited at once", acted(s, index, onward(a, "give up")))
        return
    engines = started(s.engines, a.host, a.container)
    m.add("acquirer: start", acted(s, index, onward(a, "commit"), engines=engines))
    if engines is not s.engines and m.has(LOST_REPLY):
        m.add("acquirer: start, reply lost", acted(s, index, a, engines=engines, left=m.spent(LOST_REPLY)), FAULT)
    if m.has(ABANDON):
        pending = abandoned(s, Request("start", a.host, Container(a.container)))
        m.add("acquirer: start abandoned", acted(s, index, a, pending=pending, left=m.spent(ABANDON)), FAULT)


def committing(m: Moves, index: int, a: Actor) -> None:
    """`commit`, or giving up where the container does not run any more."""
    s = m.state
    if not running(s, a.host, a.container):
        m.add("acquirer: it does not stay", acted(s, index, onward(a, "give up")))
    made = Container(a.container, a.generation, a.token, a.db)
    answer, redis = commit(m.rules, s.redis, a.host, a.token, made, a.db, taken=_is_taken(m, a))
    if not answer.startswith("OK"):
        m.add(f"acquirer: commit {answer}", acted(s, index, _after_loss(m, a, answer, ""), redis=redis))
        return
    ghost: Ghost = s.ghost
    if not ghost.lost and a.generation > ghost.committed:
        ghost = ghost._replace(committed=a.generation)
    served = Actor(a.role, a.host, "inspect", 0, redis.record.generation, 0, a.container)
    if m.rules.inspect:
        m.add(f"acquirer: commit {answer}", acted(s, index, served, redis=redis, ghost=ghost))
    else:
        given = handed_out(s._replace(ghost=ghost), index, served, a.container, redis)
        m.add(f"acquirer: commit {answer}, handed out", given, HANDED)
    if answer == "OK" and m.rules.renewal == "blind":
        late = Actor(a.role, a.host, "renew late", 0, a.generation)
        given = handed_out(s._replace(ghost=ghost), index, served, a.container, redis)
        where = given.actors.index(idle(a))
        m.add("acquirer: commit OK, handed out, its renewal goes on", acted(given, where, late), HANDED)
    if answer == "OK" and m.has(LOST_REPLY):
        after = acted(s, index, a, redis=redis, ghost=ghost, left=m.spent(LOST_REPLY))
        m.add("acquirer: commit OK, reply lost", after, FAULT)


def renew_late(m: Moves, index: int, a: Actor) -> None:
    """Of a broken variant only: a renewal that does not ask gives the heartbeat key a short life."""
    s = m.state
    redis = s.redis._replace(key=-abs(s.redis.key))
    m.add("acquirer: a late renewal", acted(s, index, idle(a), redis=redis))


def inspecting(m: Moves, index: int, a: Actor) -> None:
    """Inspect what was answered, and hand it out; what does not run is ended."""
    s = m.state
    if running(s, a.host, a.container):
        m.add("acquirer: inspected, handed out", handed_out(s, index, a, a.container), HANDED)
    else:
        ending = Actor(a.role, a.host, "end", 0, 0, 0, a.container)
        m.add("acquirer: inspected, does not run", acted(s, index, ending))


def giving_up(m: Moves, index: int, a: Actor) -> None:
    """A spawn that failed or was cancelled asks first whether it is still its own."""
    s = m.state
    answer, redis = renew(m.rules, s.redis, a.host, a.token, a.db)
    named = a.container or s.redis.record.container
    after = onward(a, "own", container=named) if answer == "OK" else idle(a)
    m.add(f"acquirer: gives up, renew {answer}", acted(s, index, after, redis=redis))


def aborting(m: Moves, index: int, a: Actor) -> None:
    """`abort`, with an error for its waiters or without."""
    s = m.state
    for error in (True, False):
        answer, redis = abort(s.redis, a.host, a.token, error=error)
        m.add(f"acquirer: abort {answer}", acted(s, index, idle(a), redis=redis))


def cancelled(m: Moves, index: int, a: Actor) -> None:
    """The caller goes away in the middle of a spawn."""
    if m.has(CANCEL) and a.at in CANCELLABLE:
        m.add("acquirer: cancelled", acted(m.state, index, onward(a, "give up"), left=m.spent(CANCEL)), FAULT)


STEPS = {
    IDLE: reserving,
    "reserve again": reserving,
    "wait": waiting,
    "create": create,
    "undo": undo,
    "own": own,
    "fence": fence,
    "start": start,
    "commit": committing,
    "inspect": inspecting,
    "give up": giving_up,
    "abort": aborting,
    "renew late": renew_late,
}
ON_ENGINE = frozenset(("create", "undo", "own", "start", "inspect"))
"""Steps that need no Redis."""
