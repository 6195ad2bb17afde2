"""What must hold: safety judged move by move, liveness by what can still be reached.

What this is: the invariants of the protocol over pairs of states, and the three goals. What it is not: the search. The
invariant of this file: it knows nothing of how a state came about but the ghost, which no process of the model reads.

- S1   no container goes while its client was told "alive" within the TTL (until Redis loses writes)
- S1L  after a loss: nor one whose client was alive then, before it was registered again and ran out
- S1F  after a loss: nor one whose client was told "alive" since
- S2   one generation is handed out with one container; at most one runs on all hosts (until Redis loses writes);
       what was handed out once is not taken from the pool
- S5   no container of an older generation is started or handed out after a newer one was committed
- S6   a generation that was claimed never serves again: no record `running`, no EXPIRE that answers 1
- S7   what is handed out runs then, unless others watch its host; and its key was alive
- S8   EXPIRE answers 1 only while the record is `running`
- S9   a session that runs and is alive is in the index of its host
- L1   faults over, clients silent: nothing is left but a tombstone
- L2   faults over: an acquire is served
- L3   the same with a client that goes on touching: it is served, or told 0
- L4   the same where nobody acquires, while the key is the client's own
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultlab.model.engine import running
from faultlab.model.state import ACQUIRE, ACQUIRER, BEAT, FAULT, HANDED, IDLE, READ, SILENCE, STEP, TIME, TRUSTED

if TYPE_CHECKING:
    from faultlab.model.state import Move, State

SAFETY = ("S1", "S1L", "S2", "S5", "S6", "S7", "S8", "S9")
"""Claimed in every configuration; S1F only where it is named."""
LIVENESS = ("L1", "L2", "L3", "L4")
_ALWAYS = frozenset((STEP, TIME, HANDED, READ))
ALLOWED = {
    "L1": _ALWAYS | {SILENCE},
    "L2": _ALWAYS | {SILENCE, ACQUIRE, TRUSTED},
    "L3": _ALWAYS | {BEAT, ACQUIRE, TRUSTED},
    "L4": _ALWAYS | {BEAT},
}
"""Which kinds of moves may lead to the goal."""


def broken(before: State, move: Move) -> str:
    """Return which invariant a move breaks, '' for none."""
    _, kind, after = move
    if kind != FAULT and (found := _moved(before, after)):
        return found
    if kind in (HANDED, READ, TRUSTED) and (found := _handed(before, after, kind)):
        return found
    if kind == BEAT and before.redis.key and (found := _touched(before)):
        return found
    r = after.redis
    if r is not before.redis and r.record.state == "running" and not after.ghost.lost:
        if after.ghost.claimed >> r.record.generation & 1:
            return "S6"
        if r.key and not r.due[r.record.host]:
            return "S9"
    return ""


def _moved(before: State, after: State) -> str:
    if after.engines is not before.engines and (found := _engines(before, after)):
        return found
    now, was = after.redis.record, before.redis.record
    taken = now.state == was.state == "starting" and now.container != was.container
    return "S2" if taken and any(number == now.container for _, number in before.ghost.handed) else ""


def _engines(before: State, after: State) -> str:
    client, lost = before.client, before.ghost.lost
    for host, (old, new) in enumerate(zip(before.engines, after.engines, strict=True)):
        gone = old.state == "running" and new.number != old.number
        meant = (client.generation, before.redis.record.generation)
        if gone and client.container == old.number and client.alive and before.ghost.terminated not in meant:
            if client.alive == 1:
                return "S1F" if lost else "S1"
            record = before.redis.record
            moved = record.state == "running" and record.host != host and record.generation > old.generation
            return "" if moved else "S1L"
        started = new.state == "running" and old.state != "running" and new.generation  # a rename starts nothing
        if started and not lost and not before.ghost.forgot and new.generation < before.ghost.committed:
            return "S5"
    if not lost and not before.ghost.forgot and sum(c.state == "running" for c in after.engines) > 1:
        return "S2"
    return ""


def _handed(before: State, after: State, kind: str) -> str:
    generation, number, alive = after.client
    if any(g == generation and c != number for g, c in after.ghost.handed):
        return "S2"
    if not (before.ghost.lost or before.ghost.forgot) and generation < before.ghost.committed:
        return "S5"
    if before.ghost.lost or kind == TRUSTED:
        return ""
    runs = any(running(before, host, number) for host in range(len(before.engines)))
    return "" if runs and (alive or kind != READ) else "S7"


def _touched(before: State) -> str:
    r = before.redis
    if before.ghost.lost:
        return ""
    if before.ghost.claimed >> abs(r.key) & 1:
        return "S6"
    return "" if r.record.state == "running" else "S8"


# ------------------------------------------------------------------ the goals


def reached(goal: str, s: State) -> bool:
    """Whether a state is one that this liveness property asks for."""
    if goal == "L1":
        return (
            s.redis.record.state in ("none", "ended")
            and not s.redis.key
            and not s.pending
            and not any(c.number for c in s.engines)
            and (not s.spare.number or s.redis.entry == ("ready", s.redis.db))
            and all(a.at == IDLE for a in s.actors if a.role == ACQUIRER)
        )
    record = s.redis.record
    served = (
        record.state == "running"
        and s.redis.key > 0
        and running(s, record.host, record.container)
        and s.client.container == record.container
    )
    return served or (goal != "L2" and not s.client.container)


def asked(goal: str, s: State) -> bool:
    """Whether this liveness property says anything of a state."""
    if goal == "L4" and s.ghost.lost and any(c.number == s.client.container and not c.generation for c in s.engines):
        return False  # nobody knows whose a member of the pool is until its id is acquired
    if goal == "L4":
        return bool(s.client.container) and abs(s.redis.key) in (0, s.client.generation)
    return goal != "L3" or bool(s.client.container)
