"""The reactor: what it notices, and the janitor's repairs.

What this is: the detectors of `reactor/working.py` and `engine_watch.py`, `terminate`, and the flows of
`reactor/reconcile.py` with the judgement of `plan.py`. What it is not: the teardown. The invariant: the janitor looks
at the container, then at its record, then at the database id, and acts in a later step than it looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultlab.model.conflict import idle, is_old
from faultlab.model.engine import abandoned, bereft, removed, running
from faultlab.model.moves import ABANDON, TERMINATE, Moves
from faultlab.model.pool import MEMBER_STEPS, notice_member
from faultlab.model.scripts import adopt_orphan, drop_stray, register, request_end, unsure, witness
from faultlab.model.scripts import index as into_index
from faultlab.model.state import FAULT, SURE, Actor, Container, Record, Request, acted
from faultlab.model.teardown import claimed, examined, fresh_claim

if TYPE_CHECKING:
    from faultlab.model.rules import Rules

LIVE = ("starting", "running", "ending")


def noticing(m: Moves, index: int, a: Actor) -> None:
    """An idle reactor: whatever it may find next."""
    s, rules = m.state, m.rules
    r = s.redis
    record, holder = r.record, s.engines[a.host]
    scanned = rules.scan_records and record.host == a.host and record.state in LIVE
    if r.due[a.host] or scanned:
        examined(m, index, a, "examine")
    if scanned and not r.due[a.host]:
        m.add("janitor: puts the record into the index", acted(s, index, a, redis=into_index(r, a.host)))
    if rules.drop_strays and not holder.generation and drop_stray(r) is not r:
        m.add("janitor: drops a stray key", acted(s, index, a, redis=drop_stray(r)))
    if m.has(TERMINATE) and record.state in LIVE:
        meant = Actor(a.role, a.host, "terminate", 0, record.generation, record.host, record.container)
        ghost = s.ghost._replace(terminated=record.generation)
        m.add("terminate: asked", acted(s, index, meant, ghost=ghost, left=m.spent(TERMINATE)), FAULT)
    notice_member(m, index, a)
    _notice_orphan(m, index, a, holder)
    _notice_lost(m, index, a, holder)


def _notice_orphan(m: Moves, index: int, a: Actor, holder: Container) -> None:
    s, rules = m.state, m.rules
    if rules.orphans == "engine first" and holder.generation:
        db = s.redis.db if rules.db_read == "first" else 0
        m.add("janitor: inspects a container", acted(s, index, Actor(a.role, a.host, "judge", db=db, found=holder)))
    if rules.orphans == "record first" and s.redis.record.state in ("none", "ended"):
        m.add("janitor: reads that there is no session", acted(s, index, Actor(a.role, a.host, "list orphans")))


def _notice_lost(m: Moves, index: int, a: Actor, holder: Container) -> None:
    s, rules = m.state, m.rules
    record = s.redis.record
    mine = record.host == a.host or not rules.own_lost
    if rules.lost == "record first" and record.state == "running" and mine and not running(s, a.host, record.container):
        # Record and inspection in one step: a container once seen dead never runs again, so their order is no matter.
        dead = Actor(a.role, a.host, "end", 0, 0, 0, record.container)
        m.add("reactor: its container does not run", acted(s, index, dead))
    if rules.lost == "engine first" and not holder.number:
        m.add("janitor: lists no container", acted(s, index, Actor(a.role, a.host, "find lost")))


def terminating(m: Moves, index: int, a: Actor) -> None:
    """`terminate`: examine in mode end, with the container that was read; another host's session is asked for."""
    s = m.state
    if examined(m, index, a, "terminate") == "FOREIGN":
        m.found.pop()
        redis = s.redis._replace(due=(*s.redis.due[: a.host], False, *s.redis.due[a.host + 1 :]))
        asking = Actor(a.role, a.host, "request end", 0, a.generation, s.redis.record.host)
        m.add("terminate: FOREIGN", acted(s, index, asking, redis=redis))


def requesting(m: Moves, index: int, a: Actor) -> None:
    """`request_end`: mark the session for the host that owns it."""
    s = m.state
    answer, redis = request_end(m.rules, s.redis, a.db, a.generation)
    m.add(f"terminate: request_end {answer}", acted(s, index, idle(a), redis=redis))


# ------------------------------------------------------------------ the janitor


def judged(rules: Rules, record: Record, found: Container, *, before: bool, old: bool) -> str:  # noqa: PLR0911 (a table, row by row)
    """`judge_container`: keep, adopt, orphan (claim it first) or remove."""
    alive = found.state == "running"
    if record.state == "none":
        if not before:
            return "orphan"
        return ("adopt" if alive else "remove") if old else "keep"
    other = record.token != found.token or (not record.container and rules.adopt_uncommitted)
    if record.generation > found.generation or (record.generation == found.generation and record.state == "ended"):
        if before and alive and other and record.state != "running":
            return "adopt" if record.state == "ended" and old else "keep"
        if before and other and record.state != "running" and not old:
            return "keep"
        return "remove"
    if record.generation == found.generation and record.token == found.token:
        return "remove" if record.state == "running" and record.container != found.number and old else "keep"
    if before and alive:
        return "adopt" if record.state == "ended" and old else "keep"
    return "remove" if record.state in ("running", "ended") and old else "keep"


def judging(m: Moves, index: int, a: Actor) -> None:
    """Read the record; the verdict still hangs on the database id and the age, which are read after it."""
    s = m.state
    choices = [(before, old) for before in (False, True) for old in (False, True)]
    words = [judged(m.rules, s.redis.record, a.found, before=before, old=old) for before, old in choices]
    if set(words) == {"keep"}:
        m.add("janitor: keeps it", acted(s, index, idle(a)))
        return
    after = Actor(a.role, a.host, "verdict", 0, 0, a.db, 0, a.found, " ".join(words))
    m.add("janitor: reads the record", acted(s, index, after))


def verdict(m: Moves, index: int, a: Actor) -> None:
    """Read the database id and the clock, and decide."""
    s, rules = m.state, m.rules
    r, found = s.redis, a.found
    if rules.evictions == "witnessed" and rules.db_read == "last" and (unsure(r, a.host) or r.standing[a.host] != SURE):
        return
    db = {"last": r.db, "first": a.db, "never": found.db}[rules.db_read]
    word = "keep"
    if db:
        words = a.note.split()
        evicted = found.generation <= r.evicted[a.host]
        word = words[2 * (found.db != db or evicted) + is_old(s, found)]
        if word == "remove" and found.db == db and words[0] == "orphan":
            word = "orphan"
    after = idle(a)
    if word != "keep":
        act = {"adopt": "adopt", "orphan": "orphan"}.get(word, "remove it")
        if rules.db_read != "last" and act == "orphan":
            act = "remove it"
        looks = rules.look_last and (found.state != "running" or word == "adopt")
        after = Actor(a.role, a.host, "look again" if looks else act, found=found, note=act if looks else "")
    m.add(f"janitor: verdict {word}", acted(s, index, after))


def looking_again(m: Moves, index: int, a: Actor) -> None:
    """Inspect once more: what did not run may have been started since, and what ran may be gone."""
    s = m.state
    same = s.engines[a.host] == a.found
    after = Actor(a.role, a.host, a.note, found=a.found) if same else idle(a)
    m.add("janitor: looks again", acted(s, index, after))


def adopting(m: Moves, index: int, a: Actor) -> None:
    """`register` without a spawn."""
    s = m.state
    answer, redis = register(m.rules, s.redis, a.host, a.found, 0)
    if answer != "UNSURE":
        m.add(f"janitor: register {answer}", acted(s, index, idle(a), redis=redis))


def claiming_orphan(m: Moves, index: int, a: Actor) -> None:
    """`adopt_orphan`, then the usual teardown."""
    s = m.state
    token = a.token or fresh_claim(s)
    answer, redis = adopt_orphan(s.redis, a.host, token, a.found)
    if answer == "CLAIMED":
        claimed(m, index, a, token, redis=redis, at="orphan")
    elif answer == "REFUSED":
        m.add("janitor: adopt_orphan REFUSED", acted(s, index, idle(a)))


def removing_directly(m: Moves, index: int, a: Actor) -> None:
    """Remove a container that no live record stands for, by its ID."""
    s = m.state
    engines = removed(s.engines, a.host, a.found.number)
    client = s.client if engines is s.engines else bereft(s.client, a.found.number)
    m.add("janitor: removes it", acted(s, index, idle(a), engines=engines, client=client))
    if m.has(ABANDON) and engines is not s.engines:
        pending = abandoned(s, Request("remove", a.host, Container(a.found.number)))
        after = acted(s, index, idle(a), pending=pending, left=m.spent(ABANDON))
        m.add("janitor: remove abandoned", after, FAULT)


def listing_orphans(m: Moves, index: int, a: Actor) -> None:
    """Of a broken variant only: the engine is listed after the records were read."""
    s = m.state
    found = s.engines[a.host]
    after = Actor(a.role, a.host, "remove it", found=found) if found.number else idle(a)
    m.add("janitor: lists the engine", acted(s, index, after))


def finding_lost(m: Moves, index: int, a: Actor) -> None:
    """Of a broken variant only: the record is read after the engine was listed."""
    s = m.state
    record = s.redis.record
    lost = record.state == "running" and record.host == a.host
    after = Actor(a.role, a.host, "end", 0, 0, 0, record.container) if lost else idle(a)
    m.add("janitor: reads the records", acted(s, index, after))


def witnessing(m: Moves) -> None:
    """Any process of a host that doubts what Redis is looks at it, before its next verdict."""
    s = m.state
    r = s.redis
    for host in sorted({a.host for a in s.actors}):
        if r.standing[host] == SURE and r.db and r.seen[host] == r.db:
            continue
        fresh = s.ghost.dbs + 1
        redis = witness(m.rules, r, host, fresh, s.ghost.generations)
        ghost = s.ghost._replace(dbs=fresh) if redis.db == fresh else s.ghost
        m.add(f"host {host}: witnesses what Redis is", s._replace(redis=redis, ghost=ghost))


STEPS = {
    "idle": noticing,
    "terminate": terminating,
    "request end": requesting,
    "judge": judging,
    "verdict": verdict,
    "look again": looking_again,
    "adopt": adopting,
    "orphan": claiming_orphan,
    "remove it": removing_directly,
    "list orphans": listing_orphans,
    "find lost": finding_lost,
    **MEMBER_STEPS,
}
ON_ENGINE = frozenset(("remove it", "look again", "list orphans", "remove member"))
