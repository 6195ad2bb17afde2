"""The history of one run, kept as JSON lines: one file for each process that took part.

What this is: writing and reading. What it is not: the entries (`entries`), or a judgement (`checks`). The invariant: an
entry is written in one call and never changed, so that a process that is killed costs at most its last line.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from faultlab.entries import AnyEntry, Entry, Setup

if TYPE_CHECKING:
    from collections.abc import Iterable

_T = TypeVar("_T")
_DECODER = msgspec.json.Decoder(AnyEntry)
_ENCODER = msgspec.json.Encoder()


class Writer:
    """Appends entries to one file; safe to use from several threads."""

    def __init__(self, directory: Path, name: str) -> None:
        """Open `NAME.jsonl` in the directory, for appending."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{name}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, entry: Entry) -> None:
        """Append one entry."""
        os.write(self._file, _ENCODER.encode(entry) + b"\n")


@dataclass(frozen=True, slots=True)
class History:
    """All entries of a run. What is asked for by class comes in the order of time."""

    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read every file of a directory; a last line that was cut off is left out.

        Raises `ValueError` for a line in the middle that is none of ours.
        """
        found: list[Entry] = []
        for path in sorted(directory.glob("*.jsonl")):
            found.extend(_entries(path))
        return cls(tuple(found))

    def of(self, kind: type[_T]) -> list[_T]:
        """Return the entries of one class, by time."""
        return sorted((entry for entry in self.entries if isinstance(entry, kind)), key=_time)

    @property
    def setup(self) -> Setup:
        """What was run."""
        (found,) = self.of(Setup)
        return found


def now() -> float:
    """Return the time of a history: the monotonic clock, in seconds."""
    return time.monotonic()


def wall_offset() -> float:
    """Return the wall clock minus the monotonic clock: of some readings the one that took the shortest time."""
    found: list[tuple[float, float]] = []
    for _ in range(5):
        before = time.monotonic()
        wall = time.time()
        after = time.monotonic()
        found.append((after - before, wall - (before + after) / 2))
    return min(found)[1]


def _entries(path: Path) -> Iterable[Entry]:
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            yield _DECODER.decode(line)
        except msgspec.DecodeError as error:
            if number < len(lines) - 1:
                message = f"{path.name}:{number + 1}: {error}"
                raise ValueError(message) from error


def _time(entry: object) -> float:
    for name in ("t", "t_call", "t0"):
        found = getattr(entry, name, None)
        if found is not None:
            return found
    return 0.0
