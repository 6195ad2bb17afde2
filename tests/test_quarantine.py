"""What counts as evidence: every combination of what a host saw of Redis and what Redis is now."""

import pytest

from reactor.quarantine import Conclusion, Observation, conclude

RUN, EARLIER = "r1", "r0"
FRESH = "fresh"

# (run id last seen, database id last seen, database id now) -> (database id from now on, quarantine); '' is missing.
# Where nothing was seen yet, a quarantine begins only if there are records.
EVERY_CASE = {
    ("", "", ""): (FRESH, "unseen:r1"),
    ("", "", "d1"): ("d1", "unseen:r1"),
    ("", "", "d2"): ("d2", "unseen:r1"),
    ("", "d1", ""): (FRESH, "unseen:r1"),
    ("", "d1", "d1"): ("d1", "unseen:r1"),
    ("", "d1", "d2"): ("d2", "unseen:r1"),
    (RUN, "d1", "d1"): ("d1", ""),
    (RUN, "d1", ""): (FRESH, "db:fresh"),
    (RUN, "d1", "d2"): ("d2", "db:d2"),
    (RUN, "", ""): (FRESH, "db:fresh"),
    (RUN, "", "d1"): ("d1", "db:d1"),
    (RUN, "", "d2"): ("d2", "db:d2"),
    (EARLIER, "d1", "d1"): (FRESH, "run:r1"),
    (EARLIER, "d1", ""): (FRESH, "run:r1"),
    (EARLIER, "d1", "d2"): ("d2", "run:r1"),
    (EARLIER, "", ""): (FRESH, "run:r1"),
    (EARLIER, "", "d1"): ("d1", "run:r1"),
    (EARLIER, "", "d2"): ("d2", "run:r1"),
}


@pytest.mark.parametrize("has_records", [True, False], ids=["records", "no records"])
@pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: "seen {}/{} now {}".format(*(c or "-" for c in case)))
def test_every_combination_has_its_conclusion(case: tuple[str, str, str], *, has_records: bool) -> None:
    """The table is complete, and the conclusion depends on nothing else."""
    seen_run_id, seen_db, meta_db = case
    observation = Observation(
        run_id=RUN, meta_db=meta_db, meta_deployment="d", seen_run_id=seen_run_id, seen_db=seen_db,
        has_records=has_records,
    )  # fmt: skip
    db, quarantine = EVERY_CASE[case]
    if not seen_run_id and not has_records:
        quarantine = ""

    assert conclude(observation, FRESH) == Conclusion(db=db, quarantine=quarantine)


@pytest.mark.parametrize("case", [case for case in EVERY_CASE if case[0]], ids=str)
def test_what_was_concluded_is_then_no_news(case: tuple[str, str, str]) -> None:
    """A second look at an unchanged Redis begins no second quarantine and keeps the database id."""
    first = conclude(
        Observation(
            run_id=RUN, meta_db=case[2], meta_deployment="d", seen_run_id=case[0], seen_db=case[1], has_records=True
        ),
        FRESH,
    )
    again = conclude(
        Observation(
            run_id=RUN, meta_db=first.db, meta_deployment="d", seen_run_id=RUN, seen_db=first.db, has_records=True
        ),
        "other",
    )

    assert again == Conclusion(db=first.db, quarantine="")


def test_two_hosts_agree_on_one_database_id_after_a_restart() -> None:
    """The first to see it replaces the id; the second takes the first one's, and both are in quarantine."""
    first = conclude(
        Observation(run_id=RUN, meta_db="d1", meta_deployment="", seen_run_id=EARLIER, seen_db="d1", has_records=True),
        "from a",
    )
    second = conclude(
        Observation(
            run_id=RUN, meta_db=first.db, meta_deployment="", seen_run_id=EARLIER, seen_db="d1", has_records=True
        ),
        "from b",
    )

    assert first == Conclusion(db="from a", quarantine="run:r1")
    assert second == Conclusion(db="from a", quarantine="run:r1")
