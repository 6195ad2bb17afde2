"""Each Lua script as a pure transition of Redis: what it answers, and what Redis holds then.

What this is: the scripts of `reactor/registry/lua/`, under their names. What it is not: who calls them, and when. The
invariant: a script changes nothing but the `Redis` that it returns, and that one only where the real one writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultlab.model.state import DOUBT, NO_RECORD, SURE, Record, Redis, put

if TYPE_CHECKING:
    from faultlab.model.rules import Rules
    from faultlab.model.state import Container

Answer = tuple[str, Redis]


def unsure(r: Redis, host: int) -> bool:
    """Whether what the host last saw does not fit what Redis is; the run id is checked by the connection."""
    return not r.db or r.seen[host] != r.db


def _with(r: Redis, record: Record, key: int, host: int, *, due: bool) -> Redis:
    return Redis(record, key, put(r.due, host, due), r.db, r.seen, r.standing, r.quarantine, r.evicted, r.entry)


def _returned(r: Redis) -> Redis:
    """The session's container is gone: what the index said of it goes with it."""
    used = r.entry[0] == "taken" and r.record.container
    return r._replace(entry=("", 0)) if used else r


def _due(r: Redis, host: int, *, due: bool) -> Redis:
    return r if r.due[host] == due else _with(r, r.record, r.key, host, due=due)


# ------------------------------------------------------------------ the way in


def reserve(rules: Rules, r: Redis, host: int, token: int, clock: int) -> Answer:  # noqa: PLR0911 (a word each)
    """UNSURE, LIVE, WAIT, TEAR DOWN (ours, and nobody holds it), SPAWN, or SPAWN AGAIN (the reply was lost)."""
    record = r.record
    mine = record.host == host
    if unsure(r, host):
        return "UNSURE", r
    if record.state == "running":
        if record.end_requested:
            return ("TEAR DOWN", _due(r, host, due=True)) if mine else ("WAIT", r)
        alive = _with(r, record, r.key or record.generation, host, due=r.due[host] or mine)
        return "LIVE", alive
    if record.state == "starting":
        if record.token == token:
            return "SPAWN AGAIN", r
        left = bool(r.key) if rules.lock == "key" else record.lease
        if left or (rules.own_starts and not mine):
            return "WAIT", r
        if record.container:
            return "TEAR DOWN", r
    elif record.state == "ending":
        return ("TEAR DOWN" if mine and not record.lease else "WAIT"), r
    if not rules.reserve_over_key and r.key:
        return "WAIT", r
    generation = clock if rules.generation == "clock" else record.generation + 1
    fresh = Record("starting", generation, token, host, lease=True)
    return "SPAWN", _with(r, fresh, -generation if rules.lock == "key" else 0, host, due=True)


def renew(rules: Rules, r: Redis, host: int, token: int, db: int) -> Answer:
    """OK, SUPERSEDED or DATA LOST."""
    record = r.record
    if record.state == "starting" and record.token == token and record.host == host:
        key = (r.key or -record.generation) if rules.lock == "key" else r.key
        return "OK", _with(r, record._replace(lease=True), key, host, due=True)
    return _lost(r, db), r


def commit(  # noqa: PLR0913 (as the script has them)
    rules: Rules, r: Redis, host: int, token: int, container: Container, db: int, *, taken: bool = False
) -> Answer:
    """OK, OK AGAIN, SUPERSEDED or DATA LOST; `taken`: the container came from the pool."""
    record = r.record
    # A member of the pool may have been found by its name and registered meanwhile, under another spawn.
    if record.state == "running" and record.container == container.number and (record.token == token or taken):
        return "OK AGAIN", r
    mine = record.state == "starting" and record.token == token and record.host == host
    if rules.commit_named and (record.container or taken) and record.container != container.number:
        mine = False
    if not rules.commit_token and record.state != "none":
        mine, record = True, record._replace(generation=container.generation, token=token, host=host, claim=0)
    if not mine:
        return _lost(r, db), r
    running = record._replace(state="running", container=container.number, lease=False)
    return "OK", _with(r, running, running.generation, host, due=True)


def abort(r: Redis, host: int, token: int, *, error: bool) -> Answer:
    """OK or LOST; without an error the record goes."""
    record = r.record
    if record.state != "starting" or record.token != token:
        return "LOST", r
    left = record._replace(state="ended", lease=False) if error else NO_RECORD
    return "OK", _with(_returned(r), left, r.key, host, due=False)


def register(rules: Rules, r: Redis, host: int, found: Container, instead_of: int) -> Answer:
    """UNSURE, OK or REFUSED. `instead_of` 0: no live record may stand."""
    record = r.record
    if unsure(r, host):
        return "UNSURE", r
    if record.state == "running" and record.token == found.token and record.container == found.number:
        return "OK", r
    if instead_of:
        free = record.state == "starting" and record.token == instead_of and record.host == host
    else:
        free = record.state == "none" or (
            record.state == "ended"
            and (record.token != found.token or (not record.container and rules.adopt_uncommitted))
        )
    if not free or (r.db == found.db and found.generation > r.evicted[host]):
        return "REFUSED", r
    running = Record("running", found.generation, found.token, host, found.number)
    return "OK", _with(r, running, found.generation, host, due=True)


def _lost(r: Redis, db: int) -> str:
    return "SUPERSEDED" if r.record.state != "none" and r.db == db else "DATA LOST"


# ------------------------------------------------------------------ the way out


def examine(  # noqa: C901, PLR0911, PLR0912, PLR0913 (the script is one table too)
    rules: Rules, r: Redis, host: int, token: int, *, end: bool = False, expected: int = 0, generation: int = 0
) -> Answer:
    """UNSURE, GONE, FOREIGN, LIVE, BUSY, GRACE, OTHER or CLAIMED; `end`: the session ends, whatever its key says."""
    record = r.record
    if unsure(r, host):
        return "UNSURE", r
    if record.state in ("none", "ended"):
        return "GONE", _due(r, host, due=False)
    if record.host != host and rules.own_records:
        return "FOREIGN", _due(r, host, due=False)

    if generation and generation != record.generation and rules.end_names_generation:
        return "OTHER", r

    def claimed() -> Answer:
        taken = record._replace(
            state="ending", claim=token, lease=True, start=record.start or record.state == "starting"
        )
        return "CLAIMED", _with(r, taken, 0 if rules.claim_deletes_key else r.key, host, due=True)

    if record.state == "ending":
        if record.claim == token:
            return "CLAIMED", r
        if record.lease or not rules.takeover:
            return "BUSY", _due(r, host, due=True)
        return "CLAIMED", _with(r, record._replace(claim=token, lease=True), r.key, host, due=True)
    if record.end_requested and not end:
        return claimed()
    if record.state == "starting":
        if end and not expected:
            return claimed()
        left = bool(r.key) if rules.lock == "key" else record.lease
        return ("BUSY", _due(r, host, due=True)) if left else claimed()
    if end:
        other = expected and expected != record.container and rules.end_names_container
        return ("OTHER", r) if other else claimed()
    if r.key:
        return "LIVE", _due(r, host, due=True)
    if r.quarantine[host] and r.quarantine[host] != record.graced and rules.grace:
        return "GRACE", _with(r, record._replace(graced=r.quarantine[host]), record.generation, host, due=True)
    return ("UNSURE", r) if r.standing[host] != SURE else claimed()


def extend(r: Redis, token: int) -> Answer:
    """OK or LOST."""
    record = r.record
    if record.state != "ending" or record.claim != token:
        return "LOST", r
    return "OK", _with(r, record._replace(lease=True), r.key, record.host, due=True)


def finish(rules: Rules, r: Redis, host: int, token: int) -> Answer:
    """ENDED or LOST."""
    record = r.record
    if record.claim == token and record.state == "ended":
        return "ENDED", r
    mine = record.claim == token and record.state != "none"
    if not mine and (rules.finish_token or record.state in ("none", "ended")):
        return "LOST", r
    over = record._replace(state="ended", lease=False, end_requested=False, graced=0, start=False)
    return "ENDED", _with(_returned(r), over, 0, host, due=rules.leave_index == "blind" and r.due[host])


def adopt_orphan(r: Redis, host: int, token: int, found: Container) -> Answer:
    """UNSURE, CLAIMED or REFUSED."""
    record = r.record
    if unsure(r, host) or r.standing[host] != SURE:
        return "UNSURE", r
    if record.state == "ending" and record.claim == token:
        return "CLAIMED", r
    evicted = found.state == "running" and found.generation <= r.evicted[host]
    if record.state != "none" or r.db != found.db or evicted:
        return "REFUSED", r
    ending = Record("ending", found.generation, found.token, host, found.number, token, lease=True, start=True)
    return "CLAIMED", _with(r, ending, 0, host, due=True)


def request_end(rules: Rules, r: Redis, host: int, generation: int) -> Answer:
    """OK, GONE or MOVED; `host` is whose session it is thought to be."""
    record = r.record
    if record.state in ("none", "ended"):
        return "GONE", r
    if record.host != host or (generation != record.generation and rules.end_names_generation):
        return "MOVED", r
    if record.state == "ending":
        return "OK", r
    return "OK", _with(r, record._replace(end_requested=True), r.key, host, due=True)


# ------------------------------------------------------------------ the host and its evidence


def witness(rules: Rules, r: Redis, host: int, fresh_db: int, clock: int) -> Redis:
    """Write down what Redis is now; what it was decides about a quarantine and a new database id."""
    evicted = put(r.evicted, host, clock) if r.standing[host] == DOUBT else r.evicted
    db, doubt = r.db or fresh_db, True
    if not r.seen[host]:
        doubt = r.due[host]
    elif r.standing[host] == "other run" and db == r.seen[host] and rules.rewind_new_db:
        db = fresh_db
    record = r.record
    name = r.quarantine[host]
    if doubt:
        name = next(n for n in (1, 2, 3) if n not in (record.graced, r.quarantine[host]))
    seen, standing = put(r.seen, host, db), put(r.standing, host, SURE)
    return Redis(record, r.key, r.due, db, seen, standing, put(r.quarantine, host, name), evicted, r.entry)


def drop_stray(r: Redis) -> Redis:
    """A heartbeat key without a record goes."""
    return r._replace(key=0) if r.record.state == "none" and r.key else r


def index(r: Redis, host: int) -> Redis:
    """A live record that is in no index is looked at, which puts it there."""
    return _due(r, host, due=True)


def forget(rules: Rules, r: Redis, host: int) -> Redis:
    """The host's records end, then what is known of it goes."""
    record, key = r.record, r.key
    if record.host == host and record.state not in ("none", "ended"):
        record = record._replace(state="ended", lease=False, end_requested=False, graced=0)
        key = 0 if rules.forget_deletes_key else key
    return Redis(
        record, key, put(r.due, host, False), r.db, put(r.seen, host, 0),  # noqa: FBT003 (an entry of a tuple)
        put(r.standing, host, SURE), put(r.quarantine, host, 0),
        put(r.evicted, host, 0), r.entry if host else ("", 0),
    )  # fmt: skip
