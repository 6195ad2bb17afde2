"""Local process groups as a runtime: no engine, for development and for the demo.

What this is: the protocol's verbs over a directory (`process_store.py`) and processes (`process_group.py`); a
container's image and limits mean nothing here. What it is not: isolation of any kind. The invariant: all that is known
of a container is on disk and in its processes' environment, so that a program killed at any moment, started again,
finds and ends what it left.
"""

from __future__ import annotations

import platform
import secrets
import socket
import time
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
from anyio import to_thread

from reactor.errors import SpawnFailed, Unavailable
from reactor.runtime import process_group
from reactor.runtime.labels import LABEL
from reactor.runtime.process_events import watch
from reactor.runtime.process_host import (
    LOCAL,
    basic_environment,
    default_state_dir,
    engine_id,
    free_ports,
    last_line,
    limit_log,
    port_key,
)
from reactor.runtime.process_store import Leader, Spec, Store
from reactor.runtime.protocol import (
    Container,
    ContainerGone,
    ContainerSpec,
    ContainerState,
    Engine,
    EngineEvent,
    Labels,
    Removal,
    Route,
)
from reactor.session import Address, ContainerId, Deployment, Endpoint, HostName, SessionId
from reactor.templates import ReadyKind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
    from datetime import timedelta
    from pathlib import Path

    from reactor.templates import Template

THREADS: Final = 8
KILL_LIMIT: Final = 15.0
"""Seconds that killed processes may take to go; one that hangs in the kernel makes the outcome unknown."""
_T = TypeVar("_T")


class ProcessRuntime:
    """Containers as process groups of this machine and user. Many programs may share one state directory."""

    def __init__(self, state_dir: Path | None = None) -> None:
        """Use (and make, mode 0700) a state directory; default `session-reactor` in the user's state directory.

        Raises `PermissionRefused` if it cannot be used, or others could change what is in it.
        """
        self._store = Store(state_dir or default_state_dir())
        self._children: dict[str, process_group.Child] = {}
        self._limiter = anyio.CapacityLimiter(THREADS)

    @property
    def name(self) -> str:
        """`process`."""
        return "process"

    async def engine(self) -> Engine:
        """Return this machine and state directory as an engine."""
        return Engine(
            name=HostName(socket.gethostname()),
            engine_id=engine_id(self._store.root),
            root=str(self._store.root),
            version=platform.release(),
            runtime=self.name,
        )

    async def create(self, spec: ContainerSpec) -> ContainerId:
        """Write a container down without starting it. Raises `NameTaken` or `SpawnFailed`."""
        if not spec.template.command:
            raise SpawnFailed(f"template {spec.template.name!r} has no command: the process runtime runs it")
        return await self._thread(partial(self._create, spec))

    async def start(self, container_id: ContainerId) -> None:
        """Start its program; started before is fine. Raises `ContainerGone` or `SpawnFailed`."""
        async with self._store.locked(container_id) as there:
            spec = self._store.find(container_id) if there else None
            if spec is None:
                raise ContainerGone
            await self._thread(partial(self._start, spec))

    async def rename(self, container_id: ContainerId, name: str) -> None:
        """Refuse: only a pool asks for it, and there is none here."""
        raise Unavailable(f"the process runtime keeps no pool: {container_id[:12]} keeps its name, not {name}")

    async def image_id(self, image: str) -> None:
        """Return nothing: there are no images here."""

    async def inspect(self, id_or_name: str) -> Container | None:
        """Return the container, or None if there is none."""
        spec = self._store.find(id_or_name)
        return None if spec is None else await self._thread(partial(self._look, spec))

    async def containers(
        self, *, prefix: str, deployment: Deployment | None = None, session_id: SessionId | None = None
    ) -> list[Container]:
        """Return the containers with exactly these labels, running or not."""
        asked = {"prefix": prefix, "deployment": deployment, "session": session_id}
        wanted = {f"{LABEL}{key}": value for key, value in asked.items() if value is not None}
        return await self._thread(partial(self._list, wanted))

    async def remove(self, container_id: ContainerId, *, grace: timedelta) -> Removal:
        """End its processes within `grace` (SIGTERM, then SIGKILL), then free its name and delete its files."""
        async with self._store.locked(container_id) as there:
            if not there:
                return Removal.ABSENT
            leader = await self._thread(partial(self._leader, container_id))
            members = process_group.Members(container_id, leader)
            if leader is not None and grace:
                process_group.terminate(leader)
                with anyio.move_on_after(grace.total_seconds()):
                    await self._ended(container_id, leader)
            await self._kill(container_id, members)
            self._children.pop(container_id, None)
            await self._thread(partial(self._store.forget, container_id))
            return Removal.REMOVED

    async def pull(self, image: str) -> None:
        """Do nothing: there are no images here."""

    @asynccontextmanager
    async def events(self, *, prefix: str, deployment: Deployment) -> AsyncGenerator[AsyncIterator[EngineEvent]]:
        """Listen to starts and deaths, looking four times a second."""
        look = partial(self.containers, prefix=prefix, deployment=deployment)
        async with aclosing(watch(await look(), look)) as found:
            yield found

    def problems(self, template: Template) -> str | None:
        """Return why this template cannot run here, or None."""
        ready = template.ready
        if template.pool:
            return "pool: the process runtime keeps none; leave it out"
        if not template.command:
            return "command is missing: with the process runtime it is the program and its arguments"
        if ready.kind is ReadyKind.HEALTHY:
            return 'ready = "healthy" needs a container engine; the process runtime knows "started", tcp and http'
        if ready.port is not None and f"{ready.port}/tcp" not in map(port_key, template.ports):
            return f'ready = {ready.kind.value}:{ready.port} cannot be probed: add "{ready.port}/tcp" to ports'
        return None

    def routes(self, container: Container, port: int) -> tuple[Route, ...]:
        """Return the local port behind a TCP port of the container."""
        found = None if container.address is None else container.address.ports.get(f"{port}/tcp")
        return () if found is None else (Route(endpoint=found, relayed=False),)

    async def last_output(self, container_id: ContainerId) -> str:
        """Return the last line that its program wrote, or nothing."""
        return await self._thread(partial(last_line, self._store.directory(container_id) / "log"))

    async def aclose(self) -> None:
        """Let go; the processes stay. Twice is fine."""
        for container_id in list(self._children):
            self._reap(container_id)
        self._children.clear()

    async def _thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await to_thread.run_sync(work, limiter=self._limiter)
        except OSError as error:
            raise Unavailable(f"the process runtime cannot use {self._store.root}: {error}") from error

    def _create(self, spec: ContainerSpec) -> ContainerId:
        container_id = secrets.token_hex(32)
        used = {port for other in self._store.every() for port in other.ports.values()}
        ports = free_ports(spec.template.ports, used)
        environment = {
            **basic_environment(self._store.directory(container_id) / "work", ports),
            **spec.template.environment,
            **spec.environment,
            process_group.MARKER: container_id,
        }
        self._store.add(
            Spec(
                container_id=container_id,
                name=spec.name,
                labels=spec.labels.as_dict(),
                command=list(spec.template.command),
                environment=environment,
                ports=ports,
                created_at=time.time(),
            )
        )
        return ContainerId(container_id)

    def _start(self, spec: Spec) -> None:
        if self._leader(spec.container_id) is not None:
            return
        home = self._store.directory(spec.container_id)
        self._store.mark_started(spec.container_id, started=True)
        try:
            child = process_group.launch(
                spec.command, environment=spec.environment, home=home / "work", log=home / "log"
            )
        except (SpawnFailed, Unavailable):
            self._store.mark_started(spec.container_id, started=False)
            raise
        self._children[spec.container_id] = child
        leader = process_group.identify(child.pid)  # there even if it has ended: nobody else can wait for it
        if leader is not None:
            self._store.note_leader(spec.container_id, leader)

    def _leader(self, container_id: str) -> Leader | None:
        """Return the first process, also where the program that started it was killed before it could note it."""
        leader = self._store.leader(container_id)
        if leader is None and self._store.was_started(container_id):
            leader = process_group.find_leader(container_id)
            if leader is not None:
                self._store.note_leader(container_id, leader)
        return leader

    def _look(self, spec: Spec) -> Container:
        leader = self._leader(spec.container_id)
        state = ContainerState.CREATED
        if leader is not None:
            alive = self._is_alive(spec.container_id, leader)
            state = ContainerState.RUNNING if alive else ContainerState.DEAD
        code = self._store.exit_code(spec.container_id) if state is ContainerState.DEAD else None
        limit_log(self._store.directory(spec.container_id) / "log")
        ports = {name: Endpoint(host=LOCAL, port=port) for name, port in spec.ports.items()}
        address = Address(ip=LOCAL, ports=ports) if state is ContainerState.RUNNING else None
        return Container(
            container_id=ContainerId(spec.container_id),
            name=spec.name,
            labels=Labels.parse(spec.labels),
            state=state,
            created_at=datetime.fromtimestamp(spec.created_at, UTC),
            address=address,
            exit_code=code,
            detail="" if state is not ContainerState.DEAD else "ended" if code is None else f"exit code {code}",
        )

    def _list(self, wanted: dict[str, str]) -> list[Container]:
        self._store.sweep()
        specs = [
            spec for spec in self._store.every() if all(spec.labels.get(key) == value for key, value in wanted.items())
        ]
        return [replace(self._look(spec), address=None, exit_code=None) for spec in specs]

    def _is_alive(self, container_id: str, leader: Leader) -> bool:
        if process_group.is_alive(leader):
            return True
        self._reap(container_id)
        return False

    def _reap(self, container_id: str) -> None:
        """Wait for a child of ours that has ended, and note how: a zombie looks alive to others."""
        child = self._children.get(container_id)
        returned = None if child is None else child.poll()
        if returned is not None:
            self._store.note_exit(container_id, process_group.exit_code(returned))
            self._children.pop(container_id, None)

    async def _ended(self, container_id: str, leader: Leader) -> None:
        for pause in _pauses():
            if not self._is_alive(container_id, leader):
                return
            await anyio.sleep(pause)

    async def _kill(self, container_id: str, members: process_group.Members) -> None:
        with anyio.move_on_after(KILL_LIMIT):
            for pause in _pauses():
                killed = await self._thread(members.kill)
                self._reap(container_id)
                if not killed:
                    return
                await anyio.sleep(pause)
        raise Unavailable(f"processes of container {container_id[:12]} do not end, killed as they are")


def _pauses() -> Generator[float]:
    """Yield how long to pause between two looks at processes that are to end: 5 ms at first, then up to 100 ms."""
    pause = 0.005
    while True:
        yield pause
        pause = min(pause * 2, 0.1)
