"""Text on a terminal: lines, tables, colours, JSON.

What this is: the only place that prints. What it is not: what is said. The invariant: no control character of foreign
data reaches the terminal, and no colour one that did not ask for it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

_COLOURS: Final = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}


def has_colour(stream: TextIO) -> bool:
    """Return whether `stream` is a terminal whose user did not ask for plain text."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, colour: str | None, stream: TextIO) -> str:
    """Return `text` in one of the colours, where `stream` shows them."""
    if colour is None or not has_colour(stream):
        return text
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def printable(text: str) -> str:
    """Return foreign text with a space for each character that a terminal would act on."""
    return "".join(char if char.isprintable() else " " for char in text)


def one_line(text: str) -> str:
    """Return foreign text as one line, without runs of spaces."""
    return printable(" ".join(text.split()))


def say(text: str) -> None:
    """Print one line of data for a person."""
    print(text, flush=True)


def note(text: str) -> None:
    """Print one line that is not data (a warning, an empty list), on stderr."""
    print(f"reactor: {one_line(text)}", file=sys.stderr, flush=True)


def may_ask() -> bool:
    """Return whether a person sits at a terminal who can answer a question; in pipes and scripts nobody does."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str) -> bool:
    """Ask on the terminal; only `y` or `yes` is a yes. Ask only where `may_ask`."""
    import click  # noqa: PLC0415 (whoever asks has it loaded)

    return click.confirm(one_line(question), default=False, err=True)


def show_json(value: Mapping[str, object]) -> None:
    """Print one object on one line."""
    print(json.dumps(value, separators=(",", ":"), default=str), flush=True)


def show_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair per line, aligned."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        print(f"{coloured(name.ljust(width), 'dim', sys.stdout)}  {one_line(value)}".rstrip())
    sys.stdout.flush()


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]], colours: Mapping[str, str] | None = None) -> None:
    """Print rows under titles, each column as wide as it must be. `colours` is by the text of a cell."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in (titles, *cells)) for index in range(len(titles))]
    print(coloured(_aligned(titles, widths), "bold", sys.stdout))
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        shown = [coloured(text, (colours or {}).get(cell), sys.stdout) for cell, text in zip(row, padded, strict=True)]
        print("  ".join(shown).rstrip())
    sys.stdout.flush()


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def roughly(duration: timedelta | None) -> str:
    """Return a duration as a person says it (`4s`, `14m59s`, `2h03m`); `-` for None."""
    if duration is None:
        return "-"
    seconds = max(0, round(duration.total_seconds()))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def short_id(container_id: str | None) -> str:
    """Return the first 12 characters of a container's ID, as `docker ps` shows it; `-` for None."""
    return "-" if container_id is None else container_id[:12]
