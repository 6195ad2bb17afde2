"""The table at the end of a run, made from its history alone.

What this is: counting, and lines for a person. What it is not: a judgement (`checks`). The invariant: the table says
nothing that `recheck` would not say again.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from faultlab.checks.liveness import Expiry, expiries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faultlab.checks import Story, Violation
    from faultlab.checks.lives import Window

ROWS = (
    ("leaks", ("leak", "L3", "L4")),
    ("double spawns", ("S2", "S2c", "S5", "S15")),
    ("wrong kills", ("S1k", "S4", "S9", "S10")),
    ("early kills", ("S1",)),
    ("foreign touched", ("S3",)),
    ("untrue answers", ("S6", "S7")),
    ("late or unbounded", ("L1", "L2", "L5", "L7", "L9", "L10", "S8", "S14")),
    ("crashed programs", ("crash",)),
    ("void (the run itself)", ("gate",)),
)
SHOWN = 40


def table(story: Story, violations: Sequence[Violation]) -> str:
    """Return the whole report."""
    origin = min((look.t0 for look in story.looks), default=0.0)
    lines = [f"seed {story.setup.seed}, {story.setup.runtime} runtime, {len(story.setup.hosts)} host(s), "]
    lines[0] += f"{story.setup.reactors} reactor(s) on each, {story.end - origin:.0f} s"
    lines += _counts(violations)
    lines += _traffic(story)
    lines += _lags(story)
    lines += [_recovery(story, window) for window in story.windows]
    lines += _left_out(story)
    if violations:
        lines.append(f"{len(violations)} violations:")
        lines += [f"  {violation.line(origin)}" for violation in violations[:SHOWN]]
        lines += [f"  and {len(violations) - SHOWN} more"] if len(violations) > SHOWN else []
    lines.append("FAILED" if violations else "PASSED")
    return "\n".join(lines)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed; of nothing: not a number."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def _counts(violations: Sequence[Violation]) -> list[str]:
    found = Counter(violation.check for violation in violations)
    return [f"  {name:22} {sum(found[check] for check in checks):6}" for name, checks in ROWS]


def _traffic(story: Story) -> list[str]:
    calls = [call for some in story.calls.values() for call in some]
    beats = [call for call in calls if call.op == "heartbeat"]
    got = [call for call in calls if call.op == "acquire" and call.ok]
    refused = sum(1 for call in beats if call.reply == 0)
    errors = sum(1 for call in calls if call.error)
    text = (
        f"  sessions {len(story.calls)}, containers {len(story.lives)}, acquires {len(got)}, heartbeats {len(beats)} "
        f"({refused} answered 0), errors told to clients {errors}, faults {len(story.windows)}"
    )
    return [text]


def _lags(story: Story) -> list[str]:
    found = [one for one in expiries(story) if one.gone is not None]
    calm = [one for one in found if not _in_trouble(story, one)]
    lags = [one.lag for one in calm]
    if not lags:
        return ["  no session expired outside of faults"]
    text = (
        f"  deadline to container gone, outside of faults: p50 {percentile(lags, 0.5) * 1000:.0f} ms, "
        f"p99 {percentile(lags, 0.99) * 1000:.0f} ms, worst {max(lags) * 1000:.0f} ms (n = {len(lags)}; "
        f"{len(found) - len(lags)} more during or after faults)"
    )
    return [text]


def _left_out(story: Story) -> list[str]:
    """Say which kinds of fault this run did not have."""
    had = {window.name for window in story.windows}
    names = [name for name in story.setup.kinds if name not in had]
    if not names:
        return ["  this run had every kind of fault"] if story.setup.kinds else []
    text = f"{len(names)} of {len(story.setup.kinds)} kinds of fault were not injected: {', '.join(names)}"
    return textwrap.wrap(text, 120, initial_indent="  ", subsequent_indent="    ")


def _in_trouble(story: Story, one: Expiry) -> bool:
    return story.troubled(one.deadline, one.deadline) or any(
        window.touches(one.deadline, one.deadline + one.lag) for window in story.windows
    )


def _recovery(story: Story, window: Window) -> str:
    nothing = "no acquire" if window.heal == float("inf") else "-"
    acquires = [call for calls in story.calls.values() for call in calls if call.op == "acquire" and call.ok]
    served = min((call.t_ret for call in acquires if call.t_call >= window.heal), default=None)
    overdue = [
        one.gone for one in expiries(story) if one.deadline <= window.heal and one.gone and one.gone > window.heal
    ]
    first = f"{served - window.heal:5.1f} s" if served is not None else f"{nothing:>7}"
    clean = f"{max(overdue) - window.heal:5.1f} s" if overdue else "      -"
    return (
        f"  {window.n:3} {window.name:26} {window.heal - window.start:5.1f} s   served again after {first}, "
        f"last overdue one gone after {clean}   {window.evidence[:70]}"
    )
