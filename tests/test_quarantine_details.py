"""What single kinds of evidence are worth: clocks, failing commands, evictions."""

from dataclasses import replace

import pytest

from reactor.quarantine import GAP_MS, conclude
from tests.observations import FRESH, NOW_MS, QUIET, READING, WELL, written


@pytest.mark.parametrize(
    "moved_ms, passed_ms, wide_ms, doubted",
    [
        (0, 10_000, 0, False), (1900, 10_000, 0, False), (2100, 10_000, 0, True), (-2100, 10_000, 0, True),
        (2100, 10_000, 3000, False),  # a slow answer proves less
        (2010, 60_000, 0, False), (2020, 60_000, 0, True),  # honest clocks drift a little
        (-60_000, 60_000, 0, True),  # stood still for a minute
        (3_600_000, 10_000, 0, True), (-3_600_000, 10_000, 0, True),
    ],
)  # fmt: skip
def test_a_clock_is_doubted_when_it_surely_moved(moved_ms: int, passed_ms: int, wide_ms: int, *, doubted: bool) -> None:
    """More than 2 s and 200 ppm, whatever the time that the answer took."""
    base = replace(READING, redis_ms=NOW_MS - passed_ms - moved_ms, asked_ms=0, told_ms=0)
    now = replace(READING, asked_ms=passed_ms, told_ms=passed_ms + wide_ms)
    found = conclude(replace(QUIET, clock=now, seen=replace(WELL, clock=base)), FRESH)

    assert found.quarantine == ("clock:1" if doubted else "")


def test_small_steps_of_the_clock_add_up() -> None:
    """A reading is compared with for a minute, so a step of 0.5 s every 10 s is found."""
    seen, moved, found = WELL, 0, conclude(QUIET, FRESH)
    for step in range(6):
        moved += 500
        now = replace(READING, redis_ms=NOW_MS + 10_000 * step + moved, asked_ms=100_000 + 10_000 * step,
                      told_ms=100_002 + 10_000 * step)  # fmt: skip
        observation = replace(QUIET, clock=now, seen=seen)
        found = conclude(observation, FRESH)
        if found.quarantine:
            break
        seen = written(observation, found).seen

    assert (found.quarantine, moved) == ("clock:1", 2500)


def test_a_clock_that_stands_still_is_one_finding_and_its_return_another() -> None:
    """It does not begin a quarantine every two seconds; when it jumps to where it should be, all keys may go at once.

    The first finding compares with a time in which the clock still went.
    """
    observation, names = QUIET, []
    for seconds in range(5, 30, 5):
        now = replace(READING, asked_ms=100_000 + seconds * 1000, told_ms=100_002 + seconds * 1000)
        observation = replace(observation, clock=now)
        found = conclude(observation, FRESH)
        names.append(found.quarantine)
        observation = written(observation, found)
    back = replace(observation.clock, redis_ms=NOW_MS + 30_000, asked_ms=130_000, told_ms=130_002)
    names.append(conclude(replace(observation, clock=back), FRESH).quarantine)

    assert names == ["clock:1"] + ["clock:2"] * 4 + ["clock:3"]


def test_a_clock_that_was_far_off_and_came_back_before_anybody_could_look_is_doubted() -> None:
    """The keys that ended by it are gone all the same; found once, whoever else of the host saw it too."""
    off = replace(READING, redis_ms=NOW_MS - 4000, asked_ms=99_000, told_ms=99_002)
    observation = replace(QUIET, strayed=off)
    found = conclude(observation, FRESH)
    other = conclude(replace(written(observation, found), strayed=off), FRESH)
    near = conclude(replace(QUIET, strayed=replace(off, redis_ms=NOW_MS - 1000)), FRESH)
    elsewhere = conclude(replace(QUIET, strayed=replace(off, boot="another")), FRESH)

    assert (found.quarantine, other.quarantine, near.quarantine, elsewhere.quarantine) == ("clock:1", "", "", "")


def test_an_outage_is_counted_from_what_anybody_of_the_host_found_well() -> None:
    """A reactor that is cut off alone does not turn its own trouble into everybody's."""
    cut_off = replace(QUIET, failing_ms=60_000)
    alone = conclude(replace(cut_off, seen=replace(WELL, well_at=NOW_MS - 500)), FRESH)
    everybody = conclude(replace(cut_off, seen=replace(WELL, well_at=NOW_MS - 62_000)), FRESH)

    assert alone.outage == ""
    assert (everybody.outage, everybody.outage_ms) == (f"outage:{NOW_MS - 62_000}", 60_000)


def test_an_outage_that_a_killed_reactor_met_is_resumed_by_one_that_never_saw_redis_work() -> None:
    """Nothing of it could be written while it lasted; the last good look of the one before says when it began."""
    found = conclude(replace(QUIET, failing_ms=10**15, seen=replace(WELL, well_at=NOW_MS - 90_000)), FRESH)

    assert (found.outage, found.outage_ms) == (f"outage:{NOW_MS - 90_000}", 90_000)


def test_an_outage_right_after_the_clock_was_set_back_counts_by_our_own_clock() -> None:
    """The last good look lies in the future then: it says nothing of how long clients could not beat."""
    ahead = replace(QUIET, seen=replace(WELL, well_at=NOW_MS + 58_000))
    failed = conclude(replace(ahead, failing_ms=23_000), FRESH)
    for_ever = conclude(replace(ahead, failing_ms=10**15), FRESH)
    refused = conclude(replace(ahead, refused=4), FRESH)
    nothing = conclude(ahead, FRESH)

    assert (failed.outage, failed.outage_ms) == (f"outage:{NOW_MS - 23_000}", 23_000)
    assert for_ever.outage_ms > 10**6 < refused.outage_ms
    assert (nothing.outage, nothing.fields["well_at"]) == ("", str(NOW_MS))


def test_an_outage_that_goes_on_after_the_clock_was_set_back_keeps_its_name() -> None:
    """One grace for each session, as for any other."""
    seen = replace(WELL, well_at=NOW_MS + 58_000)
    full = replace(QUIET, failing_ms=5000, still_failing=True, seen=seen)
    first = conclude(full, FRESH)
    later = replace(written(full, first), failing_ms=9000, clock=replace(READING, redis_ms=NOW_MS + 4000,
                    asked_ms=104_000, told_ms=104_002))  # fmt: skip
    second = conclude(later, FRESH)

    assert first.outage == second.outage
    assert (first.outage_ms, second.outage_ms) == (5000, 9000)


def test_our_own_absence_alone_proves_nothing() -> None:
    """A day without a reactor, and Redis refused nobody: no doubt."""
    found = conclude(replace(QUIET, seen=replace(WELL, well_at=NOW_MS - 86_400_000, clock=None)), FRESH)

    assert (found.quarantine, found.outage) == ("", "")


def test_commands_refused_while_nobody_watched_are_an_outage_from_the_last_good_look() -> None:
    """R8: a failed snapshot refused everybody's heartbeats, and the reactor was away."""
    away = replace(QUIET, refused=4, seen=replace(WELL, well_at=NOW_MS - GAP_MS - 1))
    watched = replace(QUIET, refused=4, seen=replace(WELL, well_at=NOW_MS - GAP_MS))

    assert conclude(away, FRESH).outage_ms == GAP_MS + 1
    assert conclude(watched, FRESH).outage == ""


def test_an_outage_that_goes_on_keeps_its_name_until_it_is_over() -> None:
    """A Redis that is full for hours costs each session one grace, not one every two seconds."""
    full = replace(QUIET, failing_ms=5000, still_failing=True, seen=replace(WELL, well_at=NOW_MS - 5000))
    first = conclude(full, FRESH)
    later = replace(written(full, first), failing_ms=9000, clock=replace(READING, redis_ms=NOW_MS + 4000,
                    asked_ms=104_000, told_ms=104_002))  # fmt: skip
    second = conclude(later, FRESH)

    assert first.outage == second.outage == f"outage:{NOW_MS - 5000}"
    assert (first.outage_ms, second.outage_ms) == (5000, 9000)


def test_a_short_outage_does_not_hide_the_long_one_before_it() -> None:
    """Sessions with a long TTL still have their grace coming: both together count."""
    seen = replace(WELL, well_at=NOW_MS - 5000, outage="outage:1", outage_at=NOW_MS - 10_000, outage_ms=300_000)
    found = conclude(replace(QUIET, failing_ms=3000, seen=seen), FRESH)

    assert found.outage_ms == 303_000


def test_evictions_are_dated_so_that_older_records_are_known_to_be_in_doubt() -> None:
    """The count says that, the time says which."""
    grew = conclude(replace(QUIET, evicted=3), FRESH)

    assert grew.quarantine == "evicted:run-now:3"
    assert (grew.fields["evicted"], grew.fields["evicted_at"]) == ("3", str(NOW_MS))
    assert "evicted_at" not in conclude(replace(QUIET, evicted=3, seen=replace(WELL, evicted=3)), FRESH).fields
