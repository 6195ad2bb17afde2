"""What a simulated engine does for whoever asks: requests take time, and go on when nobody waits for them any more.

What this is: containers, the name as a mutex, the states between asked and done (being created, being removed). What it
is not: what befalls the engine itself (`engine`). The invariant: what a request does to a container does not depend on
the one who sent it being there to hear of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from faultlab.sim.boxes import IDLE, Box, Json, Pace, Program, Reply, framed, inspected, listed, missing, refused
from faultlab.sim.engine_events import Events, parse_filters
from faultlab.sim.wire import NOWHERE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping
    from random import Random

    Answer = Callable[[Reply], None]


@dataclass(slots=True)
class Requests:
    """One engine's daemon. Observers hang on `on_change(what, box)`: created, started, died, killed
    and vanished (by nobody of ours), removed.
    """

    host: str
    loop: asyncio.AbstractEventLoop
    rng: Random
    wall: Callable[[], float]
    pace: Pace = field(default_factory=Pace)
    boxes: dict[str, Box] = field(default_factory=dict[str, Box])
    names: dict[str, str] = field(default_factory=dict[str, str])
    """Taken names: of containers, and of those being created."""
    volumes: dict[str, str] = field(default_factory=dict[str, str])
    """Anonymous ones, with whose they are: only a removal that says so takes them away."""
    images: set[str] | None = None
    programs: dict[tuple[str, ...], Program] = field(default_factory=dict[tuple[str, ...], Program])
    """What the commands do; one that is not named here does nothing for ever."""
    start_error: str = ""
    on_change: Callable[[str, Box], None] = lambda _what, _box: None
    incarnation: int = 0
    frozen: bool = False
    down: bool = False
    shims_hang: bool = False
    """What runs containers stands still: the daemon answers, but nothing is started, stopped or removed."""
    writes: int = 0
    events: Events = field(init=False)
    _queue: list[Callable[[], None]] = field(default_factory=list["Callable[[], None]"])

    def __post_init__(self) -> None:
        """Begin with nobody listening."""
        self.events = Events(self.wall)

    def request(  # noqa: C901, PLR0912 (a table of requests)
        self, method: str, path: str, params: Mapping[str, str], body: Any, answer: Answer
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
                answer(Reply(200, self._list(params)))
            case "GET", ["containers", name, "json"]:
                box = self.find(name)
                answer(missing(name) if box is None else Reply(200, inspected(box)))
            case "POST", ["containers", name, "start"]:
                self._start(name, answer)
            case "POST", ["containers", name, "kill"]:
                self._kill(name, params.get("signal", "SIGKILL"), answer)
            case "DELETE", ["containers", name]:
                self._remove(name, params, answer)
            case "GET", ["events"]:
                answer(Reply(200, self.events.remembered(params)))
            case "GET", ["containers", name, "logs"]:
                box = self.find(name)
                answer(missing(name) if box is None else Reply(200, framed(box.said)))
            case "GET", ["volumes"]:
                answer(Reply(200, {"Volumes": [{"Name": name} for name in self.volumes]}))
            case _:
                answer(refused(404, "page not found"))

    def find(self, name: str) -> Box | None:
        """Return a container by id or name."""
        return self.boxes.get(name) or self.boxes.get(self.names.get(name, ""))

    def _later(self, pace: tuple[float, float], act: Callable[[], None], *, shim: bool = True) -> None:
        """Do a part of a request later, unless the daemon was killed meanwhile; a frozen one does it at its thaw."""
        incarnation = self.incarnation

        def now() -> None:
            if self.incarnation != incarnation:
                return
            if self.frozen or (shim and self.shims_hang):
                self._queue.append(now)
            else:
                act()

        self.loop.call_later(self.rng.uniform(*pace), now, context=NOWHERE)

    # ------------------------------------------------------------------ the requests that change something

    def _create(self, name: str, body: Any, answer: Answer) -> None:
        if self.images is not None and body["Image"] not in self.images:
            answer(refused(404, f"No such image: {body['Image']}:latest"))
            return
        if name in self.names:
            text = f'Conflict. The container name "/{name}" is already in use by container "{self.names[name]}".'
            answer(refused(409, f"{text} You have to remove (or rename) that container to be able to reuse that name."))
            return
        box_id = f"{self.rng.getrandbits(256):064x}"
        self.names[name] = box_id

        def done() -> None:
            self.put(Box(box_id, name, dict(body.get("Labels") or {}), self.wall(), image=body["Image"],
                         program=self.programs.get(tuple(body.get("Cmd") or ()), IDLE),
                         volumes=tuple(f"{box_id[:16]}-{path}" for path in body.get("Volumes") or ())))  # fmt: skip
            answer(Reply(201, {"Id": box_id, "Warnings": []}))

        self._later(self.pace.create, done, shim=False)

    def put(self, box: Box) -> None:
        """Let a container be there; its name is taken from then on."""
        self.boxes[box.box_id] = box
        self.names[box.name] = box.box_id
        self.volumes.update(dict.fromkeys(box.volumes, box.box_id))
        self.writes += 1
        self.on_change("created", box)
        self.events.tell("create", box)

    def _start(self, name: str, answer: Answer) -> None:
        def done() -> None:
            box = self.find(name)
            if box is None:
                answer(missing(name))
            elif box.status in ("removing", "dead"):
                answer(refused(409, "container is marked for removal and cannot be started"))
            elif box.running:
                answer(Reply(304))
            elif self.start_error:
                box.status, box.exit_code = "created", 127
                answer(refused(400, self.start_error))
            else:
                self.started(box)
                answer(Reply(204))

        if self.find(name) is None:
            answer(missing(name))
        else:
            self._later(self.pace.start, done)

    def _kill(self, name: str, signal: str, answer: Answer) -> None:
        box = self.find(name)
        if box is None:
            answer(refused(404, f"Cannot kill container: {name}: No such container: {name}"))
            return
        if not box.running:
            answer(refused(409, f"Cannot kill container: {name}: Container {box.box_id} is not running"))
            return
        number = {"SIGTERM": 15, "SIGKILL": 9}[signal]

        def hit() -> None:
            self.events.tell("kill", box, signal=str(number))
            if box.paused:  # the stop signal would not be noticed: the engine lets it go on
                box.paused = False
                self.events.tell("unpause", box)
            if number == 9 or not (box.ignores_term or box.program.ignores_term):
                self._later(self.pace.stop, lambda: self.died(box, 128 + number) if box.running else None)

            answer(Reply(204))

        if self.shims_hang:
            self._later((0, 0), hit)
        else:
            hit()

    def _remove(self, name: str, params: Mapping[str, str], answer: Answer) -> None:
        box = self.find(name)
        if box is None:
            answer(missing(name))
            return
        if box.status == "removing":
            answer(refused(409, f"removal of container {name} is already in progress"))
            return
        if box.running and params.get("force") != "1":
            fix = "Stop the container before attempting removal or force remove"
            fix = f"Unpause and then {fix[0].lower()}{fix[1:]}" if box.paused else fix
            answer(refused(409, f"You cannot remove a {box.shown} container {box.box_id}. {fix}"))
            return
        if self.shims_hang and box.running:
            self._later((0, 0), lambda: self._remove(name, params, answer))
            return
        if box.running:
            self.events.tell("kill", box, signal="9")
            self.died(box, 137)
        if box.stuck:
            box.status = "dead"
            answer(refused(500, f"container {name}: driver failed to remove root filesystem"))
            return
        box.status = "removing"
        self._later(self.pace.remove, partial(self._removed, box, answer, volumes=params.get("v") == "1"))

    def _removed(self, box: Box, answer: Answer, *, volumes: bool) -> None:
        if box.hangs:
            self._later((1, 1), partial(self._removed, box, answer, volumes=volumes))
        elif self.boxes.get(box.box_id) is box:
            self.gone(box, "removed", volumes=volumes)
            answer(Reply(204))
        else:
            answer(missing(box.box_id))

    # ------------------------------------------------------------------ what happens to a container

    def started(self, box: Box) -> None:
        """Let its program run, for as long as it does."""
        box.status, box.paused, box.starts = "running", False, box.starts + 1
        self.writes += 1
        self.on_change("started", box)
        self.events.tell("start", box)
        start, program = box.starts, box.program
        if program.ends_after is not None:
            end = partial(self._ended_by_itself, box, start)
            self.loop.call_later(program.ends_after, end, context=NOWHERE)

    def _ended_by_itself(self, box: Box, start: int) -> None:
        if box.running and box.starts == start:
            box.said = box.program.says
            self.died(box, box.program.exit_code, by_hand=True)

    def died(self, box: Box, exit_code: int, *, by_hand: bool = False) -> None:
        """Let its program end."""
        box.status, box.exit_code, box.paused = "exited", exit_code, False
        self.on_change("killed" if by_hand else "died", box)
        self.events.tell("die", box, exitCode=str(exit_code))

    def gone(self, box: Box, why: str, *, volumes: bool = True) -> None:
        """Let it be there no more, and its name be free."""
        self.boxes.pop(box.box_id, None)
        if self.names.get(box.name) == box.box_id:
            del self.names[box.name]
        for volume in box.volumes if volumes else ():
            self.volumes.pop(volume, None)
        self.writes += 1
        self.on_change(why, box)
        self.events.tell("destroy", box)

    def _list(self, params: Mapping[str, str]) -> list[Json]:
        filters, everything = parse_filters(params), params.get("all") == "1"
        shown = [box for box in self.boxes.values() if everything or box.running or box.shown_running]
        return [listed(box) for box in shown if filters.match(box.labels)]
