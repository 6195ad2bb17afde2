"""What the registry answers: one frozen class per word of the scripts.

What this is: the answers of `reserve` and `examine`, as unions that a `match` can exhaust. What it is not: errors;
these are all expected. The invariant: a claim carries the container ID it is about, and nothing else may be removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from reactor.registry.records import Record
    from reactor.session import ContainerId, DatabaseId, EndReason, Generation, HostName, State


@dataclass(frozen=True, slots=True)
class Live:
    """The session runs, its heartbeat was refreshed. `watched`: its host would know within 2 s if it had died."""

    record: Record
    watched: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Another is spawning or removing it; `lease_left` zero or less means that nobody holds it any more."""

    state: State
    host: HostName
    generation: Generation
    lease_left: timedelta


@dataclass(frozen=True, slots=True)
class Spawn:
    """It is ours to spawn, with this generation and labels of this database."""

    generation: Generation
    db: DatabaseId


@dataclass(frozen=True, slots=True)
class Failed:
    """The spawn that this caller waited for failed with this error."""

    error: str


Reservation = Live | Wait | Spawn | Failed


@dataclass(frozen=True, slots=True)
class Alive:
    """The heartbeat key lives for another `left`."""

    left: timedelta
    repaired: bool


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody holds a lease on it for another `left`."""

    left: timedelta


@dataclass(frozen=True, slots=True)
class Grace:
    """A missing key proves nothing now: the key was set again for `left`."""

    left: timedelta


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no session, or only its tombstone."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """It belongs to another host, whose reactors tear it down."""

    host: HostName


@dataclass(frozen=True, slots=True)
class Claimable:
    """A look found it claimable; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Other:
    """The end was about a container that the record does not name any more."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The exclusive right to tear it down is ours; `container_id` is None where the spawn had not named one yet."""

    container_id: ContainerId | None
    generation: Generation
    db: DatabaseId
    reason: EndReason
    committed: bool = True
    """Whether that container was ever handed out, by what this database knows."""


Verdict = Alive | Busy | Grace | Gone | Foreign | Claimable | Other | Claimed


class Mode(StrEnum):
    """How far an examine may go."""

    LOOK = "look"
    """Decide nothing, only move the due score."""
    CLAIM = "claim"
    """Claim what has ended by itself."""
    DELETED = "deleted"
    """The same, where somebody was heard to delete the heartbeat key: if it is missing, that is why."""
    END = "end"
    """Claim it now, for a given reason."""
