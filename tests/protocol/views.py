"""Views of a reconcile, built by hand: what `plan` is asked about.

What this is: a container, a record and a view in which all is well, and what to change in them. What it is not: a
claim. It keeps this: nothing here reads Redis or an engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from reactor.plan import Action, Kind, View
from reactor.registry import Found, Record
from reactor.runtime.protocol import Container, ContainerState, Labels
from reactor.session import ContainerId, DatabaseId, Deployment, Generation, HostName, SessionId, State, Token

S = SessionId("s")
DB, BEFORE = DatabaseId("db-now"), DatabaseId("db-before")
NOW_MS = 1_800_000_000_000
LIMIT = timedelta(seconds=60)
YOUNG = Generation((NOW_MS - 5_000) * 1000)
OLD = Generation((NOW_MS - 3_600_000) * 1000)
OLDER = Generation(OLD - 1_000_000)
MINE, OTHER = Token("mine"), Token("other")
C1, C2 = ContainerId("c1"), ContainerId("c2")


def container(
    generation: Generation = OLD,
    *,
    token: Token = MINE,
    db: DatabaseId = DB,
    state: ContainerState = ContainerState.RUNNING,
    **labels: Any,
) -> Container:
    """Return a container of the session, running and of this database unless told otherwise."""
    values: dict[str, Any] = {
        "prefix": "mcp", "deployment": Deployment("d"), "host": HostName("h1"), "db": db, "session": S,
        "generation": generation, "template": "default", "ttl": timedelta(minutes=15), "token": token,
    }  # fmt: skip
    return Container(
        container_id=C1, name="n", labels=Labels(**values | labels), state=state, created_at=datetime.now(UTC)
    )


def record(
    state: State = State.RUNNING, generation: Generation = OLD, *, token: Token = MINE, **changes: Any
) -> Record:
    """Return the record of the session, as it is when all is well."""
    values: dict[str, Any] = {
        "session_id": S, "state": state, "generation": generation, "host": HostName("h1"), "template": "default",
        "ttl": timedelta(minutes=15), "started_ms": 0, "runtime": "docker", "token": token,
        "container_id": None if state is State.STARTING else C1, "lease_until_ms": NOW_MS + 5_000, "claimed": False,
        "reason": None, "error": "", "end_requested": False, "address": None,
        "heartbeat_left": timedelta(minutes=10) if state is State.RUNNING else None,
        "has_ttl": state is State.ENDED, "immortal": False,
    }  # fmt: skip
    return Record(**values | changes)


DEAD = replace(container(state=ContainerState.DEAD), detail="exit code 3")
STOPPED = ContainerState.DEAD


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is read, and what is to follow: (action, kind), or nothing."""

    id: str
    containers: Sequence[Container] = ()
    found: Found = None
    expected: tuple[Action, Kind] | None = None
    view: dict[str, Any] = field(default_factory=dict[str, Any])


def before(generation: Generation = OLD, **more: Any) -> list[Container]:
    """Return a container of another database."""
    return [container(generation, db=BEFORE, **more)]


def view(row: Row) -> View:
    """Return what a reconcile would have read."""
    values: dict[str, Any] = {
        "host": HostName("h1"), "deployment": Deployment("d"), "spawn_limit": LIMIT, "containers": row.containers,
        "records": {} if row.found is None else {S: row.found}, "due": frozenset({S}), "db": DB, "now_ms": NOW_MS,
    }  # fmt: skip
    return View(**values | row.view)
