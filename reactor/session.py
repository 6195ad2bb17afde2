"""The nouns: ids, generations, states, reasons, and the session as a caller sees it.

What this is: pure values, no input or output. What it is not: how a session is stored (registry) or run (runtime).
The invariant: a `SessionId` that exists has passed `parse_session_id`, so it is safe in a key, a glob and a label.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NewType

from reactor.errors import InvalidSessionId

if TYPE_CHECKING:
    from collections.abc import Mapping

SessionId = NewType("SessionId", str)
Generation = NewType("Generation", int)
"""Rises with each spawn of an id, for ever: `max(previous + 1, Redis TIME in microseconds)`."""
ContainerId = NewType("ContainerId", str)
Token = NewType("Token", str)
"""Random; of one spawn or one claim. Whoever shows it holds that right, nobody else."""
HostName = NewType("HostName", str)
DatabaseId = NewType("DatabaseId", str)
"""Random; written once into an empty Redis. A missing or changed one means that Redis lost its data."""
Deployment = NewType("Deployment", str)

_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def parse_session_id(text: str) -> SessionId:
    """Return `text` as a session id, byte for byte.

    Raises `InvalidSessionId` for anything else than 1 to 128 characters of `A-Z a-z 0-9 _ . -` that begin with a letter
    or digit. Nothing is normalised: `A` and `a` are two sessions.
    """
    if _SESSION_ID.fullmatch(text) is None:
        shown = text if len(text) <= 40 else text[:40] + "..."  # noqa: PLR2004 (a line on a terminal)
        message = f"session id {shown!a} is not 1-128 of A-Z a-z 0-9 _ . - beginning with a letter or digit"
        raise InvalidSessionId(message)
    return SessionId(text)


def new_session_id() -> SessionId:
    """Return a random 128-bit id, good as a capability where clients are not trusted."""
    return SessionId(secrets.token_hex(16))


def new_token() -> Token:
    """Return a random 64-bit token for one spawn or one claim."""
    return Token(secrets.token_hex(8))


class State(StrEnum):
    """Where a record stands."""

    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"
    ENDED = "ended"


class EndReason(StrEnum):
    """Why a session ended. `ended_by_client` is best effort: the key was gone before its deadline."""

    EXPIRED = "expired"
    ENDED_BY_CLIENT = "ended_by_client"
    TERMINATED = "terminated"
    MAX_LIFETIME = "max_lifetime"
    CONTAINER_EXITED = "container_exited"
    ORPHAN = "orphan"
    SPAWN_FAILED = "spawn_failed"


class Detector(StrEnum):
    """What put a session id into the queue."""

    EVENT = "event"
    DEADLINE = "deadline"
    JANITOR = "janitor"
    MANUAL = "manual"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one published container port is reached from the session's host."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a session is reached: the container's own address, and its published ports by `PORT/PROTOCOL`."""

    ip: str | None
    ports: Mapping[str, Endpoint] = field(default_factory=dict[str, Endpoint])


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session as it was at the moment of the answer; it does not change afterwards.

    `address` is null where the caller cannot reach the container, as on another host. `expires_in` is null while there
    is no heartbeat key (starting, ending). `created` says whether this acquire made the container.
    """

    session_id: SessionId
    state: State
    generation: Generation
    container_id: ContainerId | None
    host: HostName
    runtime: str
    template: str
    heartbeat_key: str
    ttl: timedelta
    expires_in: timedelta | None
    started_at: datetime
    address: Address | None
    created: bool | None = None
    warning: str | None = None

    @property
    def last_active(self) -> datetime:
        """When the last heartbeat was: now - (ttl - remaining). Derived, so that a heartbeat stays one EXPIRE."""
        if self.expires_in is None:
            return self.started_at
        return max(self.started_at, datetime.now(UTC) - (self.ttl - self.expires_in))

    def as_dict(self) -> dict[str, object]:
        """Return the session object of the command line's `--json` (times ISO 8601 in UTC, durations in ms)."""
        shown: dict[str, object] = {
            "session_id": self.session_id,
            "state": self.state.value,
            "generation": self.generation,
            "container_id": self.container_id,
            "host": self.host,
            "runtime": self.runtime,
            "template": self.template,
            "heartbeat_key": self.heartbeat_key,
            "ttl_ms": milliseconds(self.ttl),
            "expires_in_ms": None if self.expires_in is None else milliseconds(self.expires_in),
            "started_at": iso(self.started_at),
            "last_active": iso(self.last_active),
            "address": None if self.address is None else _address_dict(self.address),
        }
        if self.created is not None:
            shown["created"] = self.created
        return shown


def _address_dict(address: Address) -> dict[str, object]:
    ports = {name: {"host": end.host, "port": end.port} for name, end in address.ports.items()}
    return {"ip": address.ip, "ports": ports}


def milliseconds(duration: timedelta) -> int:
    """Return a duration in whole milliseconds, rounded down."""
    return duration // timedelta(milliseconds=1)


def from_ms(epoch_ms: int) -> datetime:
    """Return the moment of a Redis clock reading in milliseconds."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def iso(moment: datetime) -> str:
    """Return ISO 8601 in UTC with milliseconds, as every JSON of this program shows a time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
