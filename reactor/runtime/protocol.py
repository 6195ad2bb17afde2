"""The seam to what runs: one protocol, kept by the Docker engine, by local process groups, and by the tests' fake.

What this is: the verbs that the flows use, and what each failure means. What it is not: policy; a runtime never reads
Redis and never decides that something should go. The invariant: only `None` from `inspect` means "gone"; every doubt
(timeout, 500, cut connection) is `Unavailable`, which means unknown, and unknown never destroys.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from reactor.runtime.labels import Labels, Member
from reactor.session import Address, ContainerId, Deployment, Endpoint, HostName, SessionId, Token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reactor.templates import Template


class ContainerState(StrEnum):
    """What the engine says of a container, reduced to what decisions need."""

    CREATED = "created"
    RUNNING = "running"
    """Also paused and restarting: it holds a process."""
    DEAD = "dead"
    """Exited, dead, or being removed: no process, but the container (and its name) is still there."""


class Health(StrEnum):
    """The engine's own health check of a container."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container as the engine described it at the moment of the answer."""

    container_id: ContainerId
    name: str
    labels: Labels | None
    state: ContainerState
    created_at: datetime
    address: Address | None = None
    health: Health = Health.NONE
    exit_code: int | None = None
    detail: str = ""
    """Why it does not run, in one line, where the engine knows (OOM, exit code, start error)."""
    member: Member | None = None
    """What it says of itself if it was made for a pool; `labels` is None then."""
    image_id: str = ""
    """The image that it was made from, where the engine says so."""

    @property
    def running(self) -> bool:
        """Whether it holds a process now."""
        return self.state is ContainerState.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """All that `create` needs."""

    name: str
    labels: Labels | Member
    template: Template
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Added to the template's own (SESSION_ID)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Which engine this is: a host name is bound to exactly one `engine_id` and root directory."""

    name: HostName
    engine_id: str
    root: str
    version: str
    runtime: str


class NameTaken(Exception):
    """`create` or `rename` found the name in use (409); `holder` is who has it, None if it went meanwhile."""

    def __init__(self, holder: ContainerId | None) -> None:
        """Note the holder."""
        super().__init__("name taken")
        self.holder = holder


class ContainerGone(Exception):
    """`start` or `rename` met a 404: somebody removed the container."""


class Removal(StrEnum):
    """How a removal ended."""

    REMOVED = "removed"
    """This call made it go."""
    ABSENT = "absent"
    """It was already gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEvent:
    """A container of ours started or died; a hint, never a verdict."""

    container_id: ContainerId
    session_id: SessionId | None
    """None for a container of a pool: whose it is, stands in Redis, under `member`."""
    started: bool
    member: Token | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way from this process to a port of a container.

    A `relayed` one leads through a relay of the engine that accepts connections before the container does.
    """

    endpoint: Endpoint
    relayed: bool


class Runtime(Protocol):
    """What runs the containers of one engine. Methods may be called from many tasks at once.

    All may raise `Unavailable` (unknown outcome) or `PermissionRefused`. Cancelling one waits for the engine call in
    hand, bounded by its own timeout, so that no create or remove goes on behind the caller's back unnoticed.
    """

    @property
    def name(self) -> str:
        """`docker` or `process`."""
        ...

    async def engine(self) -> Engine:
        """Return which engine this is."""
        ...

    async def create(self, spec: ContainerSpec) -> ContainerId:
        """Make a container without starting it.

        Raises `NameTaken`, `ImageMissing`, or `SpawnFailed` for a request that can never work. After `Unavailable` the
        container may or may not exist or appear later: repeat, and `NameTaken` tells.
        """
        ...

    async def start(self, container_id: ContainerId) -> None:
        """Start it; already started is fine. Raises `ContainerGone` (404) or `SpawnFailed` (it cannot start)."""
        ...

    async def rename(self, container_id: ContainerId, name: str) -> None:
        """Give it another name; one that bears it already is fine. Raises `ContainerGone`, `NameTaken`."""
        ...

    async def inspect(self, id_or_name: str) -> Container | None:
        """Return the container, or None if the engine says that there is none (404)."""
        ...

    async def image_id(self, image: str) -> str | None:
        """Return which image a name stands for now; None where there is none."""
        ...

    async def containers(
        self, *, prefix: str, deployment: Deployment | None = None, session_id: SessionId | None = None
    ) -> list[Container]:
        """Return the containers with exactly these labels, running or not, in one request.

        The list may call a dead container running: inspect before believing it. Address, health and exit code are left
        out.
        """
        ...

    async def remove(self, container_id: ContainerId, *, grace: timedelta) -> Removal:
        """Stop it within `grace` (SIGTERM, then SIGKILL), then remove it by ID until the engine answers 404.

        `grace` zero kills at once. A removal in progress (409) is waited for. Raises `Unavailable` when the engine does
        not get it done within the call's own limit: the outcome is unknown, repeat it.
        """
        ...

    async def pull(self, image: str) -> None:
        """Fetch an image; raises `ImageMissing` when it cannot be had. Slow; never called under a lock."""
        ...

    def events(self, *, prefix: str, deployment: Deployment) -> AbstractAsyncContextManager[AsyncIterator[EngineEvent]]:
        """Listen to starts and deaths of our containers.

        The body runs once the stream stands, so that a list made inside it misses nothing after it. The iterator ends
        or raises `Unavailable` when the stream breaks: a gap, to be followed by a reconcile.
        """
        ...

    def problems(self, template: Template) -> str | None:
        """Return why this template cannot run here (for a `ConfigError`), or None."""
        ...

    def routes(self, container: Container, port: int) -> tuple[Route, ...]:
        """Return the ways from this process to a TCP port of an inspected container, best first; empty if none."""
        ...

    async def last_output(self, container_id: ContainerId) -> str:
        """Return the last line that the container wrote (at most 200 characters), or nothing; for a person only."""
        ...

    async def aclose(self) -> None:
        """Let go of connections; containers stay. Twice is fine."""
        ...
