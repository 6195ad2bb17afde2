"""What a world is made of: its plan, its hosts, the doors of its programs, and the settings that all share.

What this is: plain values. What it is not: what starts or ends any of it (`world`). The invariant: times are short, so
that a fault, its recovery and the proof of it fit into less than a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faultlab.children import python_environment

if TYPE_CHECKING:
    from faultlab.children import Child
    from faultlab.docker_proxy import DockerProxy
    from faultlab.proxy import FaultProxy
    from faultlab.servers import LabEngine

PREFIX: Final = "mcp"
JANITOR_S: Final = 3
STOP_GRACE_S: Final = 1
ACQUIRE_TIMEOUT_S: Final = 8
TTLS: Final = (3, 4, 5, 6)
IDLE_S: Final = 17
"""The TTL of sessions that are left alone."""
READY_LIMIT: Final = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to build."""

    seed: int
    runtime: str
    hosts: int
    reactors: int
    directory: Path
    clients: int = 3
    kinds: tuple[str, ...] = ()
    """All faults that the runtime can have."""


@dataclass(slots=True, kw_only=True)
class Host:
    """One host: an engine, or with the process runtime a state directory."""

    name: str
    engine: LabEngine | None
    state: Path


@dataclass(slots=True, kw_only=True)
class Door:
    """One program's two ways out, each with a fault that can be switched on."""

    host: Host
    name: str
    redis: FaultProxy
    docker: DockerProxy | None


@dataclass(slots=True, kw_only=True)
class Sidecar:
    """One reactor and its door; `child` is None while it is down."""

    name: str
    door: Door
    child: Child | None = None


def environment(plan: Plan, deployment: str, door: Door) -> dict[str, str]:
    """Return the settings of a program behind a door."""
    return python_environment(
        REDIS_URL=f"redis://127.0.0.1:{door.redis.port}",
        **({} if door.docker is None else {"DOCKER_HOST": door.docker.address}),
        REACTOR_RUNTIME=plan.runtime,
        REACTOR_PREFIX=PREFIX,
        REACTOR_DEPLOYMENT=deployment,
        REACTOR_HOST=door.host.name,
        REACTOR_CONFIG=str(plan.directory / door.host.name / "reactor.toml"),
        REACTOR_JANITOR_EVERY=f"{JANITOR_S}s",
        REACTOR_STOP_GRACE=f"{STOP_GRACE_S}s",
        REACTOR_ACQUIRE_TIMEOUT=f"{ACQUIRE_TIMEOUT_S}s",
        REACTOR_LISTEN="",
        XDG_STATE_HOME=str(door.host.state),
    )
