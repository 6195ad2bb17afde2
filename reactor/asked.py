"""What one caller wants: the noun that travels from `acquire` through the spawn.

What this is: a value. What it is not: a step. The invariant: one token is one spawn; asking again takes a fresh one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from reactor.session import Session, SessionId, Token
from reactor.templates import Template, format_duration

MARGIN_SECONDS = 0.2
"""By how much our own time-outs come before the hard one, so that waiters hear the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one caller wants, under which token, until when (anyio's clock)."""

    session_id: SessionId
    token: Token
    template: Template
    ttl: timedelta
    limit: timedelta
    deadline: float
    named: bool = False
    """The caller named the template."""
    timed: bool = False
    """The caller named the TTL."""
    again: bool = False
    """An earlier spawn of this caller came to nothing."""

    @property
    def soft_deadline(self) -> float:
        """When to give up by ourselves, with a reason."""
        return self.deadline - MARGIN_SECONDS

    @property
    def from_pool(self) -> bool:
        """Whether a container of the template's pool is what this caller wants.

        Not after a spawn that came to nothing: whatever holds the session's name is dealt with by a create.
        """
        return self.template.pool > 0 and self.ttl == self.template.ttl and not self.again

    def once_more(self, token: Token) -> Asked:
        """Return the same under a fresh token."""
        return replace(self, token=token, again=True)

    def compared(self, session: Session) -> Session:
        """Return the session with a warning where it keeps another template or TTL than was asked for."""
        notes: list[str] = []
        if self.named and session.template != self.template.name:
            notes.append(f"template {session.template}, not {self.template.name}")
        if self.timed and session.ttl != self.ttl:
            notes.append(f"TTL {format_duration(session.ttl)}, not {format_duration(self.ttl)}")
        if not notes:
            return session
        return replace(session, warning=f"session {self.session_id} exists and keeps {' and '.join(notes)}")
