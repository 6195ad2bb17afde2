"""The judgement of a history: one pure function for each invariant, in one table.

What this is: which checkers there are, and `judge`. What it is not: the counting and printing (`report`). The
invariant: the same history gives the same violations, whenever and wherever it is judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faultlab.checks import destruction, detectors, gates, liveness, protocol, quiet, removals, safety
from faultlab.checks.story import Story, tell
from faultlab.checks.verdict import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from faultlab.history import History

__all__ = ["CHECKS", "Story", "Violation", "judge", "tell"]

CHECKS: Final[Mapping[str, Callable[[Story], Iterator[Violation]]]] = {
    "S1": safety.early,
    "S1k": safety.kept,
    "S2": safety.twice,
    "S2p": safety.processes,
    "S2c": safety.handed_out,
    "S3": safety.foreign,
    "S4": removals.once,
    "S5": safety.fenced,
    "S6": protocol.no_resurrection,
    "S7": protocol.told_the_truth,
    "S8": protocol.bounded,
    "S9": destruction.bounded_destruction,
    "S10": destruction.fail_static,
    "S14": protocol.bounded_self,
    "S15": protocol.in_order,
    "L1": liveness.prompt,
    "L1 detectors": detectors.timely,
    "L2": detectors.deaf,
    "L3": liveness.recovered,
    "L3 dead": liveness.cleared,
    "L4": liveness.orphans,
    "L5": liveness.served,
    "L7": detectors.beside_stuck,
    "L9": quiet.quiescent,
    "L10": liveness.drained,
    "crash": liveness.crashes,
    "leak": liveness.leaks,
    "fired": gates.fired,
    "busy": gates.busy,
    "well before": gates.well_before,
    "works at the end": gates.works_at_the_end,
    "observed": gates.observed,
}


def judge(history: History) -> tuple[Story, list[Violation]]:
    """Return the history made readable, and every violation in it, by time."""
    story = tell(history)
    found = [violation for check in CHECKS.values() for violation in check(story)]
    return story, sorted(found, key=lambda violation: (violation.t, violation.check))
