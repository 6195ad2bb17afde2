"""The name is taken: who holds it, and what follows.

What this is: the flow of `reactor/conflict.py`, and what the steps of a spawn share. What it is not: the spawn. The
invariant: nothing is adopted by its name or generation alone.
"""

from __future__ import annotations

from faultlab.model.engine import abandoned, bereft, removed, unspared
from faultlab.model.moves import ABANDON, Moves
from faultlab.model.scripts import register, renew, unsure
from faultlab.model.state import FAULT, NO_CONTAINER, SURE, Actor, Container, Request, State, acted

_BEFORE = (
    "reserve again", "take", "rename", "create", "look", "weigh", "ask", "clear", "register", "weigh found",
    "register found",
)  # fmt: skip
SPAWNING = frozenset((*_BEFORE, "fence", "start", "commit", "give up", "own", "abort"))
"""The steps of a spawn that may still be in flight: its token is held."""


def idle(a: Actor) -> Actor:
    """The same process with nothing in hand."""
    return Actor(a.role, a.host)


def onward(a: Actor, at: str, *, container: int | None = None, found: Container = NO_CONTAINER) -> Actor:
    """The same spawn, one step further."""
    number = a.container if container is None else container
    return Actor(a.role, a.host, at, a.token, a.generation, a.db, number, found)


def look(m: Moves, index: int, a: Actor) -> None:
    """Inspect who holds the name, after the 409."""
    s, rules = m.state, m.rules
    holder = s.engines[a.host]
    if not holder.number:
        m.add("acquirer: the name is free", acted(s, index, onward(a, "create")))
        return
    adopted = holder.token == a.token
    adopted |= rules.conflict == "any" or (rules.conflict == "generation" and holder.generation == a.generation)
    if adopted:
        after = onward(a, "fence" if rules.fence else "start", container=holder.number)
        m.add("acquirer: the name is held by mine", acted(s, index, after))
    else:
        at = "weigh" if holder.generation else "weigh found"
        m.add("acquirer: the name is held", acted(s, index, onward(a, at, found=holder)))


def weigh(m: Moves, index: int, a: Actor) -> None:
    """Read the database id: was the holder's record lost, or is the holder older?"""
    s, rules = m.state, m.rules
    r, holder = s.redis, a.found
    if rules.evictions == "witnessed" and (unsure(r, a.host) or r.standing[a.host] != SURE):
        return
    before = holder.db != r.db and rules.conflict_minds_db
    evicted = holder.generation <= r.evicted[a.host]
    asking = onward(a, "ask", container=holder.number)
    if not before and holder.generation > a.generation:
        m.add("acquirer: held by a newer one", acted(s, index, idle(a)))
    elif not (before or evicted):
        m.add("acquirer: held by an older one", acted(s, index, asking))
    elif holder.state == "running":
        m.add("acquirer: its record may be lost", acted(s, index, onward(a, "register", found=holder)))
        if not before and rules.evictions == "heard":
            m.add("acquirer: held by an older one, for all it heard", acted(s, index, asking))
    else:
        after = asking if is_old(s, holder) else onward(a, "create")
        m.add("acquirer: held by one that does not run", acted(s, index, after))


def ask(m: Moves, index: int, a: Actor) -> None:
    """`renew`, right before the removal: a failover may have given the session back to the holder's spawn."""
    s = m.state
    answer, redis = renew(m.rules, s.redis, a.host, a.token, a.db)
    after = onward(a, "clear") if answer == "OK" else idle(a)
    m.add(f"acquirer: renew {answer}", acted(s, index, after, redis=redis))


def is_old(s: State, container: Container) -> bool:
    """Whether a container is older than a spawn may take: nobody who could still start it is under way."""
    return not any(a.token == container.token and a.at in SPAWNING for a in s.actors)


def removing(m: Moves, index: int, a: Actor, done: Actor, words: str) -> None:
    """Remove a container by its ID; when that is abandoned, the caller is told so and goes away."""
    s = m.state
    engines, spare = removed(s.engines, a.host, a.container), unspared(s, a.container)
    client = s.client if engines is s.engines else bereft(s.client, a.container)
    m.add(f"acquirer: {words}", acted(s, index, done, engines=engines, client=client, spare=spare))
    if m.has(ABANDON) and (engines is not s.engines or spare is not s.spare):
        pending = abandoned(s, Request("remove", a.host, Container(a.container)))
        after = acted(s, index, idle(a), pending=pending, left=m.spent(ABANDON))
        m.add(f"acquirer: {words}, abandoned", after, FAULT)


def clear(m: Moves, index: int, a: Actor) -> None:
    """Remove the container that holds the name, by its ID."""
    removing(m, index, a, onward(a, "create", container=0), "removes what holds the name")


def registering(m: Moves, index: int, a: Actor) -> None:
    """Give the running container from before a loss its record, in place of this spawn's."""
    s = m.state
    answer, redis = register(m.rules, s.redis, a.host, a.found, a.token)
    if answer == "OK":
        served = Actor(a.role, a.host, "inspect", 0, a.found.generation, 0, a.found.number)
        m.add("acquirer: register OK", acted(s, index, served, redis=redis))
    elif answer == "REFUSED":
        m.add("acquirer: register REFUSED", acted(s, index, idle(a)))


STEPS = {"look": look, "weigh": weigh, "ask": ask, "clear": clear, "register": registering}
ON_ENGINE = frozenset(("look", "clear"))
