"""How a spawn or a claim is lost: to somebody else, or together with the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactor.errors import SessionLost

if TYPE_CHECKING:
    from reactor.session import SessionId


class Superseded(SessionLost):
    """Lost to a newer spawn or a claim in a database that kept its data: what we made may be removed, by ID."""


class DataLost(SessionLost):
    """Lost together with the record or the database id: nothing may be concluded, nothing is removed."""


class Doomed(Exception):
    """A container of a pool is on its way out: nobody may have it any more."""


def lost(session_id: SessionId, superseded: str) -> SessionLost:
    """Return the error for a script's LOST; '1': the record is there, in the same database."""
    if superseded == "1":
        return Superseded(f"session {session_id} was taken over: it ended or another caller spawns it")
    return DataLost(f"session {session_id} has no record any more: Redis lost its data meanwhile")
