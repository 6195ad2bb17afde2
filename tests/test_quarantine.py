"""What counts as evidence: every combination of what a host saw of Redis and what Redis is now."""

from dataclasses import replace
from itertools import product
from typing import NamedTuple

from reactor.observation import ClockReading, Observation, Seen
from reactor.quarantine import SHORTEST_OUTAGE_MS, conclude, explain
from tests.observations import BOOT, FRESH, NOW_MS, QUIET, READING, WELL, written


class Case(NamedTuple):
    """One row: every dimension of what may be observed."""

    run_id: str
    replid: str
    seen_db: str
    meta_db: str
    clock: str
    evicted: str
    refused: str
    failing: str
    records: bool
    known: str


ROWS = [
    Case(*row)
    for row in product(
        ("nothing", "same", "other"),  # run id last seen
        ("nothing", "same", "other"),  # replication history last seen
        ("", "d1"),
        ("", "d1", "d2"),
        ("nothing", "steady", "forward", "backward", "still", "came back", "another boot"),
        ("nothing", "same", "grew", "reset"),
        ("same", "grew", "grew while watched"),
        ("not", "a moment", "long", "always"),
        (True, False),
        ("", "d0", "d1", "d1, left behind", "d1, a later turn"),  # database id that this process worked with
    )
    # An earlier id only counts where Redis has forgotten, an older state only where it has not.
    if row[9] == "d1" or (row[0] == "nothing") == (row[9] in ("", "d0"))
]
BASES = {
    "nothing": None,
    "steady": WELL.clock,
    "forward": replace(READING, redis_ms=NOW_MS - 15_000, asked_ms=90_000, told_ms=90_002),
    "backward": replace(READING, redis_ms=NOW_MS + 15_000, asked_ms=90_000, told_ms=90_002),
    "still": replace(READING, asked_ms=90_000, told_ms=90_002),
    "came back": WELL.clock,
    "another boot": replace(READING, redis_ms=NOW_MS - 15_000, boot="another"),
}
STRAYED = replace(READING, redis_ms=NOW_MS - 4000, asked_ms=99_000, told_ms=99_002)
COUNTS = {"nothing": (0, None), "same": (7, 7), "grew": (8, 7), "reset": (0, 7)}
KNOWN = {"d1, left behind": "d3", "d1, a later turn": "d1"}
FAILING = {"not": None, "a moment": SHORTEST_OUTAGE_MS - 1, "long": 300_000, "always": 10**15}


def observed(case: Case) -> Observation:
    """Return a row as an observation."""
    evicted, seen_evicted = COUNTS[case.evicted]
    well_at = NOW_MS - 2000 if case.refused == "grew while watched" or case.failing == "a moment" else NOW_MS - 400_000
    return Observation(
        run_id="run-now", replid="replid-now", evicted=evicted, refused=0 if case.refused == "same" else 3,
        meta_db=case.meta_db, has_records=case.records, clock=READING,
        failing_ms=FAILING[case.failing],
        known_db=KNOWN.get(case.known, case.known), turn=8 if "later" in case.known else 7,
        left=frozenset({"d1"} if "left" in case.known else ()), strayed=STRAYED if case.clock == "came back" else None,
        seen=Seen(
            run_id={"nothing": "", "same": "run-now", "other": "run-before"}[case.run_id],
            replid={"nothing": "", "same": "replid-now", "other": "replid-before"}[case.replid],
            db=case.seen_db, evicted=seen_evicted, refused=0, turn=7, well_at=well_at, clock=BASES[case.clock],
        ),
    )  # fmt: skip


def came_back(case: Case) -> bool:
    """Whether Redis went back to a state that this process knows to be an old one."""
    return case.meta_db == "d1" and ("left" in case.known or "later" in case.known)


def kind_of(case: Case) -> str:  # noqa: PLR0911 (a table, row by row)
    """Return the kind of quarantine that a row must lead to, told independently: the strongest evidence names it."""
    if case.run_id == "nothing":
        if case.records:
            return "unseen"
        if case.known and case.known != case.meta_db:
            return "db"
        return "evicted" if COUNTS[case.evicted][0] else ""
    if case.run_id == "other":
        return "run"
    if case.replid == "other":
        return "role"
    if case.meta_db != case.seen_db or not case.meta_db or came_back(case):
        return "db"
    if case.clock in ("forward", "backward", "still", "came back"):
        return "clock"
    return "evicted" if case.evicted in ("grew", "reset") else ""


def test_every_combination_of_the_evidence_has_its_quarantine() -> None:
    """The table over all dimensions: any doubt begins one, nothing in doubt begins none."""
    wrong = [case for case in ROWS if conclude(observed(case), FRESH).quarantine.partition(":")[0] != kind_of(case)]

    assert wrong == []
    assert {kind_of(case) for case in ROWS} == {"", "unseen", "run", "role", "db", "clock", "evicted"}


def test_every_combination_of_failures_has_its_outage() -> None:
    """Our own failing commands count, refused ones of others where nobody watched; a moment costs nobody a beat."""
    for case in ROWS:
        found = conclude(observed(case), FRESH)
        unwatched = case.refused == "grew" and case.failing != "a moment"
        gap = unwatched and case.run_id == "same"
        assert bool(found.outage) == (case.failing in ("long", "always") or gap), case
        assert bool(found.outage) == (found.outage_ms >= SHORTEST_OUTAGE_MS), case
        if case.failing == "long" and not gap:
            assert found.outage_ms == min(300_000, NOW_MS - observed(case).seen.well_at), case


def test_a_rewind_replaces_the_database_id_and_nothing_else_does() -> None:
    """Only a changed run id or replication history may have brought older data under the same id."""
    for case in ROWS:
        found = conclude(observed(case), FRESH)
        rewound = case.run_id == "other" or (case.run_id == "same" and case.replid == "other")
        fresh = not case.meta_db or (rewound and case.meta_db == case.seen_db) or came_back(case)
        assert found.db == (FRESH if fresh else case.meta_db), case


def test_what_was_concluded_is_then_no_news() -> None:
    """A second look at an unchanged Redis, by whomever, begins nothing and keeps the database id."""
    for case in ROWS:
        observation = observed(case)
        first = conclude(observation, FRESH)
        again = conclude(written(observation, first), "other")
        assert (again.db, again.quarantine, again.outage) == (first.db, "", ""), case


def test_two_reactors_with_the_same_observation_conclude_the_same() -> None:
    """The name derives from the evidence; only a new database id is each one's own, and one of them is written."""
    for case in ROWS:
        one, other = conclude(observed(case), "from a"), conclude(observed(case), "from b")
        own = one.db == "from a"
        assert (one.outage, one.outage_ms) == (other.outage, other.outage_ms), case
        assert one.quarantine == other.quarantine or (own and one.quarantine == "db:from a"), case


def test_two_hosts_agree_on_one_database_id_after_a_restart() -> None:
    """The first to see it replaces the id; the second takes the first one's, and both are in quarantine."""
    restarted = replace(QUIET, seen=replace(WELL, run_id="run-before"))
    first = conclude(restarted, "from a")
    second = conclude(replace(restarted, meta_db=first.db), "from b")

    assert (first.db, second.db) == ("from a", "from a")
    assert first.quarantine == second.quarantine == "run:run-now"


def test_nothing_in_doubt_writes_nothing_new() -> None:
    """Every field is as it was seen, so nothing is sent to Redis."""
    found = conclude(QUIET, FRESH)

    assert found.fields == {"run_id": "run-now", "replid": "replid-now", "db": "d1", "evicted": "0", "refused": "0"}


def test_what_seen_holds_is_read_as_it_was_written() -> None:
    """Also where a field is missing or was spoiled: it counts as never written."""
    reading = ClockReading.parse(READING.text(), BOOT)

    assert reading == READING
    assert ClockReading.parse("1 2", BOOT) is ClockReading.parse("", BOOT) is ClockReading.parse("a b c", BOOT) is None
    assert Seen.parse({"evicted": "x", "well_at": "", "clock": "1 2 3"}) == Seen()


def test_every_name_of_a_doubt_has_its_words() -> None:
    """Log and doctor say what happened, not only how it is called."""
    names = {conclude(observed(case), FRESH).quarantine for case in ROWS} - {""} | {"outage:1", "mass:1"}

    assert len({explain(name) for name in names}) == 8
    assert explain("something newer") == "the evidence changed"
