"""One row for each search, worked out in this process or in several.

What this is: how a search is judged against what must come out of it. What it is not: the command line. The invariant:
a row is fine only if its search closed and all held, or if it broke what it had to break.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faultlab.model.configurations import LIMIT, run
from faultlab.model.report import trace_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from faultlab.model.configurations import Configuration

HEADING = ("configuration", "states", "edges", "closed", "s", "result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `trace` explains a result that is not the expected one, or one that was asked for."""

    name: str
    states: int
    edges: int
    closed: bool
    seconds: float
    result: str
    fine: bool
    trace: list[str]


def judge(configuration: Configuration, limit: int = LIMIT) -> Row:
    """Run one configuration and say whether it came out as it must."""
    found = run(configuration, limit=limit)
    if configuration.expects:
        fine = found.broken == configuration.expects
        result = f"found: {found.broken}" if fine else f"NOT FOUND: {configuration.expects} ({found.broken or 'holds'})"
    else:
        fine = found.closed and not found.broken
        result = f"BROKEN: {found.broken}" if found.broken else "holds" if found.closed else "NOT CLOSED"
    return Row(
        name=configuration.name,
        states=found.states,
        edges=found.edges,
        closed=found.closed,
        seconds=found.seconds,
        result=result,
        fine=fine,
        trace=trace_lines(configuration.first, found) if found.broken else [],
    )


def rows_of(configurations: Sequence[Configuration], jobs: int, limit: int) -> Iterable[Row]:
    """Yield a row for each, in order; each process looks at one configuration at a time and gives its memory back."""
    if jobs == 1:
        yield from (judge(configuration, limit) for configuration in configurations)
        return
    with ProcessPoolExecutor(max_workers=jobs, max_tasks_per_child=1) as pool:
        yield from pool.map(judge, configurations, [limit] * len(configurations))
