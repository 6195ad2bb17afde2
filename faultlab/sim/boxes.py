"""What a simulated engine holds: containers, how long things take, who listens.

What this is: values. What it is not: what happens to them (`engine`). The invariant: labels match exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Json = dict[str, Any]


@dataclass(slots=True)
class Reply:
    """What the engine answers."""

    status: int
    body: Any = None


@dataclass(slots=True)
class Box:
    """A container."""

    box_id: str
    name: str
    labels: Mapping[str, str]
    created: float
    status: str = "created"
    exit_code: int = 0
    ignores_term: bool = False
    stuck: bool = False
    """Every removal fails with 500 until it is freed."""
    hangs: bool = False
    """No removal ends until it is freed."""
    shown_running: bool = False
    """The list says running although it is dead."""
    paused: bool = False

    @property
    def running(self) -> bool:
        """Whether it holds a process."""
        return self.status == "running"


@dataclass(slots=True)
class Pace:
    """How long things take, in seconds: least and most."""

    create: tuple[float, float] = (0.02, 0.08)
    start: tuple[float, float] = (0.05, 0.2)
    remove: tuple[float, float] = (0.03, 0.15)
    stop: tuple[float, float] = (0.0, 0.1)


@dataclass(slots=True)
class Listener:
    """Who hears of events."""

    wanted: list[str]
    tell: Callable[[Json], None]
    end: Callable[[], None]


def has_labels(box: Box, wanted: list[str]) -> bool:
    """Whether a container has all of these labels."""
    return all(box.labels.get(label.split("=", 1)[0]) == label.split("=", 1)[1] for label in wanted)


def event_has(event: Json, wanted: list[str]) -> bool:
    """Whether an event is about a container with all of these labels."""
    has = event["Actor"]["Attributes"]
    return all(has.get(label.split("=", 1)[0]) == label.split("=", 1)[1] for label in wanted)


def missing(name: str) -> Reply:
    """Return the engine's answer for a container that it has not."""
    return Reply(404, {"message": f"No such container: {name}"})
