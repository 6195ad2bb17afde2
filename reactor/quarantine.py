"""What counts as evidence that a missing heartbeat key proves an end.

What this is: a pure decision over what a host last saw of Redis and what Redis is now. What it is not: input or output
(`registry.evidence` reads and writes). The invariant: when in doubt, a quarantine, whose name derives from the
evidence, so that all reactors of a host agree on it without talking to each other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Redis as it is (`run_id`, `meta_*`, `has_records`) and as the host last saw it (`seen_*`); '' for missing."""

    run_id: str
    meta_db: str
    meta_deployment: str
    seen_run_id: str
    seen_db: str
    has_records: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What to write: the database id from now on, and the quarantine that begins ('' for none)."""

    db: str
    quarantine: str


def conclude(seen: Observation, fresh_db: str) -> Conclusion:
    """Return what the observation means; `fresh_db` is a new database id, used where the present one is void.

    - Redis never held our data: it gets its database id; with records of ours in it all the same (the id was lost
      alone), those are in doubt.
    - Another run id than last seen may mean a restart from older data, which keeps the database id: the first to see it
      replaces the id, so that everything made before counts as "another database".
    - Another database id than last seen: data was lost, or another host witnessed a restart first.
    """
    db = seen.meta_db or fresh_db
    if not seen.seen_run_id:
        doubt = seen.has_records
        return Conclusion(db=db, quarantine=f"unseen:{seen.run_id}" if doubt else "")
    if seen.seen_run_id != seen.run_id:
        if db == seen.seen_db:
            db = fresh_db
        return Conclusion(db=db, quarantine=f"run:{seen.run_id}")
    if seen.seen_db != db:
        return Conclusion(db=db, quarantine=f"db:{db}")
    return Conclusion(db=db, quarantine="")
