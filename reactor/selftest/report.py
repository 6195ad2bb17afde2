"""What the selftest says: progress on stderr as it goes, the result on stdout at its end.

What this is: the only place of the selftest that prints. What it is not: the judgement. The invariant: nothing is on
stdout before there is a verdict.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reactor.selftest.judge import percentile

if TYPE_CHECKING:
    from reactor.selftest.judge import Findings

_COLOURS: Final = {"ok": "32", "warn": "33", "fail": "31"}
_ROWS: Final = {
    "leaks": "leaks",
    "double_spawns": "double spawns",
    "wrong_kills": "wrong kills",
    "early_kills": "early kills",
    "foreign_touched": "foreign containers touched",
}
RECOVERIES: Final = {
    "subscription": "recovery, subscription cut",
    "reactor": "recovery, reactor killed",
    "data": "recovery, data lost",
}
"""From the fault, or from the restart after it, to the last thing put right."""


@dataclass(slots=True, kw_only=True)
class Result:
    """All that a run has found out. It has passed when nothing is broken and every step was gone through."""

    sessions: int = 0
    findings: Findings
    broken: list[str] = field(default_factory=list[str])
    """Promises that are no count, in words."""
    skipped: list[str] = field(default_factory=list[str])
    recovery_s: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def failures(self) -> list[str]:
        """Everything that speaks against it, one line each."""
        counted = [line for lines in self.findings.zeroes.values() for line in lines]
        return [*counted, *(line for line in self.broken if line not in counted)]

    @property
    def verdict(self) -> str:
        """`passed`, or `failed: ` and the first reasons."""
        return f"failed: {'; '.join(self.failures[:3])}" if self.failures else "passed"


class Report:
    """One line per step with its time; then the result, as a table or as one JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        """Begin to count the time. With `as_json` the result is one object; the progress is the same."""
        self._as_json = as_json
        self._began = time.monotonic()

    def step(self, name: str, detail: str) -> None:
        """Tell that a step went well."""
        self._line("ok", name, detail)

    def warn(self, name: str, detail: str) -> None:
        """Tell what works with less, or was left out."""
        self._line("warn", name, detail)

    def fail(self, name: str, detail: str) -> None:
        """Tell what should not be."""
        self._line("fail", name, detail)

    def trouble(self, text: str) -> None:
        """Say in one line what went wrong with the selftest itself."""
        print(f"reactor: {_clean(text)}", file=sys.stderr, flush=True)

    def result(self, result: Result) -> None:
        """Print the result."""
        seconds = time.monotonic() - self._began
        if self._as_json:
            print(json.dumps(_object(result, seconds), separators=(",", ":")), flush=True)
            return
        rows = [(title, str(len(result.findings.zeroes[name]))) for name, title in _ROWS.items()]
        lags = result.findings.lags_ms
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            value = percentile(lags, share)
            shown = "-" if value is None else f"{value:.0f} ms"
            rows.append((f"kill lag {name}", f"{shown} (deadline to container gone, {len(lags)} sessions)"))
        for name, title in RECOVERIES.items():
            value = result.recovery_s.get(name)
            rows.append((title, "-" if value is None else f"{value:.2f} s"))
        rows.append(("verdict", _clean(result.verdict)))
        for title, value in rows:
            print(f"{title:<27} {value}")
        sys.stdout.flush()

    def _line(self, status: str, name: str, detail: str) -> None:
        shown = f"{status:<4}"
        if sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
            shown = f"\033[{_COLOURS[status]}m{shown}\033[0m"
        seconds = time.monotonic() - self._began
        print(f"{seconds:6.1f} s  {shown}  {name}: {_clean(detail)}", file=sys.stderr, flush=True)


def _object(result: Result, seconds: float) -> dict[str, object]:
    lags = result.findings.lags_ms
    ranks = {"p50": percentile(lags, 0.5), "p99": percentile(lags, 0.99)}
    shown = {name: None if value is None else round(value, 1) for name, value in ranks.items()}
    return {
        "verdict": result.verdict,
        "passed": not result.failures,
        **{name: len(lines) for name, lines in result.findings.zeroes.items()},
        "lag_ms": {**shown, "sessions": len(lags)},
        "recovery_s": {name: round(seconds, 3) for name, seconds in result.recovery_s.items()},
        "sessions": result.sessions,
        "seconds": round(seconds, 1),
        "failures": result.failures,
        "skipped": result.skipped,
    }


def _clean(text: str) -> str:
    """Return foreign text as one line that no terminal acts upon."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
