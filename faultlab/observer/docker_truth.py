"""What a Docker engine really does: its raw events and its list, from its own socket.

What this is: two endless loops that write a history. What it is not: the product's view; nothing here goes through a
proxy. The invariant: after a break the events are asked for from the last one heard, so that none is missed or doubled.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from faultlab.entries import Engine, Listing
from faultlab.history import now, wall_offset
from faultlab.wire import ask, events

if TYPE_CHECKING:
    from pathlib import Path

    from faultlab.history import Writer
    from faultlab.observer.pace import Pace

LABEL = "session-reactor."
_ABSENT = ("", 0, "")


class DockerTruth:
    """One engine."""

    def __init__(self, host: str, socket: Path, ours: dict[str, str], writer: Writer) -> None:
        """Note where to look; `ours` are the labels that make a container one of ours."""
        self._host = host
        self._socket = socket
        self._labels = ours
        self._writer = writer
        self._last_ns = int((now() + wall_offset()) * 1e9)
        self._heard: set[tuple[int, str, str]] = set()

    async def listen(self) -> None:
        """Write down every event of a container; goes on for ever."""
        while True:
            try:
                async for event in events(self._socket, since_ns=self._last_ns):
                    self._note(event)
            except (OSError, ValueError):
                await asyncio.sleep(0.05)

    async def list(self, pace: Pace) -> None:
        """Write down the list, again and again."""
        while True:
            t0 = now()
            try:
                status, found = await ask(self._socket, "GET", "/containers/json?all=1", timeout=1.5)
                entry = Listing(host=self._host, t0=t0, t1=now(), containers=self._ours(found or []))
                if status != 200:
                    entry = Listing(host=self._host, t0=t0, t1=now(), error=f"status {status}")
            except (OSError, ValueError) as error:
                entry = Listing(host=self._host, t0=t0, t1=now(), error=type(error).__name__)
            self._writer.write(entry)
            await pace.rest()

    def _ours(self, found: list[dict[str, Any]]) -> dict[str, tuple[str, int, str]]:
        return {
            one["Id"]: (*_session(one.get("Labels") or {}), one["State"])
            for one in found
            if self._labels.items() <= (one.get("Labels") or {}).items()
        }

    def _note(self, event: dict[str, Any]) -> None:
        at_ns, container = int(event["timeNano"]), str(event["Actor"]["ID"])
        action = str(event["Action"]).partition(":")[0]
        if (at_ns, container, action) in self._heard or action.startswith("exec"):
            return
        self._heard.add((at_ns, container, action))
        self._last_ns = max(self._last_ns, at_ns)
        labels = event["Actor"]["Attributes"]
        session, generation = _session(labels)
        self._writer.write(
            Engine(
                host=self._host,
                t=at_ns / 1e9 - wall_offset(),
                action=action,
                container=container,
                session=session,
                generation=generation,
                ours=self._labels.items() <= labels.items(),
            )
        )


def _session(labels: dict[str, str]) -> tuple[str, int]:
    number = labels.get(f"{LABEL}generation", "0")
    return labels.get(f"{LABEL}session", ""), int(number) if number.isdigit() else 0
