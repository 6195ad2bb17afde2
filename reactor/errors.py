"""Every error a caller can meet, and the exit code that goes with it.

What this is: the one hierarchy under `ReactorError`. What it is not: expected answers (alive, busy, lost), which are
values of the registry. The invariant: foreign exceptions (redis, docker, psutil) never leave the module that talks to
that library; they arrive here under one of these names, with a message of one line that says what to do.
"""

from __future__ import annotations

from typing import ClassVar


class ReactorError(Exception):
    """Something this program can name went wrong; `str(error)` is one line for a person."""

    exit_code: ClassVar[int] = 70


class Unavailable(ReactorError):
    """Redis or the engine refused, could not be reached, or is not what it should be. Nothing was concluded from it."""

    exit_code = 69


class PermissionRefused(Unavailable):
    """Wrong password, a missing ACL right, or an engine socket that this user may not open."""

    exit_code = 77


class OutOfMemory(Unavailable):
    """Redis is full and refused a write; a heartbeat (EXPIRE) still works, a spawn does not."""

    exit_code = 69


class SessionNotFound(ReactorError):
    """No session under this id: never acquired, or over."""

    exit_code = 1


class SessionLost(ReactorError):
    """The session, or the right to change it, is no longer ours: it ended, or a newer generation took its place."""

    exit_code = 1


class SpawnFailed(ReactorError):
    """The container could not be made or did not start; it was removed again."""

    exit_code = 78


class ImageMissing(SpawnFailed):
    """The engine does not have the template's image; pulling happens outside every lock."""


class AcquireTimeout(ReactorError):
    """The session could not be had in time: not ready, or another host or caller holds it. Trying again is right."""

    exit_code = 75


class CapacityExceeded(ReactorError):
    """A limit of this host or template is reached; trying again later is right."""

    exit_code = 75


class InvalidSessionId(ReactorError):
    """The id is not `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`; nothing was sent to Redis or the engine."""

    exit_code = 64


class UsageError(ReactorError):
    """A flag or argument has no meaning here: a bad duration, a TTL out of range, an unknown template."""

    exit_code = 64


class ConfigError(ReactorError):
    """A setting, `reactor.toml` or what was found in Redis contradicts what this program may work with."""

    exit_code = 78


class ForeignData(ConfigError):
    """A key of ours has another type or a schema this version does not know: it is left alone and reported."""
