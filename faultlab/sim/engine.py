"""A simulated Docker engine: requests take time, and what they do goes on when nobody waits for it any more.

What this is: containers, the name as a mutex, the states between asked and done (being created, being removed), events
from when they happen. What it is not: the client (`docker`). The invariant: what a request does to a container does not
depend on the one who sent it being there to hear of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from faultlab.sim.boxes import Box, Json, Listener, Pace, Reply, event_has, has_labels, missing
from faultlab.sim.wire import NOWHERE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping
    from random import Random


@dataclass(slots=True)
class SimEngine:
    """One engine. Observers hang on `on_change(what, box)`: created, started, died, killed and vanished
    (by nobody of ours), removed.
    """

    host: str
    loop: asyncio.AbstractEventLoop
    rng: Random
    wall: Callable[[], float]
    pace: Pace = field(default_factory=Pace)
    boxes: dict[str, Box] = field(default_factory=dict[str, Box])
    names: dict[str, str] = field(default_factory=dict[str, str])
    """Taken names: of containers, and of those being created."""
    images: set[str] | None = None
    start_error: str = ""
    ignore_term: bool = False
    on_change: Callable[[str, Box], None] = lambda _what, _box: None
    listeners: list[Listener] = field(default_factory=list[Listener])
    history: list[tuple[float, Json]] = field(default_factory=list[tuple[float, Json]])
    incarnation: int = 0
    frozen: bool = False
    down: bool = False
    mute: bool = False
    """Event streams stand but say nothing."""
    writes: int = 0
    _queue: list[Callable[[], None]] = field(default_factory=list["Callable[[], None]"])

    # ------------------------------------------------------------------ what befalls it

    def crash(self, *, containers_live: bool) -> None:
        """End the daemon at once: what was under way stays half done, streams break."""
        self.down = True
        self.incarnation += 1
        self._queue.clear()
        self.names = {box.name: box.box_id for box in self.boxes.values()}
        self.break_streams()
        for box in self.boxes.values():
            if box.status == "removing":
                box.status = "dead"
            if not containers_live and box.running:
                self._died(box, 255, by_hand=True)

    def come_back(self) -> None:
        """Start the daemon again."""
        self.down = False

    def break_streams(self) -> None:
        """Cut all event streams."""
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            listener.end()

    def forget(self) -> None:
        """Let go of who waits, at the end."""
        self.listeners.clear()
        self._queue.clear()

    def thaw(self) -> None:
        """Let a frozen daemon go on with what was asked meanwhile."""
        self.frozen = False
        queue, self._queue = self._queue, []
        for act in queue:
            act()

    def die(self, box_id: str, exit_code: int = 137) -> None:
        """Let a container's program end."""
        box = self.boxes.get(box_id)
        if box is not None and box.running:
            self._died(box, exit_code, by_hand=True)

    def vanish(self, box_id: str) -> None:
        """Remove a container by an operator's hand."""
        box = self.boxes.get(box_id)
        if box is not None:
            if box.running:
                self._died(box, 137, by_hand=True)
            self._gone(box, "vanished")

    def restart_box(self, box_id: str) -> None:
        """Restart a container by an operator's hand."""
        box = self.boxes.get(box_id)
        if box is not None and box.running:
            self._died(box, 0, by_hand=True)
            self._later((0.1, 0.3), lambda: self._started(box) if box.status == "exited" else None)

    # ------------------------------------------------------------------ requests

    def request(  # noqa: C901 (a table of requests)
        self, method: str, path: str, params: Mapping[str, str], body: Any, answer: Callable[[Reply], None]
    ) -> None:
        """Take a request; it is answered some time later, if the daemon lives so long."""
        if self.frozen:
            self._queue.append(lambda: self.request(method, path, params, body, answer))
            return
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", ["info"]:
                answer(Reply(200, {"Name": self.host, "ID": f"sim-{self.host}", "DockerRootDir": "/var/lib/docker",
                                   "ServerVersion": "20.10.24"}))  # fmt: skip
            case "GET", ["_ping"]:
                answer(Reply(200, b"OK"))
            case "POST", ["containers", "create"]:
                self._create(params["name"], body, answer)
            case "GET", ["containers", "json"]:
                wanted = json.loads(params["filters"])["label"]
                answer(Reply(200, [self._listed(box) for box in self.boxes.values() if has_labels(box, wanted)]))
            case "GET", ["containers", name, "json"]:
                box = self.find(name)
                answer(missing(name) if box is None else Reply(200, self._inspected(box)))
            case "POST", ["containers", name, "start"]:
                self._start(name, answer)
            case "POST", ["containers", name, "kill"]:
                self._kill(name, answer)
            case "DELETE", ["containers", name]:
                self._remove(name, answer)
            case "GET", ["events"]:
                answer(Reply(200, self._remembered(params)))
            case "GET", ["containers", _, "logs"]:
                answer(Reply(200, b""))
            case _:
                answer(Reply(404, {"message": "page not found"}))

    def find(self, name: str) -> Box | None:
        """Return a container by id or name."""
        return self.boxes.get(name) or self.boxes.get(self.names.get(name, ""))

    def _later(self, pace: tuple[float, float], act: Callable[[], None]) -> None:
        """Do a part of a request later, unless the daemon was killed meanwhile; a frozen one does it at its thaw."""
        incarnation = self.incarnation

        def now() -> None:
            if self.incarnation != incarnation:
                return
            if self.frozen:
                self._queue.append(act)
            else:
                act()

        self.loop.call_later(self.rng.uniform(*pace), now, context=NOWHERE)

    def _create(self, name: str, body: Any, answer: Callable[[Reply], None]) -> None:
        if name in self.names:
            text = f'Conflict. The container name "/{name}" is already in use by container "{self.names[name]}".'
            answer(Reply(409, {"message": text}))
            return
        if self.images is not None and body["Image"] not in self.images:
            answer(Reply(404, {"message": f"No such image: {body['Image']}"}))
            return
        box_id = f"{self.rng.getrandbits(256):064x}"
        self.names[name] = box_id

        def done() -> None:
            box = Box(box_id, name, dict(body["Labels"]), self.wall(), ignores_term=self.ignore_term)
            self.boxes[box_id] = box
            self.writes += 1
            self.on_change("created", box)
            answer(Reply(201, {"Id": box_id}))

        self._later(self.pace.create, done)

    def _start(self, name: str, answer: Callable[[Reply], None]) -> None:
        def done() -> None:
            box = self.find(name)
            if box is None:
                answer(missing(name))
            elif box.status in ("removing", "dead"):
                answer(Reply(409, {"message": "container is marked for removal and cannot be started"}))
            elif box.running:
                answer(Reply(304))
            elif self.start_error:
                box.status, box.exit_code = "created", 127
                answer(Reply(400, {"message": self.start_error}))
            else:
                self._started(box)
                answer(Reply(204))

        if self.find(name) is None:
            answer(missing(name))
        else:
            self._later(self.pace.start, done)

    def _kill(self, name: str, answer: Callable[[Reply], None]) -> None:
        box = self.find(name)
        if box is None:
            answer(missing(name))
        elif not box.running:
            answer(Reply(409, {"message": f"Container {name} is not running"}))
        else:
            if not (box.ignores_term or box.paused):
                self._later(self.pace.stop, lambda: self._died(box, 143) if box.running else None)
            answer(Reply(204))

    def _remove(self, name: str, answer: Callable[[Reply], None]) -> None:
        box = self.find(name)
        if box is None:
            answer(missing(name))
            return
        if box.status == "removing":
            answer(Reply(409, {"message": f"removal of container {name} is already in progress"}))
            return
        if box.running:
            self._died(box, 137)
        if box.stuck:
            box.status = "dead"
            answer(Reply(500, {"message": f"container {name}: driver failed to remove root filesystem"}))
            return
        box.status = "removing"

        def done() -> None:
            if box.hangs:
                self._later((1, 1), done)
            elif self.boxes.get(box.box_id) is box:
                self._gone(box, "removed")
                answer(Reply(204))
            else:
                answer(missing(name))

        self._later(self.pace.remove, done)

    # ------------------------------------------------------------------ what happens to a container

    def _started(self, box: Box) -> None:
        box.status = "running"
        self.writes += 1
        self.on_change("started", box)
        self._tell("start", box)

    def _died(self, box: Box, exit_code: int, *, by_hand: bool = False) -> None:
        box.status, box.exit_code = "exited", exit_code
        self.on_change("killed" if by_hand else "died", box)
        self._tell("die", box)

    def _gone(self, box: Box, why: str) -> None:
        self.boxes.pop(box.box_id, None)
        self.names.pop(box.name, None)
        self.writes += 1
        self.on_change(why, box)

    def _tell(self, action: str, box: Box) -> None:
        event: Json = {
            "Action": action, "Actor": {"ID": box.box_id, "Attributes": dict(box.labels)},
            "timeNano": int(self.wall() * 1e9),
        }  # fmt: skip
        self.history.append((self.wall(), event))
        del self.history[:-256]
        if not self.mute and not self.frozen:
            for listener in list(self.listeners):
                if has_labels(box, listener.wanted):
                    listener.tell(event)

    def listen(self, params: Mapping[str, str], tell: Callable[[Json], None], end: Callable[[], None]) -> Listener:
        """Open an event stream, beginning with what happened since the moment that was named."""
        listener = Listener(json.loads(params["filters"])["label"], tell, end)
        if "since" in params:
            for event in self._remembered(params):
                tell(event)
        self.listeners.append(listener)
        return listener

    def _remembered(self, params: Mapping[str, str]) -> list[Json]:
        wanted: list[str] = json.loads(params["filters"])["label"]
        since, until = float(params["since"]), float(params.get("until", "inf"))
        return [event for at, event in self.history if since <= at <= until and event_has(event, wanted)]

    def _listed(self, box: Box) -> Json:
        state = "running" if box.shown_running else box.status
        return {"Id": box.box_id, "Names": [f"/{box.name}"], "Labels": dict(box.labels), "State": state,
                "Created": int(box.created)}  # fmt: skip

    def _inspected(self, box: Box) -> Json:
        state: Json = {"Status": "paused" if box.running and box.paused else box.status, "ExitCode": box.exit_code}
        return {
            "Id": box.box_id, "Name": f"/{box.name}", "Config": {"Labels": dict(box.labels), "StopSignal": None},
            "Created": datetime.fromtimestamp(box.created, UTC).isoformat(), "State": state,
            "NetworkSettings": {"Networks": {}, "Ports": {}},
        }  # fmt: skip
