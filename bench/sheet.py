"""What a bench found: lines with a number, some of them with a target; several runs become one by their medians.

What this is: the table, and its JSON. What it is not: measuring. The invariant: a target is judged by the median of
the runs against the median of its limits, never run by run, and only printed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.stats import median

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS = 3
_WIDTH = 74


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One number under its title. `values` has one for each run, `limits` too where the line has a target."""

    title: str
    unit: str
    values: tuple[float, ...]
    limits: tuple[float, ...] = ()
    at_least: bool = False
    """Whether the target is a least value, not a most."""

    @property
    def value(self) -> float:
        """The median of the runs."""
        return median(self.values)

    @property
    def limit(self) -> float | None:
        """The median of what was aimed at in each run; None: nothing is aimed at."""
        return median(self.limits) if self.limits else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none. What could not be measured is not met."""
        limit = self.limit
        if limit is None:
            return None
        return self.value >= limit if self.at_least else self.value <= limit

    def as_dict(self) -> dict[str, object]:
        """Return the line for JSON; a number that is none is null."""
        found: dict[str, object] = {
            "title": self.title,
            "unit": self.unit,
            "median": _finite(self.value),
            "runs": [_finite(value) for value in self.values],
        }
        if self.limit is not None:
            found |= {"target": _finite(self.limit), "at_least": self.at_least, "met": self.met}
        return found


@dataclass(slots=True)
class Sheet:
    """The lines of one run of a bench, in the order in which they are shown."""

    lines: dict[str, Line] = field(default_factory=dict[str, Line])

    def add(
        self, title: str, value: float, unit: str = "", *, most: float | None = None, least: float | None = None
    ) -> None:
        """Note a number, aimed at `most` or at `least` where one is given. A title stands once in a sheet."""
        limit = most if least is None else least
        limits = () if limit is None else (limit,)
        self.lines[title] = Line(title=title, unit=unit, values=(value,), limits=limits, at_least=least is not None)


def combined(sheets: Sequence[Sheet]) -> list[Line]:
    """Return the lines of several runs as one, by title; a line that a run did not have has fewer values."""
    found: dict[str, Line] = {}
    for sheet in sheets:
        for title, line in sheet.lines.items():
            before = found.get(title)
            found[title] = Line(
                title=title,
                unit=line.unit,
                values=(*(before.values if before else ()), *line.values),
                limits=(*(before.limits if before else ()), *line.limits),
                at_least=line.at_least,
            )
    return list(found.values())


def table(name: str, about: str, lines: Sequence[Line]) -> str:
    """Return the lines as text: title, median, span of the runs, and what was aimed at."""
    rows = [f"{name}: {about}"]
    rows += [_row(line) for line in lines]
    return "\n".join(rows)


def _row(line: Line) -> str:
    spread = "" if len(line.values) < 2 else f"{shown(min(line.values))} .. {shown(max(line.values))}"  # noqa: PLR2004
    text = f"  {line.title:<{_WIDTH}} {shown(line.value):>11} {line.unit:<6} {spread:<22}"
    if line.limit is None:
        return text.rstrip()
    sign = ">=" if line.at_least else "<="
    return f"{text} {sign} {shown(line.limit):<9} {'PASS' if line.met else 'MISS'}"


def shown(value: float) -> str:
    """Return a number for a person: three digits that count, thousands set apart."""
    if not math.isfinite(value):
        return "-"
    digits = max(0, _DIGITS - 1 - math.floor(math.log10(abs(value)))) if value and value != int(value) else 0
    return f"{value:,.{min(digits, _DIGITS)}f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
