"""A simulated Docker engine, and all that can befall it and its containers.

What this is: crashes, standstills, broken streams, and an operator's hand. What it is not: the requests
(`engine_requests`), or the way to it (`docker`). The invariant: what was under way when a daemon was killed stays half
done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faultlab.sim.boxes import Box
from faultlab.sim.engine_requests import Requests

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class SimEngine(Requests):
    """One engine."""

    def crash(self, *, containers_live: bool) -> None:
        """End the daemon at once: what was under way stays half done, streams break."""
        self.down = True
        self.incarnation += 1
        self._queue.clear()
        self.names = {box.name: box.box_id for box in self.boxes.values()}
        self.events.cut()
        for box in self.boxes.values():
            if box.status == "removing":
                box.status = "dead"
            if not containers_live and box.running:
                self.died(box, 255, by_hand=True)

    def come_back(self) -> None:
        """Start the daemon again."""
        self.down = False

    def freeze(self) -> None:
        """Let the daemon stand still."""
        self.frozen = self.events.silent = True

    def thaw(self) -> None:
        """Let a frozen daemon go on with what was asked meanwhile."""
        self.frozen = self.events.silent = False
        self._go_on()

    def release(self) -> None:
        """Let what runs containers go on."""
        self.shims_hang = False
        self._go_on()

    def _go_on(self) -> None:
        queue, self._queue = self._queue, []
        for act in queue:
            act()

    def forget(self) -> None:
        """Let go of who waits, at the end."""
        self.events.listeners.clear()
        self._queue.clear()

    # ------------------------------------------------------------------ an operator's hand

    def die(self, box_id: str, exit_code: int = 137) -> None:
        """Let a container's program end."""
        box = self.boxes.get(box_id)
        if box is not None and box.running:
            self.died(box, exit_code, by_hand=True)

    def pause(self, box_id: str) -> None:
        """Stop a container's program from doing anything."""
        box = self.boxes.get(box_id)
        if box is not None and box.running:
            box.paused = True
            self.events.tell("pause", box)

    def vanish(self, box_id: str) -> None:
        """Remove a container, with its volumes."""
        box = self.boxes.get(box_id)
        if box is not None:
            if box.running:
                self.died(box, 137, by_hand=True)
            self.gone(box, "vanished")

    def restart_box(self, box_id: str) -> None:
        """Restart a container."""
        box = self.boxes.get(box_id)
        if box is not None and box.running:
            self.died(box, 0, by_hand=True)
            self._later((0.1, 0.3), lambda: self.started(box) if box.status == "exited" else None)

    def place(self, name: str, labels: Mapping[str, str], *, running: bool = True) -> str:
        """Make a container that nobody of ours asked for."""
        box = Box(f"{self.rng.getrandbits(256):064x}", name, dict(labels), self.wall(), image="somebody's")
        self.put(box)
        if running:
            self.started(box)
        return box.box_id
