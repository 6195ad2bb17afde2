"""Broken protocols: each must be found, with the property that it breaks, or the checker is blind.

What this is: one rule of the product turned off at a time, with the smallest surroundings that show why it is there.
What it is not: modes of the product. `V` numbers are those of the design's traces; `H` variants need a second host.
The last ones are limits that the protocol has and owns up to: they too must be found as long as they are written down.
"""

from __future__ import annotations

from faultlab.model.configurations import BOUNDS, ONE, TWO, WARM, Configuration, Hosts
from faultlab.model.invariants import LIVENESS
from faultlab.model.moves import Bounds
from faultlab.model.rules import Rules


def _variant(
    name: str,
    expects: str,
    rules: Rules,
    *faults: str,
    hosts: Hosts = ONE,
    bounds: Bounds = BOUNDS,
    slow: bool = False,
) -> Configuration:
    live = expects in LIVENESS
    return Configuration(
        name=name,
        hosts=hosts,
        faults=faults,
        rules=rules,
        checks=() if live else (expects,),
        goals=(expects,) if live else (),
        bounds=bounds,
        expects=expects,
        quick=not slow,
    )


VARIANTS = (
    _variant("V1 the heartbeat key is the lock", "S8", Rules(lock="key")),
    _variant("V2 a client keeps a dead spawner's lock", "L3", Rules(lock="key"), "crash"),
    _variant(
        "V2b reserve waits for a key without a record", "L3",
        Rules(reserve_over_key=False, drop_strays=False, orphans="never"), "record evicted",
    ),
    _variant("V3 no fence between create and start", "S5", Rules(fence=False), "lease over"),
    _variant("V4 adopt whatever holds the name", "S1", Rules(conflict="any"), "lease over"),
    _variant(
        "V5 adopt by generation, counted from 1", "S1", Rules(conflict="generation", generation="count"),
        "lease over", "tombstone over",
    ),
    _variant("V6 finish without the token", "S1", Rules(finish_token=False), "lease over"),
    _variant("V7 a claim leaves the heartbeat key", "S6", Rules(claim_deletes_key=False), "terminate"),
    _variant("V8 an end that names no container", "S1", Rules(end_names_container=False), "exit"),
    _variant("V9 a lost commit always removes", "S1L", Rules(undo="always"), "flush", "lost reply"),
    _variant("V10 the index is left in a later step", "S9", Rules(leave_index="blind")),
    _variant("V10 and nobody scans the records", "L1", Rules(leave_index="blind", scan_records=False)),
    _variant("V11 a renewal that does not ask", "S1", Rules(renewal="blind")),
    _variant("V12 a waiter hands out what it reads", "S7", Rules(waiter="record")),
    _variant("V12b handed out without a look", "S7", Rules(inspect=False), "exit"),
    _variant("V13 generations are counted", "S2", Rules(generation="count"), "tombstone over"),
    _variant("V14 records first, then the engine", "S1", Rules(orphans="record first")),
    _variant("V14b the database id is read first", "S1L", Rules(db_read="first"), "flush"),
    _variant("V14b the database id is ignored", "S1L", Rules(db_read="never"), "flush"),
    _variant("V14c a 409 is settled by the generation alone", "S1L", Rules(conflict_minds_db=False), "flush"),
    _variant("V15 the engine first, then the records", "S1", Rules(lost="engine first")),
    _variant(
        "V16 the claim is not asked for again", "S1F", Rules(extend=False), "rewind",
        bounds=BOUNDS._replace(settled=True),
    ),
    _variant("V17 remove by name", "S1", Rules(remove="name"), "lease over"),
    _variant("V17 a start's claim takes newer ones too", "S1", Rules(list_older=False, extend=False), "terminate",
        "lease over"),
    _variant("V17 commit without the token", "S6", Rules(commit_token=False), "lease over"),
    _variant("V17 a claim is never taken over", "L1", Rules(takeover=False), "crash"),
    _variant("V17 nobody looks for orphans", "L1", Rules(orphans="never"), "abandoned request", "crash"),
    _variant(
        "V17 an unknown removal counts as done", "L1", Rules(unknown="done", orphans="never"), "abandoned request"
    ),
    _variant("V17 nobody looks for the lost", "L4", Rules(lost="never"), "exit"),
    _variant("no grace in a quarantine", "S1", Rules(grace=False), "heartbeat evicted"),
    _variant("evictions that a process has not heard of", "S1L", Rules(evictions="heard"), "record evicted"),
    _variant("a rewind keeps the database id", "S1L", Rules(rewind_new_db=False), "rewind"),
    _variant("a changed run id stops nobody", "S1L", Rules(witness_first=False), "rewind"),
    _variant("what was not running is not looked at again", "S1L", Rules(look_last=False), "flush"),
    _variant("a lost commit is taken for an end", "S1L", Rules(adopt_uncommitted=False), "rewind"),
    _variant(
        "a terminate that means no generation", "S1", Rules(end_names_generation=False), "terminate", hosts=TWO
    ),
    _variant("H1 reserve takes over another host's start", "S2", Rules(own_starts=False), "lease over", hosts=TWO),
    _variant("H2 examine claims another host's record", "S2", Rules(own_records=False), hosts=TWO),
    _variant(
        "H3 another host's container is looked for here", "S1", Rules(own_records=False, own_lost=False), hosts=TWO
    ),
    _variant(
        "H4 forget-host leaves the heartbeat key", "S8", Rules(forget_deletes_key=False), "forget host", hosts=TWO
    ),
    # With a pool.
    _variant(
        "P1 renamed before the record names it", "S1", Rules(names_first=False, commit_named=False), bounds=WARM
    ),
    _variant("P2 taken without the token", "S1", Rules(take="blind"), "lease over", bounds=WARM),
    _variant(
        "P3 committed by a record that does not name it", "S1F", Rules(commit_named=False), "rewind",
        bounds=WARM._replace(settled=True),
    ),
    _variant(
        "P4 adopted by its name alone", "S1F", Rules(found="name"), "flush", bounds=WARM._replace(settled=True)
    ),
    _variant("P5 doomed whatever became of it", "S1", Rules(mark="blind"), "outdated", bounds=WARM),
    _variant("P6 judged by the name that it bore first", "S1L", Rules(member_last=False), "flush", bounds=WARM),
    _variant("P7 the claim of a start removes it", "S1L", Rules(spare_uncommitted=False), "rewind", bounds=WARM),
    _variant(
        "P8 taken from another database's list", "S2", Rules(take_minds_db=False), "rewind",
        bounds=WARM._replace(lag=2),
    ),
    # What the protocol does not promise, and why it cannot.
    _variant("limit: a flush while a removal is on its way", "S1F", Rules(), "flush"),
    _variant("limit: a rewind while a removal is on its way", "S1F", Rules(), "rewind"),
    _variant("limit: a superseded spawn whose record was evicted", "S1F", Rules(), "record evicted"),
    _variant(
        "limit: two hosts, a verdict older than a session", "S1F", Rules(), "flush", hosts=TWO,
        bounds=BOUNDS._replace(settled=True), slow=True,
    ),
)  # fmt: skip
