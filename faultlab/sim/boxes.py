"""What a simulated engine holds: containers, what runs in them, and how long things take.

What this is: values. What it is not: what happens to them (`engine`). The invariant: a dead container holds no process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]


@dataclass(slots=True)
class Reply:
    """What the engine answers."""

    status: int
    body: Any = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a container's command does once it is started. By itself: it goes on until it is told to end."""

    ignores_term: bool = False
    ends_after: float | None = None
    """Seconds after which it ends by itself."""
    exit_code: int = 0
    says: bytes = b""
    """Its last words, one line."""


IDLE = Program()


@dataclass(slots=True)
class Box:
    """A container."""

    box_id: str
    name: str
    labels: Mapping[str, str]
    created: float
    image: str = "idle"
    program: Program = IDLE
    volumes: tuple[str, ...] = ()
    """Its anonymous volumes."""
    status: str = "created"
    exit_code: int = 0
    starts: int = 0
    said: bytes = b""
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

    @property
    def shown(self) -> str:
        """Its state as the engine says it."""
        return "paused" if self.running and self.paused else self.status


@dataclass(slots=True)
class Pace:
    """How long things take, in seconds: least and most."""

    create: tuple[float, float] = (0.02, 0.08)
    start: tuple[float, float] = (0.05, 0.2)
    remove: tuple[float, float] = (0.03, 0.15)
    stop: tuple[float, float] = (0.0, 0.1)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list or an event stream is asked for; empty means everything."""

    labels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = field(default=())
    """Kinds of events."""

    def match(self, labels: Mapping[str, str]) -> bool:
        """Whether something has all of these labels, exactly; one without a value is asked for by name alone."""
        return all(
            name in labels and (not equals or labels[name] == value)
            for name, equals, value in (label.partition("=") for label in self.labels)
        )


def missing(name: str) -> Reply:
    """Return the engine's answer for a container that it has not."""
    return Reply(404, {"message": f"No such container: {name}"})


def refused(status: int, text: str) -> Reply:
    """Return the engine's words for what it does not do."""
    return Reply(status, {"message": text})


def listed(box: Box) -> Json:
    """Return a container as the list shows it."""
    state = "running" if box.shown_running else box.shown
    return {
        "Id": box.box_id, "Names": [f"/{box.name}"], "Image": box.image, "Labels": dict(box.labels), "State": state,
        "Created": int(box.created),
    }  # fmt: skip


def inspected(box: Box) -> Json:
    """Return a container as inspect shows it."""
    state: Json = {"Status": box.shown, "Running": box.running, "Paused": box.paused, "ExitCode": box.exit_code,
                   "Error": ""}  # fmt: skip
    return {
        "Id": box.box_id, "Name": f"/{box.name}",
        "Config": {"Image": box.image, "Labels": dict(box.labels)},
        "Created": datetime.fromtimestamp(box.created, UTC).isoformat(), "State": state,
        "NetworkSettings": {"Networks": {}, "Ports": {}},
    }  # fmt: skip


def framed(line: bytes) -> bytes:
    """Return a log of one line, as the engine sends it."""
    return b"\x01\0\0\0" + len(line).to_bytes(4, "big") + line if line else b""
