"""Two pictures from a file of `python -m bench all --json FILE`: `python -m bench.plot FILE DIRECTORY`.

What this is: bars on a logarithmic scale, as SVG. What it is not: a measurement. The invariant: what is drawn are the
medians of the file, each with its number beside it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Bars = list[tuple[str, str, float]]
"""Group, series, milliseconds."""

WIDTH: Final = 720
_LEFT, _TOP, _BAR, _GAP = 210, 46, 20, 16
_COLOURS = ("#2563eb", "#9ca3af", "#d97706", "#059669")
_DETECTION = re.compile(r"([\d,]+) keys, +([\d,]+)/s: (.+), p50")
_ACQUIRE: Final[Mapping[str, tuple[str, str]]] = {
    "limit: GET, 1 caller: p50": ("1 caller", "GET"),
    "hot, 1 caller: p50": ("1 caller", "acquire, existing"),
    "limit: GET, 50 callers: p50": ("50 callers", "GET"),
    "hot, 50 callers: p50": ("50 callers", "acquire, existing"),
    "limit: rename of a running container, p50": ("a container", "raw rename"),
    "warm: p50": ("a container", "acquire, warm"),
    "limit: raw create and start, p50": ("a container", "raw create + start"),
    "cold: p50": ("a container", "acquire, cold"),
}


def detection(lines: Sequence[Mapping[str, Any]]) -> Bars:
    """Return the lag of each method by the number of other keys, at the highest rate of each."""
    found: dict[tuple[int, str], tuple[int, float]] = {}
    for line in lines:
        match = _DETECTION.search(str(line["title"]))
        if match is None or line["median"] is None:
            continue
        keys, rate = (int(match[n].replace(",", "")) for n in (1, 2))
        if rate >= found.get((keys, match[3]), (0, 0.0))[0]:
            found[keys, match[3]] = rate, float(line["median"])
    return [
        (f"{keys:,} other keys, {rate:,}/s", "this program" if name == "claimed" else name, value)
        for (keys, name), (rate, value) in sorted(found.items(), key=lambda one: one[0][0])
    ]


def acquire(lines: Sequence[Mapping[str, Any]]) -> Bars:
    """Return how long an acquire takes, beside its limits."""
    known = {str(line["title"]): line["median"] for line in lines}
    return [(group, name, float(known[t])) for t, (group, name) in _ACQUIRE.items() if known.get(t) is not None]


def drawn(title: str, bars: Bars) -> str:
    """Return the bars as SVG; the length is the logarithm of the milliseconds."""
    least = min((value for _, _, value in bars if value > 0), default=1.0) / 2
    most = max((value for _, _, value in bars), default=1.0)
    scale = (WIDTH - _LEFT - 110) / max(math.log10(most / least), 1e-9)
    colours = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(dict.fromkeys(b[1] for b in bars))}
    parts, y, before = [f'<text x="12" y="26" font-size="16" font-weight="bold">{title}</text>'], _TOP, ""
    for group, name, value in bars:
        if group != before:
            y, before = y + _GAP + 4, group
            parts.append(f'<text x="12" y="{y - 4}" font-weight="bold">{group}</text>')
            y += 4
        length = max(2.0, math.log10(max(value, least) / least) * scale)
        middle = y + _BAR * 0.7
        parts += [
            f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{name}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR - 4}" rx="2" fill="{colours[name]}"/>',
            f'<text x="{_LEFT + length + 6:.1f}" y="{middle:.0f}">{_shown(value)}</text>',
        ]
        y += _BAR
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 16}" font-family="sans-serif"'
    style = "<style>text{fill:#111827;font-size:12px}</style>"
    body = f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    return f'{head} role="img" aria-label="{title}">{style}{body}\n'


def _shown(ms: float) -> str:
    return f"{ms / 1000:,.1f} s" if ms >= 1000 else f"{ms:.3g} ms"  # noqa: PLR2004


def main(arguments: Sequence[str]) -> int:
    """Draw what a file holds; returns the exit code."""
    if len(arguments) != 2:  # noqa: PLR2004
        print("usage: python -m bench.plot FILE DIRECTORY", file=sys.stderr)
        return 64
    source, target = Path(arguments[0]), Path(arguments[1])
    benches: dict[str, list[dict[str, Any]]] = json.loads(source.read_text("utf-8"))["benches"]
    pictures = {
        "detection": ("From the deadline to the claim, median", detection),
        "acquire": ("How long an acquire takes, median", acquire),
    }
    for name, (title, bars_of) in pictures.items():
        if name in benches:
            (target / f"{name}.svg").write_text(drawn(title, bars_of(benches[name])), "utf-8")
            print(target / f"{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
