"""A runtime that does nothing, at once: what the product itself costs is then all that is left to measure.

What this is: the protocol's verbs without an engine. What it is not: a model of an engine (the tests have one). The
invariant: an answer takes no longer than one turn of the loop, but for a start that was given a delay.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from reactor.runtime.protocol import Container, ContainerState, Engine, EngineEvent, Removal
from reactor.session import ContainerId, HostName

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from reactor.runtime.protocol import ContainerSpec, Route
    from reactor.session import Deployment, SessionId
    from reactor.templates import Template

HOST = "bench"


class NoopRuntime:
    """Every container that is asked for by ID runs until it is removed; the list is the population that was given."""

    def __init__(self, population: list[Container] | None = None, *, start_delay: float = 0.0) -> None:
        """Take what the list shows, and how long a start takes (seconds)."""
        self._population = {container.container_id: container for container in population or []}
        self._removed: set[str] = set()
        self._delay = start_delay
        self.removals = 0

    @property
    def name(self) -> str:
        """`noop`."""
        return "noop"

    async def engine(self) -> Engine:
        """Return the one engine that all processes of a bench share."""
        await checkpoint()
        return Engine(name=HostName(HOST), engine_id="noop", root="/", version="1", runtime=self.name)

    async def create(self, spec: ContainerSpec) -> ContainerId:
        """Make up an ID."""
        await checkpoint()
        del spec
        return ContainerId(secrets.token_hex(32))

    async def start(self, container_id: ContainerId) -> None:
        """Wait for the delay."""
        del container_id
        await anyio.sleep(self._delay)

    async def inspect(self, id_or_name: str) -> Container | None:
        """Return a running container, unless it was removed or this is a name."""
        await checkpoint()
        if id_or_name in self._removed or "-" in id_or_name:
            return None
        container_id = ContainerId(id_or_name)
        known = self._population.get(container_id)
        return known or Container(
            container_id=container_id,
            name="",
            labels=None,
            state=ContainerState.RUNNING,
            created_at=datetime.now(UTC),
        )

    async def containers(
        self, *, prefix: str, deployment: Deployment | None = None, session_id: SessionId | None = None
    ) -> list[Container]:
        """Return the population, as far as it was not removed."""
        await checkpoint()
        del prefix, deployment
        found = [c for c in self._population.values() if c.container_id not in self._removed]
        if session_id is None:
            return found
        return [c for c in found if c.labels is not None and c.labels.session == session_id]

    async def remove(self, container_id: ContainerId, *, grace: timedelta) -> Removal:
        """Note that it is gone."""
        await checkpoint()
        del grace
        if self._population:
            self._removed.add(container_id)
        self.removals += 1
        return Removal.REMOVED

    async def rename(self, container_id: ContainerId, name: str) -> None:
        """Do nothing: nothing here has a name."""

    async def image_id(self, image: str) -> str | None:
        """Know no image."""
        del image
        return None

    async def pull(self, image: str) -> None:
        """Do nothing."""

    @asynccontextmanager
    async def events(self, *, prefix: str, deployment: Deployment) -> AsyncGenerator[AsyncIterator[EngineEvent]]:
        """Tell nothing, for ever."""
        del prefix, deployment
        sender, receiver = anyio.create_memory_object_stream[EngineEvent](1)
        async with sender, receiver:
            yield receiver

    def problems(self, template: Template) -> str | None:
        """Find none."""
        del template
        return None

    def routes(self, container: Container, port: int) -> tuple[Route, ...]:
        """Know no way."""
        del container, port
        return ()

    async def last_output(self, container_id: ContainerId) -> str:
        """Return nothing."""
        del container_id
        return ""

    async def aclose(self) -> None:
        """Do nothing."""
