"""What the process runtime really does: its directory and the processes behind it, looked at ten times a second.

What this is: the events that an engine would send, worked out from what is there. What it is not: the product's own
store; the files are read as they lie. The invariant: a container that is seen has a name in `names/`, and one that runs
has a living process with its marker; a birth has the kernel's own time, an end is told at most one look late.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faultlab.entries import Engine, Listing
from faultlab.history import now, wall_offset

if TYPE_CHECKING:
    from pathlib import Path

    from faultlab.history import Writer
    from faultlab.observer.pace import Pace
    from faultlab.observer.processes import Scanner

LABEL = "session-reactor."


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """A container as its file tells: its name, its labels, and when it got the name."""

    name: str
    labels: dict[str, str]
    born: float


class ProcessTruth:
    """One state directory."""

    def __init__(self, host: str, root: Path, ours: dict[str, str], writer: Writer, scanner: Scanner) -> None:
        """Note where to look, which labels make a container ours, and who says which one has a process."""
        self._host = host
        self._root = root / "session-reactor"
        self._labels = ours
        self._writer = writer
        self._scanner = scanner
        self._known: dict[str, There] = {}
        self._running: set[str] = set()

    async def list(self, pace: Pace) -> None:
        """Write down what is there and what changed, again and again."""
        while True:
            t0 = now()
            self._look(t0)
            await pace.rest()

    def ours(self) -> list[str]:
        """Return the containers of ours that are there now."""
        return [container for container, there in self._read().items() if self._labels.items() <= there.labels.items()]

    def _look(self, t0: float) -> None:
        found = self._read()
        running = {container for container in found if self._scanner.runs(container)}
        born = {there.name: there.born for there in found.values()}
        for container in self._known.keys() - found.keys():
            # Who holds its name now came after it: that much is known even if we looked late.
            end = min(t0, born.get(self._known[container].name, t0))
            if container in self._running:
                self._tell("die", container, end)
            self._tell("destroy", container, end)
        for container in found.keys() - self._known.keys():
            self._known[container] = found[container]
            self._tell("create", container, found[container].born)
        for container in running - self._running:
            self._tell("start", container, self._scanner.started(container))
        for container in (self._running & found.keys()) - running:
            self._tell("die", container, t0)
        self._known, self._running = found, running
        ours = {
            container: (*_session(there.labels), "running" if container in running else "exited")
            for container, there in found.items()
            if self._labels.items() <= there.labels.items()
        }
        self._writer.write(Listing(host=self._host, t0=t0, t1=now(), containers=ours))

    def _read(self) -> dict[str, There]:
        found: dict[str, There] = {}
        names = self._root / "names"
        for path in names.iterdir() if names.is_dir() else ():
            try:
                spec: dict[str, Any] = json.loads(path.read_bytes())
                born = path.stat().st_ctime - wall_offset()  # changed when the name was linked to it
            except (OSError, ValueError):
                continue  # removed at this moment
            container = str(spec["container_id"])
            known = self._known.get(container)
            found[container] = known or There(name=path.name, labels=spec["labels"], born=born)
        return found

    def _tell(self, action: str, container: str, t: float) -> None:
        labels = self._known[container].labels
        session, generation = _session(labels)
        ours = self._labels.items() <= labels.items()
        self._writer.write(
            Engine(
                host=self._host,
                t=t,
                action=action,
                container=container,
                session=session,
                generation=generation,
                ours=ours,
            )
        )


def _session(labels: dict[str, str]) -> tuple[str, int]:
    number = labels.get(f"{LABEL}generation", "0")
    return labels.get(f"{LABEL}session", ""), int(number) if number.isdigit() else 0
