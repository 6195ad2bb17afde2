"""What a container says of itself, in labels that cannot change after its create.

What this is: the labels of a session's container and of one that was made for a pool, built and parsed. What it is not:
a decision about either. The invariant: a container has the labels of one kind or of none; what cannot be read whole is
not ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from reactor.errors import InvalidSessionId
from reactor.session import DatabaseId, Deployment, Generation, HostName, SessionId, Token, parse_session_id

if TYPE_CHECKING:
    from collections.abc import Mapping

LABEL = "session-reactor."
"""Every label key begins so; they are matched exactly, key and value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a container says of itself: all that a rebuild after data loss needs. Labels cannot change after create."""

    prefix: str
    deployment: Deployment
    host: HostName
    db: DatabaseId
    session: SessionId
    generation: Generation
    template: str
    ttl: timedelta
    token: Token

    def as_dict(self) -> dict[str, str]:
        """Return the labels as the engine stores them; the TTL in milliseconds."""
        return {
            f"{LABEL}prefix": self.prefix,
            f"{LABEL}deployment": self.deployment,
            f"{LABEL}host": self.host,
            f"{LABEL}db": self.db,
            f"{LABEL}session": self.session,
            f"{LABEL}generation": str(self.generation),
            f"{LABEL}template": self.template,
            f"{LABEL}ttl": str(self.ttl // timedelta(milliseconds=1)),
            f"{LABEL}token": self.token,
        }

    @classmethod
    def parse(cls, raw: Mapping[str, str]) -> Labels | None:
        """Return the labels of one of our containers; None for a container that is not ours (or was tampered with)."""
        try:
            return cls(
                prefix=raw[f"{LABEL}prefix"],
                deployment=Deployment(raw[f"{LABEL}deployment"]),
                host=HostName(raw[f"{LABEL}host"]),
                db=DatabaseId(raw[f"{LABEL}db"]),
                session=parse_session_id(raw[f"{LABEL}session"]),
                generation=Generation(int(raw[f"{LABEL}generation"])),
                template=raw[f"{LABEL}template"],
                ttl=timedelta(milliseconds=int(raw[f"{LABEL}ttl"])),
                token=Token(raw[f"{LABEL}token"]),
            )
        except (KeyError, ValueError, OverflowError, InvalidSessionId):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What a container that was made for a pool says of itself. It names no session: labels cannot change."""

    prefix: str
    deployment: Deployment
    host: HostName
    db: DatabaseId
    template: str
    ttl: timedelta
    token: Token
    """Of this one container; under it the pool's index has it."""
    shape: str
    """The digest of the template that it was made from."""
    made_us: int
    """Redis' clock when it was made."""

    def as_dict(self) -> dict[str, str]:
        """Return the labels as the engine stores them; the TTL in milliseconds."""
        return {
            f"{LABEL}prefix": self.prefix,
            f"{LABEL}deployment": self.deployment,
            f"{LABEL}host": self.host,
            f"{LABEL}db": self.db,
            f"{LABEL}template": self.template,
            f"{LABEL}ttl": str(self.ttl // timedelta(milliseconds=1)),
            f"{LABEL}token": self.token,
            f"{LABEL}pool": self.shape,
            f"{LABEL}made": str(self.made_us),
        }

    @classmethod
    def parse(cls, raw: Mapping[str, str]) -> Member | None:
        """Return what the labels of one of our pools' containers say; None for any other container."""
        try:
            return cls(
                prefix=raw[f"{LABEL}prefix"],
                deployment=Deployment(raw[f"{LABEL}deployment"]),
                host=HostName(raw[f"{LABEL}host"]),
                db=DatabaseId(raw[f"{LABEL}db"]),
                template=raw[f"{LABEL}template"],
                ttl=timedelta(milliseconds=int(raw[f"{LABEL}ttl"])),
                token=Token(raw[f"{LABEL}token"]),
                shape=raw[f"{LABEL}pool"],
                made_us=int(raw[f"{LABEL}made"]),
            )
        except (KeyError, ValueError, OverflowError):
            return None
