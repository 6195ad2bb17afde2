"""What a simulated engine tells by itself: streams of events, and the last 256 of them.

What this is: who listens, to what, and what is remembered for whoever asks later. What it is not: what happens to a
container (`engine`). The invariant: what was told to nobody is remembered all the same.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faultlab.sim.boxes import Box, Filters, Json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REMEMBERED = 256


@dataclass(slots=True)
class Listener:
    """Who hears of events."""

    filters: Filters
    tell: Callable[[Json], None]
    end: Callable[[], None]


def parse_filters(params: Mapping[str, str]) -> Filters:
    """Read what a request asks for."""
    raw: Mapping[str, list[str]] = json.loads(params.get("filters", "{}"))
    return Filters(labels=tuple(raw.get("label", ())), kinds=tuple(raw.get("event", ())))


@dataclass(slots=True)
class Events:
    """The events of one engine; `wall` is its clock."""

    wall: Callable[[], float]
    silent: bool = False
    """Streams stand, but nothing is told."""
    listeners: list[Listener] = field(default_factory=list[Listener])
    _told: deque[tuple[float, Json]] = field(default_factory=lambda: deque[tuple[float, Json]](maxlen=REMEMBERED))

    def tell(self, action: str, box: Box, **more: str) -> None:
        """Tell what happened to a container."""
        attributes = {**box.labels, "image": box.image, "name": box.name, **more}
        event: Json = {
            "Type": "container", "Action": action, "Actor": {"ID": box.box_id, "Attributes": attributes},
            "timeNano": int(self.wall() * 1e9),
        }  # fmt: skip
        self._told.append((self.wall(), event))
        if not self.silent:
            for listener in list(self.listeners):
                if _wants(listener.filters, event):
                    listener.tell(event)

    def listen(self, params: Mapping[str, str], tell: Callable[[Json], None], end: Callable[[], None]) -> Listener:
        """Open a stream, beginning with what happened since the moment that was named."""
        listener = Listener(parse_filters(params), tell, end)
        if "since" in params:
            for event in self.remembered(params):
                tell(event)
        self.listeners.append(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Close a stream from the other side; twice is fine."""
        if listener in self.listeners:
            self.listeners.remove(listener)

    def cut(self) -> None:
        """Break all streams."""
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            listener.end()

    def remembered(self, params: Mapping[str, str]) -> list[Json]:
        """Return what happened between two moments, as far as it is remembered."""
        filters, since, until = parse_filters(params), float(params["since"]), float(params.get("until", "inf"))
        return [event for at, event in self._told if since <= at <= until and _wants(filters, event)]


def _wants(filters: Filters, event: Json) -> bool:
    return (not filters.kinds or event["Action"] in filters.kinds) and filters.match(event["Actor"]["Attributes"])
