"""The choices of the protocol, as they have to be made; a broken variant is one of them made otherwise.

What this is: names for decisions. What it is not: a list of supported modes: every other value is there to be found
broken. The invariant: `Rules()` is the protocol that holds; where the product differs, the README says so.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Each field's default is what keeps the invariants; the comment names the variant that does it otherwise."""

    # the lock and the generation
    lock: str = "record"  # "key": the heartbeat key is the spawn lock (V1, V2)
    reserve_over_key: bool = True  # False: a key without a record makes reserve wait, as SET NX would (V2b)
    generation: str = "clock"  # "count": one more than the record's, from 1 where there is none (V13)
    # the spawn
    fence: bool = True  # False: nothing stands between create and start (V3)
    conflict: str = "token"  # "any", "generation": adopt what holds the name (V4, V5)
    conflict_minds_db: bool = True  # False: an older container is removed, whatever database made it (V14c)
    commit_token: bool = True  # False: whatever stands there is overwritten (V17)
    undo: str = "superseded"  # "always": a lost commit removes its container even after a data loss (V9)
    inspect: bool = True  # False: LIVE and commit are handed out as they are (V12)
    waiter: str = "reserve"  # "record": a waiter hands out what it reads in the record (V12)
    renewal: str = "token"  # "blind": a late renewal gives the heartbeat key a lease's TTL (V11)
    # the pool
    take: str = "token"  # "blind": taken for whatever record stands there
    take_minds_db: bool = True  # False: one that another database lists is taken
    names_first: bool = True  # False: the record names the member at the commit, after the rename
    commit_named: bool = True  # False: a commit does not ask whether the record names the member
    spare_uncommitted: bool = True  # False: the claim of a start removes the member that it names, whoever made it
    found: str = "entry"  # "name": whatever member holds the name is registered
    member_last: bool = True  # False: the janitor acts on the name that a member bore at its first look
    mark: str = "compare"  # "blind": a member is doomed whatever became of its entry since it was read
    # the end
    claim_deletes_key: bool = True  # V7
    end_names_container: bool = True  # V8
    evictions: str = "witnessed"  # "heard": a container is judged by the evictions that this process has heard of
    extend: bool = True  # False: the claim is not asked for before the engine call (V16)
    remove: str = "id"  # "name" (V17)
    list_older: bool = True  # False: a claim of a start takes every container of the session (V17)
    unknown: str = "repeat"  # "done": a removal of unknown outcome counts as done (V17)
    end_names_generation: bool = True  # False: a terminate that knows no container ends whatever spawn is there by then
    finish_token: bool = True  # V6
    takeover: bool = True  # False: a claim whose lease is over is never taken over (V17)
    leave_index: str = "atomic"  # "blind": the due entry goes in a later step, whatever it is then about (V10)
    # the janitor
    orphans: str = "engine first"  # "record first" (V14), "never" (V17)
    db_read: str = "last"  # "first", "never": the database id is read before the record, or ignored (V14b)
    adopt_uncommitted: bool = True  # False: a session whose commit a failover lost is taken for one that ended
    look_last: bool = True  # False: the janitor acts on its first look at a container, however long ago that was
    lost: str = "record first"  # "engine first" (V15), "never" (V17)
    scan_records: bool = True  # False: only what is in the index is looked at (V10)
    drop_strays: bool = True
    # the evidence
    grace: bool = True  # False: a missing key proves an end, quarantine or not
    rewind_new_db: bool = True  # False: a changed run id keeps the database id
    witness_first: bool = True  # False: a changed run id stops no command
    # hosts
    own_records: bool = True  # False: examine claims another host's record too
    own_starts: bool = True  # False: a lapsed start of another host is taken over by reserve
    own_lost: bool = True  # False: another host's container is looked for on this engine
    forget_deletes_key: bool = True
