"""Percentiles, medians with what never came, and the sheet that shows them."""

import math

from bench.sheet import Sheet, combined, shown, table
from bench.stats import median, percentile, ratio, with_missing


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """The smallest that the share does not exceed; all of it is the worst, and nothing has none."""
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, share) for share in (0.0, 0.2, 0.5, 0.99, 1.0)] == [1.0, 1.0, 3.0, 5.0, 5.0]
    assert math.isnan(percentile([], 0.5))


def test_what_never_came_counts_as_the_whole_window() -> None:
    """Nothing is left out: neither what never came nor what came after the window."""
    late = with_missing({0: 10.0, 3: 70.0}, 5, 60.0)
    assert sorted(late) == [10.0, 60.0, 60.0, 60.0, 60.0]
    assert median(late) == 60.0
    assert with_missing({}, 2, 60.0) == [60.0, 60.0]


def test_a_median_of_nothing_is_no_number() -> None:
    """What could not be measured in one run is not made up from the others."""
    assert math.isnan(median([]))
    assert math.isnan(median([1.0, math.nan]))
    assert median([3.0, 1.0, 2.0]) == 2.0


def test_without_a_base_there_is_no_ratio() -> None:
    """It is no number, and not an endless one."""
    assert ratio(3.0, 2.0) == 1.5
    assert math.isnan(ratio(3.0, 0.0))


def _sheet(value: float, limit: float) -> Sheet:
    sheet = Sheet()
    sheet.add("slow", value, "ms", most=limit)
    sheet.add("fast", value, "/s", least=limit)
    sheet.add("plain", value, "MB")
    return sheet


def test_runs_become_one_by_their_medians_and_are_judged_once() -> None:
    """A limit that was measured beside has a median too; one bad run decides nothing."""
    slow, fast, plain = combined([_sheet(1.0, 2.0), _sheet(9.0, 3.0), _sheet(2.0, 4.0)])
    assert (slow.value, slow.limit, slow.met) == (2.0, 3.0, True)
    assert (fast.value, fast.limit, fast.met) == (2.0, 3.0, False)
    assert (plain.values, plain.limit, plain.met) == ((1.0, 9.0, 2.0), None, None)


def test_what_was_not_measured_misses_its_target() -> None:
    """A number that is none is never a pass, and null in JSON."""
    sheet = Sheet()
    sheet.add("never", math.nan, "ms", most=5)
    (line,) = combined([sheet])
    assert line.met is False
    assert line.as_dict() == {
        "title": "never",
        "unit": "ms",
        "median": None,
        "runs": [None],
        "target": 5,
        "at_least": False,
        "met": False,
    }


def test_the_table_says_what_was_aimed_at() -> None:
    """A line for each number; pass or miss where there is a target, nothing where there is none."""
    first, slow, fast, plain = table("name", "about", combined([_sheet(1234.5, 2000.0)])).splitlines()
    assert first == "name: about"
    assert "1,234" in slow
    assert slow.endswith("<= 2,000     PASS")
    assert fast.endswith(">= 2,000     MISS")
    assert plain.split() == ["plain", "1,234", "MB"]


def test_a_number_is_shown_with_the_digits_that_count() -> None:
    """Three of them, but no more than three behind the point."""
    assert [shown(value) for value in (0.0, 0.01234, 1.234, 12.34, 1234.5, 7.0, math.inf)] == [
        "0",
        "0.012",
        "1.23",
        "12.3",
        "1,234",
        "7",
        "-",
    ]
