"""Numbers about numbers: percentiles, and medians in which what never came has a place.

What this is: pure functions. What it is not: a judgement (`bench.sheet`). The invariant: what never came is never left
out; it counts as the whole window that was waited for it.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOTHING = float("nan")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share (0 to 1) of them does not exceed; of nothing: NaN."""
    if not values:
        return NOTHING
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    """Return the middle value; of nothing, or with a NaN among them: NaN."""
    if not values or any(math.isnan(value) for value in values):
        return NOTHING
    return statistics.median(values)


def with_missing(came: Mapping[int, float], expected: int, window: float) -> list[float]:
    """Return one value for each of `expected` things: when it came, or the whole window for one that never did.

    What came after the window counts as the window too.
    """
    return [min(value, window) for value in came.values()] + [window] * (expected - len(came))


def ratio(value: float, base: float) -> float:
    """Return how many times `base` the value is; NaN where there is no base."""
    return value / base if base else NOTHING
