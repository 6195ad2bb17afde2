"""What the observer notes: violations, containers' lives, and which record named which container when.

What this is: values. What it is not: a judgement (`observer`). The invariant: times are the world's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold."""

    at: float
    invariant: str
    text: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.at:.6f} {self.invariant}: {self.text}"


@dataclass(slots=True)
class Pointing:
    """A record that said running of a container, with its key alive, from and until when."""

    box_id: str
    since: float
    until: float | None = None


@dataclass(slots=True)
class Life:
    """When a container was made, ran and went; `created` is when it was first seen."""

    session: str
    generation: int
    host: str
    created: float
    started: float | None = None
    died: float | None = None
    gone: float | None = None
