"""What happens by itself: time, the client, and the faults, each within its budget.

What this is: every move that no process of ours makes. What it is not: lost replies, abandoned requests, terminates and
cancels, which happen at the step that they hit. The invariant: time passes for the data that a failover would bring
back as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultlab.model.conflict import SPAWNING, idle
from faultlab.model.engine import bereft, running
from faultlab.model.moves import (
    CRASH,
    DELETE,
    EVICT,
    EVICT_KEY,
    EXIT,
    FLUSH,
    FORGET,
    LEASE,
    REWIND,
    TOMBSTONE,
    Moves,
)
from faultlab.model.scripts import forget
from faultlab.model.state import (
    BEAT,
    DOUBT,
    FAULT,
    IDLE,
    NO_CLIENT,
    NO_CONTAINER,
    NO_RECORD,
    OTHER_RUN,
    SILENCE,
    STEP,
    SURE,
    TIME,
    Client,
    Record,
    Redis,
    State,
    acted,
    put,
)
from faultlab.model.teardown import CLAIMING

if TYPE_CHECKING:
    from collections.abc import Callable


REMOVALS = frozenset(("remove", "remove it", "clear", "undo", "own", "remove member"))
"""The steps that remove a container without asking Redis once more."""


def client_moves(m: Moves) -> None:
    """EXPIRE by the client, and its DEL."""
    s = m.state
    client, key = s.client, s.redis.key
    if not client.container:
        return
    if not key:
        told = client if client.alive == 2 else NO_CLIENT
        if told is not client:
            m.add("client: EXPIRE answers 0", s._replace(client=told), BEAT)
        return
    if abs(key) == client.generation:  # another generation's key says nothing of this client's container
        client = Client(client.generation, client.container, 1)
    touched = s._replace(redis=s.redis._replace(key=abs(key)), client=client)
    m.add("client: EXPIRE answers 1", touched, BEAT)
    if m.has(DELETE):
        after = s._replace(redis=s.redis._replace(key=0), client=NO_CLIENT, left=m.spent(DELETE))
        m.add("client: DEL", after, FAULT)


def _both(s: State, change: Callable[[Redis], Redis]) -> State:
    """Let time pass in Redis, and in what a failover would bring back."""
    replica = s.replica
    return s._replace(redis=change(s.redis), replica=replica if replica is None else change(replica))


def time_moves(m: Moves) -> None:
    """TTLs and leases end, and quarantines."""
    s = m.state
    key, record = s.redis.key, s.redis.record
    if key:
        over = _both(s, lambda r: r._replace(key=0) if r.key == key else r)
        if key > 0:
            silent = Client(s.client.generation, s.client.container) if s.client.alive else s.client
            m.add("time: the heartbeat's TTL is over", over._replace(client=silent), SILENCE)
        else:
            _lease_end(m, over, held=m.rules.lock == "key" and _spawner(s, record))
    if record.lease and record.state in ("starting", "ending") and not (record.state == "starting" and key):
        over = _both(s, lambda r: _lapsed(r, record))
        holder = _spawner(s, record) if record.state == "starting" else _claimant(s, record)
        _lease_end(m, over, held=holder)
    stray = key and record.state == "none"  # dropped in the janitor's run that notes the loss
    if s.redis.entry[0] == "lost" and not stray:
        over = _both(s, lambda r: r._replace(entry=("lost over", 0)) if r.entry[0] == "lost" else r)
        silent = s.client if s.redis.key else Client(s.client.generation, s.client.container)
        m.add("time: nobody acquired the lost member within its TTL", over._replace(client=silent), SILENCE)
    for host, quarantine in enumerate(s.redis.quarantine):
        if quarantine:
            over = _both(s, lambda r, h=host, q=quarantine: _calm(r, h, q))
            silent = s.client if s.redis.key else Client(s.client.generation, s.client.container)
            m.add("time: a quarantine is over", over._replace(client=silent), SILENCE)


def _lease_end(m: Moves, over: State, *, held: bool) -> None:
    if not held:
        m.add("time: a lease is over", over, TIME)
    elif m.has(LEASE):
        m.add("a lease is over while its holder pauses", over._replace(left=m.spent(LEASE)), FAULT)


def _spawner(s: State, record: Record) -> bool:
    return any(a.token == record.token and a.at in SPAWNING for a in s.actors)


def _claimant(s: State, record: Record) -> bool:
    return any(a.token == record.claim and a.at in CLAIMING for a in s.actors)


def _lapsed(r: Redis, record: Record) -> Redis:
    same = (r.record.state, r.record.token, r.record.claim) == (record.state, record.token, record.claim)
    return r._replace(record=r.record._replace(lease=False)) if same else r


def _calm(r: Redis, host: int, quarantine: int) -> Redis:
    return r._replace(quarantine=put(r.quarantine, host, 0)) if r.quarantine[host] == quarantine else r


def faults(m: Moves) -> None:
    """Every fault that may happen now."""
    s = m.state
    if m.has(CRASH):
        for index, actor in enumerate(s.actors):
            if actor.at != IDLE and (not index or s.actors[index - 1] != actor):
                after = acted(s, index, idle(actor), left=m.spent(CRASH))
                m.add(f"{actor.role} on {actor.host} crashes at {actor.at}", after, FAULT)
    if m.has(EXIT):
        _exits(m)
    if m.has(TOMBSTONE) and s.redis.record.state == "ended":
        m.add(
            "the tombstone is over",
            s._replace(redis=s.redis._replace(record=NO_RECORD), left=m.spent(TOMBSTONE)),
            FAULT,
        )
    _redis_faults(m)
    if m.has(FORGET):
        for host in range(len(s.engines)):
            after = s._replace(
                redis=forget(m.rules, s.redis, host),
                client=Client(s.client.generation, s.client.container) if s.redis.record.host == host else s.client,
                ghost=s.ghost._replace(forgot=True),
                left=m.spent(FORGET),
            )
            m.add(f"an operator forgets host {host}", after, FAULT)


def _exits(m: Moves) -> None:
    s = m.state
    for host, container in enumerate(s.engines):
        if container.state != "running":
            continue
        for left in (container._replace(state="exited"), NO_CONTAINER):
            words = "exits by itself" if left.number else "is removed by hand"
            after = s._replace(
                engines=put(s.engines, host, left), client=bereft(s.client, container.number), left=m.spent(EXIT)
            )
            m.add(f"a container {words}", after, FAULT)
    if s.spare.state == "running":
        for left in (s.spare._replace(state="exited"), NO_CONTAINER):
            m.add("the pool's member exits or is removed by hand", s._replace(spare=left, left=m.spent(EXIT)), FAULT)


def _redis_faults(m: Moves) -> None:
    s = m.state
    r = s.redis
    if m.has(EVICT_KEY) and r.key > 0:
        m.add("the heartbeat is evicted", s._replace(redis=_doubted(r)._replace(key=0), left=m.spent(EVICT_KEY)), FAULT)
    if m.bounds.settled and _removing(m):
        return
    if m.has(EVICT) and r.record.state != "none":
        doubted = _doubted(r)._replace(record=NO_RECORD)
        m.add("the record is evicted", _loss(s)._replace(redis=doubted, left=m.spent(EVICT)), FAULT)
    if m.has(FLUSH):
        none = (0,) * len(r.seen)
        empty = Redis(NO_RECORD, 0, (False,) * len(none), 0, none, (SURE,) * len(none), none, none)
        m.add("FLUSHALL", _loss(s)._replace(redis=empty, left=m.spent(FLUSH)), FAULT)
    if m.has(REWIND):
        m.add("a replica falls behind", s._replace(replica=r, lag=0, left=m.spent(REWIND)), FAULT)
    if s.replica is not None:
        standing = OTHER_RUN if m.rules.witness_first else SURE
        seen = tuple(standing if known else SURE for known in s.replica.seen)
        after = _loss(s)._replace(redis=s.replica._replace(standing=seen), replica=None, lag=0)
        m.add("failover: what the replica missed is lost", after, FAULT)
        m.add("the replica catches up", s._replace(replica=None, lag=0), STEP)


def _doubted(r: Redis) -> Redis:
    return r._replace(standing=tuple(DOUBT if standing == SURE else standing for standing in r.standing))


def _removing(m: Moves) -> bool:
    s = m.state
    sent = REMOVALS if m.rules.extend else REMOVALS - {"remove"}
    return any(a.at in sent for a in s.actors) or any(request.verb == "remove" for request in s.pending)


def _loss(s: State) -> State:
    """Note that acknowledged writes are gone; a client that was alive is owed its container."""
    client, record = s.client, s.redis.record
    runs = any(running(s, host, client.container) for host in range(len(s.engines)))
    owed = client.alive == 1 and runs and record.state == "running" and record.container == client.container
    ghost = s.ghost._replace(claimed=0, committed=0, lost=True)
    return s._replace(client=Client(client.generation, client.container, 2 if owed else 0), ghost=ghost)
