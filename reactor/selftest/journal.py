"""What this run asked of the engine, written down before it is asked: the proof that nobody else's container was meant.

What this is: a runtime in front of a runtime, and the file that it writes. What it is not: a filter; every request is
passed on as it is. The invariant: the line is in the file before the engine hears of it, so that a `kill -9` of the
writer hides nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from reactor.session import ContainerId, Deployment, SessionId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from datetime import timedelta
    from pathlib import Path

    from reactor.runtime.protocol import Container, ContainerSpec, Engine, EngineEvent, Removal, Route, Runtime
    from reactor.templates import Template

MADE: Final = "made"


class Journaled:
    """A runtime that writes down which containers it was told to change. `aclose` closes the inner one too."""

    def __init__(self, inner: Runtime, path: Path) -> None:
        """Take the runtime, and a file that others may write at the same time."""
        self._inner = inner
        self._path = path

    def _note(self, verb: str, container_id: ContainerId) -> None:
        # One small append is one write: processes that share the file do not mix their lines.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{verb} {container_id}\n".encode())
        finally:
            os.close(descriptor)

    @property
    def name(self) -> str:
        """As the inner one's."""
        return self._inner.name

    async def engine(self) -> Engine:
        """Pass it on."""
        return await self._inner.engine()

    async def create(self, spec: ContainerSpec) -> ContainerId:
        """Pass it on, and note what was made."""
        container_id = await self._inner.create(spec)
        self._note(MADE, container_id)
        return container_id

    async def start(self, container_id: ContainerId) -> None:
        """Note it, and pass it on."""
        self._note("start", container_id)
        await self._inner.start(container_id)

    async def rename(self, container_id: ContainerId, name: str) -> None:
        """Note it, and pass it on."""
        self._note("rename", container_id)
        await self._inner.rename(container_id, name)

    async def image_id(self, image: str) -> str | None:
        """Pass it on."""
        return await self._inner.image_id(image)

    async def inspect(self, id_or_name: str) -> Container | None:
        """Pass it on."""
        return await self._inner.inspect(id_or_name)

    async def containers(
        self, *, prefix: str, deployment: Deployment | None = None, session_id: SessionId | None = None
    ) -> list[Container]:
        """Pass it on."""
        return await self._inner.containers(prefix=prefix, deployment=deployment, session_id=session_id)

    async def remove(self, container_id: ContainerId, *, grace: timedelta) -> Removal:
        """Note it, and pass it on."""
        self._note("remove", container_id)
        return await self._inner.remove(container_id, grace=grace)

    async def pull(self, image: str) -> None:
        """Pass it on."""
        await self._inner.pull(image)

    def events(self, *, prefix: str, deployment: Deployment) -> AbstractAsyncContextManager[AsyncIterator[EngineEvent]]:
        """Pass it on."""
        return self._inner.events(prefix=prefix, deployment=deployment)

    def problems(self, template: Template) -> str | None:
        """Pass it on."""
        return self._inner.problems(template)

    def routes(self, container: Container, port: int) -> tuple[Route, ...]:
        """Pass it on."""
        return self._inner.routes(container, port)

    async def last_output(self, container_id: ContainerId) -> str:
        """Pass it on."""
        return await self._inner.last_output(container_id)

    async def aclose(self) -> None:
        """Pass it on."""
        await self._inner.aclose()


def read_journal(path: Path) -> tuple[frozenset[ContainerId], frozenset[ContainerId]]:
    """Return which containers were made, and which the engine was asked to start or remove."""
    made: set[ContainerId] = set()
    asked: set[ContainerId] = set()
    for line in path.read_text().splitlines() if path.exists() else ():
        verb, _, container_id = line.partition(" ")
        (made if verb == MADE else asked).add(ContainerId(container_id))
    return frozenset(made), frozenset(asked)
