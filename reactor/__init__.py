"""Every user session gets its own container, and not one container outlives its session."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reactor.errors import (
    AcquireTimeout,
    CapacityExceeded,
    ConfigError,
    InvalidSessionId,
    ReactorError,
    SessionLost,
    SessionNotFound,
    SpawnFailed,
    Unavailable,
)

if TYPE_CHECKING:
    from reactor.manager import SessionManager
    from reactor.reconcile import Janitor
    from reactor.registry import SessionRegistry
    from reactor.session import Session
    from reactor.settings import Settings
    from reactor.supervisor import Reactor

__all__ = [
    "AcquireTimeout",
    "CapacityExceeded",
    "ConfigError",
    "InvalidSessionId",
    "Janitor",
    "Reactor",
    "ReactorError",
    "Session",
    "SessionLost",
    "SessionManager",
    "SessionNotFound",
    "SessionRegistry",
    "Settings",
    "SpawnFailed",
    "Unavailable",
]
__version__ = "0.1.0"

_HOMES = {
    "Janitor": "reactor.reconcile",
    "Reactor": "reactor.supervisor",
    "Session": "reactor.session",
    "SessionManager": "reactor.manager",
    "SessionRegistry": "reactor.registry",
    "Settings": "reactor.settings",
}


def __getattr__(name: str) -> object:
    # redis and docker take a good part of a second to import; `reactor --help` needs neither.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
