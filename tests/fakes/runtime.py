"""A runtime in memory: the same answers as an engine, and failures on request.

What this is: what flows are tested against, in microseconds and with every crash scripted. What it is not: a model of a
program; a container runs until told otherwise. It keeps this: each call first waits at its gate, then fails if it is to
fail before its effect, then has its effect, then fails if it is to fail after it.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio

from reactor.errors import ImageMissing, SpawnFailed, Unavailable
from reactor.runtime.protocol import (
    Container,
    ContainerGone,
    ContainerSpec,
    ContainerState,
    Engine,
    EngineEvent,
    Health,
    Labels,
    Member,
    NameTaken,
    Removal,
    Route,
)
from reactor.session import Address, ContainerId, Deployment, Endpoint, HostName, SessionId
from tests.fakes.script import Script

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from anyio.streams.memory import MemoryObjectSendStream

    from reactor.templates import Template

_EXIT = re.compile(r"exit (\d+)$")


@dataclass(slots=True)
class Held:
    """A container and what only its engine knows."""

    container: Container
    spec: ContainerSpec | None
    output: str = ""


class FakeRuntime(Script):
    """Give it to as many managers and reactors as share the engine. Attributes may be read and set by tests."""

    def __init__(self, *, host: str = "fake-host", images: set[str] | None = None) -> None:
        """Begin with no container; `images` None means that every image is there."""
        super().__init__()
        self.identity = Engine(name=HostName(host), engine_id=f"fake-{host}", root="/", version="1", runtime="fake")
        self.images = images
        self.registry: set[str] = set()
        """Images that a pull can fetch."""
        self.held: dict[ContainerId, Held] = {}
        self.created: Counter[SessionId] = Counter()
        self.started: Counter[SessionId] = Counter()
        self.removed: Counter[SessionId] = Counter()
        self.problem: str | None = None
        self.health = Health.NONE
        self._listeners: dict[MemoryObjectSendStream[EngineEvent], tuple[str, Deployment]] = {}

    # What tests do to it.

    def put(self, spec: ContainerSpec, *, running: bool = True, age: timedelta = timedelta(0)) -> ContainerId:
        """Place a container as if somebody else had made it; counts and calls do not see it."""
        container_id = self._make(spec, created_at=datetime.now(UTC) - age)
        if running:
            self._change(container_id, state=ContainerState.RUNNING, address=self._address(spec))
        return container_id

    def die(self, container_id: ContainerId, *, exit_code: int = 137, output: str = "") -> None:
        """End a container's program, as a crash or `docker kill` does."""
        detail = f"exit code {exit_code}"
        self._change(container_id, state=ContainerState.DEAD, exit_code=exit_code, address=None, detail=detail)
        self.held[container_id].output = output
        self._tell(self.held[container_id].container, started=False)

    def vanish(self, container_id: ContainerId) -> None:
        """Remove a container behind everybody's back, as `docker rm -f` does."""
        gone = self.held.pop(container_id)
        if gone.container.running:
            self._tell(gone.container, started=False)

    def break_events(self) -> None:
        """Cut all event streams."""
        for listener in list(self._listeners):
            listener.close()
        self._listeners.clear()

    def running(self, session_id: SessionId | None = None) -> list[Container]:
        """Return the containers that run, without a call being counted."""
        found = [held.container for held in self.held.values() if held.container.running]
        return [one for one in found if session_id is None or (one.labels and one.labels.session == session_id)]

    # What the protocol asks for.

    @property
    def name(self) -> str:
        """`fake`."""
        return "fake"

    async def engine(self) -> Engine:
        """Return the identity that a test may change."""
        await self.before("engine")
        return self.identity

    async def create(self, spec: ContainerSpec) -> ContainerId:
        """Make a container; the name is the mutex."""
        await self.before("create", spec.name)
        holder = self._by_name(spec.name)
        if holder is not None:
            raise NameTaken(holder.container_id)
        if self.images is not None and spec.template.image not in self.images:
            raise ImageMissing(f"image {spec.template.image!r} is not there")
        container_id = self._make(spec, created_at=datetime.now(UTC))
        if isinstance(spec.labels, Labels):
            self.created[spec.labels.session] += 1
        await self.after("create")
        return container_id

    async def start(self, container_id: ContainerId) -> None:
        """Start it; a command that ends in `exit N` is over at once, one below `/no/such` cannot start."""
        await self.before("start", container_id)
        held = self.held.get(container_id)
        if held is None:
            raise ContainerGone
        if held.container.state is ContainerState.CREATED:
            command = () if held.spec is None else held.spec.template.command
            if command and command[0].startswith("/no/such"):
                raise SpawnFailed(f"command {command[0]!r} does not start: No such file or directory")
            self._start(held)
            over = _EXIT.search(command[-1]) if command else None
            if over:
                self.die(container_id, exit_code=int(over[1]), output="last words")
        await self.after("start")

    async def rename(self, container_id: ContainerId, name: str) -> None:
        """Give it another name; that is the mutex too."""
        await self.before("rename", container_id)
        if container_id not in self.held:
            raise ContainerGone
        holder = self._by_name(name)
        if holder is not None and holder.container_id != container_id:
            raise NameTaken(holder.container_id)
        self._change(container_id, name=name)
        await self.after("rename")

    async def image_id(self, image: str) -> str | None:
        """Return the name: nobody builds another image under it."""
        return image if self.images is None or image in self.images else None

    async def inspect(self, id_or_name: str) -> Container | None:
        """Return the container by id or name."""
        await self.before("inspect", id_or_name)
        held = self.held.get(ContainerId(id_or_name))
        found = self._by_name(id_or_name) if held is None else held.container
        await self.after("inspect")
        return found

    async def containers(
        self, *, prefix: str, deployment: Deployment | None = None, session_id: SessionId | None = None
    ) -> list[Container]:
        """Return the containers with exactly these labels."""
        await self.before("containers")
        found = [
            replace(held.container, address=None, exit_code=None, health=Health.NONE)
            for held in self.held.values()
            if _matches(held.container.labels or held.container.member, prefix, deployment, session_id)
        ]
        await self.after("containers")
        return found

    async def remove(self, container_id: ContainerId, *, grace: timedelta) -> Removal:
        """Remove it; who comes second finds nothing. Like an engine it takes a name too: callers must not use that."""
        del grace
        await self.before("remove", container_id)
        named = self._by_name(container_id)
        held = self.held.pop(container_id if named is None else named.container_id, None)
        if held is None:
            return Removal.ABSENT
        if held.container.running:
            self._tell(held.container, started=False)
        if held.container.labels is not None:
            self.removed[held.container.labels.session] += 1
        await self.after("remove")
        return Removal.REMOVED

    async def pull(self, image: str) -> None:
        """Fetch an image from `registry`."""
        await self.before("pull", image)
        if image not in self.registry:
            raise ImageMissing(f"image {image!r} cannot be pulled")
        if self.images is not None:
            self.images.add(image)
        await self.after("pull")

    @asynccontextmanager
    async def events(self, *, prefix: str, deployment: Deployment) -> AsyncGenerator[AsyncIterator[EngineEvent]]:
        """Tell starts and deaths until `break_events`."""
        await self.before("events")
        sender, receiver = anyio.create_memory_object_stream[EngineEvent](1000)
        self._listeners[sender] = (prefix, deployment)
        async with receiver:
            try:
                yield receiver
            finally:
                self._listeners.pop(sender, None)
                sender.close()

    def problems(self, template: Template) -> str | None:
        """Return what a test said."""
        del template
        return self.problem

    def routes(self, container: Container, port: int) -> tuple[Route, ...]:
        """Return the local port of the same number: a test may listen there."""
        found = None if container.address is None else container.address.ports.get(f"{port}/tcp")
        return () if found is None else (Route(endpoint=found, relayed=False),)

    async def last_output(self, container_id: ContainerId) -> str:
        """Return what `die` was told."""
        await self.before("last_output", container_id)
        return self.held[container_id].output if container_id in self.held else ""

    async def aclose(self) -> None:
        """Do nothing: tests share it."""

    # How it does that.

    def _make(self, spec: ContainerSpec, *, created_at: datetime) -> ContainerId:
        if self._by_name(spec.name) is not None:
            raise Unavailable(f"a test placed two containers of the name {spec.name}")
        container_id = ContainerId(secrets.token_hex(32))
        container = Container(
            container_id=container_id,
            name=spec.name,
            labels=spec.labels if isinstance(spec.labels, Labels) else None,
            member=spec.labels if isinstance(spec.labels, Member) else None,
            image_id=spec.template.image,
            state=ContainerState.CREATED,
            created_at=created_at,
        )
        self.held[container_id] = Held(container, spec)
        return container_id

    def _start(self, held: Held) -> None:
        found = held.container
        address = None if held.spec is None else self._address(held.spec)
        self._change(found.container_id, state=ContainerState.RUNNING, address=address, health=self.health)
        if found.labels is not None:
            self.started[found.labels.session] += 1
        self._tell(found, started=True)

    def _address(self, spec: ContainerSpec) -> Address:
        ports = {port: Endpoint(host="127.0.0.1", port=int(port.partition("/")[0])) for port in spec.template.ports}
        return Address(ip="127.0.0.1", ports=ports)

    def _change(self, container_id: ContainerId, **changes: object) -> None:
        held = self.held[container_id]
        held.container = replace(held.container, **changes)

    def _by_name(self, name: str) -> Container | None:
        return next((held.container for held in self.held.values() if held.container.name == name), None)

    def _tell(self, container: Container, *, started: bool) -> None:
        labels, member = container.labels, container.member
        event = EngineEvent(
            container_id=container.container_id,
            session_id=None if labels is None else labels.session,
            started=started,
            member=None if member is None else member.token,
        )
        for listener, (prefix, deployment) in list(self._listeners.items()):
            if _matches(labels or member, prefix, deployment, None):
                listener.send_nowait(event)


def _matches(
    labels: Labels | Member | None, prefix: str, deployment: Deployment | None, session_id: SessionId | None
) -> bool:
    session = labels.session if isinstance(labels, Labels) else None
    return (
        labels is not None
        and labels.prefix == prefix
        and deployment in (None, labels.deployment)
        and session_id in (None, session)
    )
