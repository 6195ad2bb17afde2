"""The pool: a started container without a session is taken, named by the record, renamed, committed; and its upkeep.

What this is: `take`, `mark` and the registration of a found member as pure transitions, the way in through the pool,
and the janitor's judgement of a member. What it is not: how members are made; a pool here has one, on host 0, from the
beginning. The invariant: the record names the member in the very step that takes it from the index, before its rename;
so what no entry lists and no record names, nobody can commit any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultlab.model.conflict import idle, onward
from faultlab.model.engine import abandoned, bereft, removed, renamed, unspared
from faultlab.model.moves import ABANDON, LOST_REPLY, OUTDATED, Moves
from faultlab.model.scripts import unsure
from faultlab.model.state import FAULT, MEMBER, NO_CONTAINER, SURE, Actor, Container, Redis, Request, acted

if TYPE_CHECKING:
    from faultlab.model.rules import Rules

NOTHING = ("", 0)
DOOMED = ("doomed", 0)
LOST = ("lost", 0)
_LIVE = ("starting", "running", "ending")

# ------------------------------------------------------------------ the scripts


def take(rules: Rules, r: Redis, host: int, token: int) -> tuple[str, Redis]:
    """UNSURE, LOST, NONE, TAKEN or TAKEN AGAIN: the entry goes and the record names the member, in one step."""
    record, (word, db) = r.record, r.entry
    if unsure(r, host):
        return "UNSURE", r
    mine = record.state == "starting" and record.token == token and record.host == host
    if not mine and (rules.take == "token" or record.state == "none"):
        return "LOST", r
    if mine and record.container:
        return "TAKEN AGAIN", r
    if word != "ready" or (db != r.db and rules.take_minds_db):
        return "NONE", r
    if rules.names_first:
        record = record._replace(container=MEMBER)
    return "TAKEN", r._replace(record=record, entry=("taken", record.generation))


def mark(rules: Rules, r: Redis, host: int, expected: tuple[str, int], wanted: tuple[str, int]) -> tuple[str, Redis]:
    """UNSURE, OK or OTHER: compare and set a member's entry."""
    if unsure(r, host):
        return "UNSURE", r
    if r.entry == wanted:
        return "OK", r
    if r.entry != expected and rules.mark == "compare":
        return "OTHER", r
    return "OK", r._replace(entry=wanted)


def registered(rules: Rules, r: Redis, host: int, token: int, found: Container) -> tuple[str, Redis]:
    """UNSURE, OK, DOOMED or REFUSED: the found member becomes this very spawn's container, in one step."""
    record = r.record
    if unsure(r, host):
        return "UNSURE", r
    mine = record.state == "starting" and record.token == token and record.host == host
    by_name = rules.found == "name"
    if not mine or not (by_name or r.db != found.db or r.evicted[host]):
        return "REFUSED", r
    if r.entry == DOOMED and not by_name:
        return "DOOMED", r
    running = record._replace(state="running", container=found.number, lease=False)
    due = tuple(host == at or known for at, known in enumerate(r.due))
    return "OK", r._replace(record=running, key=running.generation, due=due, entry=("taken", running.generation))


# ------------------------------------------------------------------ the way in


def taking(m: Moves, index: int, a: Actor) -> None:
    """`take`; none there, another TTL or template asked for, or a second try after a conflict: create."""
    s = m.state
    m.add("acquirer: passes the pool by", acted(s, index, onward(a, "create")))
    answer, redis = take(m.rules, s.redis, a.host, a.token)
    if answer == "LOST":
        m.add("acquirer: take LOST", acted(s, index, idle(a)))
    elif answer.startswith("TAKEN"):
        m.add(f"acquirer: {answer}", acted(s, index, onward(a, "rename", container=MEMBER), redis=redis))
        if answer == "TAKEN" and m.has(LOST_REPLY):
            m.add("acquirer: TAKEN, reply lost", acted(s, index, a, redis=redis, left=m.spent(LOST_REPLY)), FAULT)


def renaming(m: Moves, index: int, a: Actor) -> None:
    """Give the member the session's name. Taken by another: give up, and create the next time."""
    s = m.state
    holder = s.engines[a.host]
    if holder.number == a.container:
        m.add("acquirer: it has the name already", acted(s, index, onward(a, "commit")))
        return
    if s.spare.number != a.container:
        m.add("acquirer: rename 404", acted(s, index, onward(a, "give up")))
        return
    if holder.number:
        m.add("acquirer: rename 409", acted(s, index, onward(a, "give up")))
    else:
        done = renamed(s, a.host, a.container)
        m.add("acquirer: rename", acted(done, index, onward(a, "commit")))
        if m.has(LOST_REPLY):
            m.add("acquirer: rename, reply lost", done._replace(left=m.spent(LOST_REPLY)), FAULT)
    if m.has(ABANDON):
        pending = abandoned(s, Request("rename", a.host, Container(a.container)))
        m.add("acquirer: rename abandoned", acted(s, index, a, pending=pending, left=m.spent(ABANDON)), FAULT)


def weighing_found(m: Moves, index: int, a: Actor) -> None:
    """A member holds the name: from before a loss, it may be this session's own; else some spawn left it there."""
    s, rules = m.state, m.rules
    r, holder = s.redis, a.found
    if unsure(r, a.host) or r.standing[a.host] != SURE:
        return
    before = holder.db != r.db or bool(r.evicted[a.host]) or rules.found == "name"
    if before and holder.state == "running":
        m.add("acquirer: held by a member from before", acted(s, index, onward(a, "register found", found=holder)))
    else:
        m.add("acquirer: held by a member", acted(s, index, onward(a, "ask", container=holder.number)))


def registering_found(m: Moves, index: int, a: Actor) -> None:
    """Make it this spawn's container; a doomed one goes."""
    s = m.state
    answer, redis = registered(m.rules, s.redis, a.host, a.token, a.found)
    if answer == "OK":
        served = Actor(a.role, a.host, "inspect", 0, a.generation, 0, a.found.number)
        m.add("acquirer: registers the member", acted(s, index, served, redis=redis))
    elif answer == "DOOMED":
        m.add("acquirer: it is doomed", acted(s, index, onward(a, "ask", container=a.found.number)))
    elif answer == "REFUSED":
        m.add("acquirer: register REFUSED", acted(s, index, idle(a)))


# ------------------------------------------------------------------ the janitor


def notice_member(m: Moves, index: int, a: Actor) -> None:
    """An idle reactor of host 0 looks at the member; or finds it outdated, since its template changed."""
    s = m.state
    if not m.bounds.warm or a.host:
        return
    held = s.engines[0] if s.engines[0].number == MEMBER else NO_CONTAINER
    found = s.spare if s.spare.number else held
    if found.number:
        where = "pool" if s.spare.number else "session"
        m.add("janitor: inspects a member", acted(s, index, Actor(a.role, 0, "read entry", found=found, note=where)))
    if m.has(OUTDATED) and s.redis.entry[0] == "ready" and found.number:
        dooming = Actor(a.role, 0, "doom", db=s.redis.entry[1], found=found, note="ready")
        m.add("janitor: reads the entry of an outdated member", acted(s, index, dooming, left=m.spent(OUTDATED)), FAULT)


def reading_entry(m: Moves, index: int, a: Actor) -> None:
    """Read the index after the engine."""
    s = m.state
    word, db = s.redis.entry
    if word == "doomed":
        m.add("janitor: it is doomed", acted(s, index, Actor(a.role, 0, "remove member", found=a.found)))
        return
    after = Actor(a.role, 0, "read holder", db=db, found=a.found, note=f"{a.note}|{word}")
    m.add("janitor: reads its entry", acted(s, index, after))


def reading_holder(m: Moves, index: int, a: Actor) -> None:
    """Read the records after the index: which one names it?"""
    s = m.state
    record = s.redis.record
    named = record.container == a.found.number and record.state in _LIVE
    after = idle(a) if named else a._replace(at="weigh member")
    m.add("janitor: a record names it" if named else "janitor: no record names it", acted(s, index, after))


def weighing(m: Moves, index: int, a: Actor) -> None:
    """Read the database id, and decide."""
    s = m.state
    r, found = s.redis, a.found
    if unsure(r, 0) or r.standing[0] != SURE:
        return
    where, word = a.note.split("|")
    dead = found.state != "running"
    before = found.db != r.db or bool(r.evicted[0])
    act = Actor(a.role, 0, "doom", db=a.db, found=found, note=word)
    if word == "ready" and a.db == r.db:
        after = act if dead else idle(a)
    elif where == "pool" or dead or not before or word == "lost over":
        after = act
    else:
        after = idle(a) if word == "lost" else act._replace(at="note lost")
    if after.at == "doom" and m.rules.member_last:
        after = after._replace(at="look at member again", note=f"{where}|{word}")
    m.add("janitor: decides on the member", acted(s, index, after))


def looking_again(m: Moves, index: int, a: Actor) -> None:
    """Inspect once more: what bore the pool's name at the first look may have been committed and lost since."""
    s = m.state
    where, word = a.note.split("|")
    now = s.spare if where == "pool" else s.engines[0]
    after = a._replace(at="doom", note=word) if now == a.found else idle(a)
    m.add("janitor: looks at the member again", acted(s, index, after))


def _marking(m: Moves, index: int, a: Actor, wanted: tuple[str, int], onto: Actor) -> None:
    s = m.state
    answer, redis = mark(m.rules, s.redis, 0, (a.note, a.db), wanted)
    if answer != "UNSURE":
        after = onto if answer == "OK" else idle(a)
        m.add(f"janitor: marks it {wanted[0] or 'gone'}: {answer}", acted(s, index, after, redis=redis))


def noting_lost(m: Moves, index: int, a: Actor) -> None:
    """It bears a session's name from before a loss: it is kept for its TTL."""
    _marking(m, index, a, LOST, idle(a))


def dooming(m: Moves, index: int, a: Actor) -> None:
    """From now on nobody can take or register it."""
    _marking(m, index, a, DOOMED, Actor(a.role, 0, "remove member", found=a.found))


def removing_member(m: Moves, index: int, a: Actor) -> None:
    """Remove it by its ID; an unknown outcome is asked for again."""
    s = m.state
    number = a.found.number
    engines, spare = removed(s.engines, 0, number), unspared(s, number)
    client = s.client if engines is s.engines else bereft(s.client, number)
    done = Actor(a.role, 0, "drop entry", note=DOOMED[0])
    m.add("janitor: removes the member", acted(s, index, done, engines=engines, spare=spare, client=client))
    if m.has(ABANDON) and (engines is not s.engines or spare is not s.spare):
        pending = abandoned(s, Request("remove", 0, Container(number)))
        m.add(
            "janitor: removal of a member abandoned",
            acted(s, index, a, pending=pending, left=m.spent(ABANDON)),
            FAULT,
        )


def dropping(m: Moves, index: int, a: Actor) -> None:
    """The entry goes after the container."""
    _marking(m, index, a, NOTHING, idle(a))


STEPS = {
    "take": taking,
    "rename": renaming,
    "weigh found": weighing_found,
    "register found": registering_found,
}
MEMBER_STEPS = {
    "read entry": reading_entry,
    "read holder": reading_holder,
    "weigh member": weighing,
    "look at member again": looking_again,
    "note lost": noting_lost,
    "doom": dooming,
    "remove member": removing_member,
    "drop entry": dropping,
}
ON_ENGINE = frozenset(("rename", "look at member again", "remove member"))
