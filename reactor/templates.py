"""What a session's container is: a template of `reactor.toml`.

What this is: the typed template and the rules that hold between its keys. What it is not: reading files or the
environment (settings) or talking to an engine (runtime). The invariant: a `Template` that exists can be run; every
contradiction is a `ConfigError` at start, not a failure at the first acquire.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import StrEnum
from typing import cast

from reactor.errors import ConfigError, UsageError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
MIN_TTL = timedelta(seconds=2)
"""Below this a client on a busy machine cannot beat three times per TTL."""


def parse_duration(text: str) -> timedelta:
    """Return `500ms`, `15s`, `15m` or `2h` (also `1.5h`, and `0`) as a duration. Raises `UsageError`."""
    if text == "0":
        return timedelta(0)
    match = _DURATION.fullmatch(text)
    if match is None:
        message = f"duration {text[:40]!a} is not like 500ms, 15s, 15m or 2h"
        raise UsageError(message)
    seconds = float(match[1]) * _UNIT[match[2]]
    if seconds > timedelta(days=3650).total_seconds():
        message = f"duration {text[:40]!a} is longer than ten years"
        raise UsageError(message)
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Return a duration in the largest unit that shows it exactly, readable by `parse_duration`."""
    ms = duration // timedelta(milliseconds=1)
    if ms == 0:
        return "0"
    for size, unit in ((3_600_000, "h"), (60_000, "m"), (1000, "s")):
        if ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def check_ttl(ttl: timedelta) -> timedelta:
    """Return `ttl` if it is whole seconds and at least 2 s; raise `UsageError` otherwise."""
    if ttl < MIN_TTL or ttl % timedelta(seconds=1):
        message = f"a TTL is whole seconds, at least {format_duration(MIN_TTL)}; not {format_duration(ttl)}"
        raise UsageError(message)
    return ttl


class ReadyKind(StrEnum):
    """How a container says that it can be used."""

    STARTED = "started"
    HEALTHY = "healthy"
    TCP = "tcp"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The condition under which a spawn is handed out; `port` and `path` where the kind has them."""

    kind: ReadyKind
    port: int | None = None
    path: str = "/"


_READY = re.compile(r"(?:(started|healthy)|tcp:(\d{1,5})|http:(\d{1,5})(/[^\s]*))", re.ASCII)


def parse_ready(text: str) -> Ready:
    """Return `started`, `healthy`, `tcp:PORT` or `http:PORT/PATH` as a condition. Raises `ConfigError`."""
    match = _READY.fullmatch(text)
    if match is None:
        message = f"ready = {text[:60]!a} is not started, healthy, tcp:PORT or http:PORT/PATH"
        raise ConfigError(message)
    if match[1]:
        return Ready(kind=ReadyKind(match[1]))
    if match[2]:
        return Ready(kind=ReadyKind.TCP, port=int(match[2]))
    return Ready(kind=ReadyKind.HTTP, port=int(match[3]), path=match[4])


class Pull(StrEnum):
    """Whether an image that the engine lacks is fetched (outside every lock) or an error."""

    NEVER = "never"
    MISSING = "missing"


_LAYOUT = "1"
"""Rises where containers of the same template are made otherwise than by an older version."""
_BESIDE = frozenset(("pool", "pool_drain", "pull", "max_ttl"))


def _plain(value: object) -> object:
    return list(cast("Mapping[str, str]", value).items()) if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a session's container is. The defaults are hardened; a template opens what it needs, by name.

    `memory` is in bytes, `cpus` in cores. With the process runtime `image` and the limits are ignored, and each port is
    a free local one given in `PORT_<container port>` (and `PORT` for the first).
    """

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    ready: Ready = field(default_factory=lambda: Ready(kind=ReadyKind.STARTED))
    ttl: timedelta = timedelta(minutes=15)
    max_ttl: timedelta = timedelta(hours=24)
    memory: int = 512 * 1024 * 1024
    cpus: float = 1.0
    pids: int = 256
    network: str = "none"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    pull: Pull = Pull.NEVER
    user: str = ""
    working_dir: str = ""
    read_only: bool = True
    tmpfs: tuple[str, ...] = ("/tmp",)  # noqa: S108 (a path inside the container)
    cap_add: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    pool: int = 0
    """How many started, ready containers wait for their sessions. With any, no container gets a SESSION_ID."""
    pool_drain: bool = False
    """Whether those go when the reactor stops."""

    def shape(self) -> str:
        """Return a short digest of all that decides what a container of this template is.

        What only decides when one is made, or for whom, is left out.
        """
        values = [f"{own.name}={_plain(getattr(self, own.name))!r}" for own in fields(self) if own.name not in _BESIDE]
        return hashlib.sha256("\n".join([_LAYOUT, *values]).encode()).hexdigest()[:16]

    def ttl_for(self, asked: timedelta | None) -> timedelta:
        """Return the TTL of a session that asked for `asked` (None: the template's). Raises `UsageError`."""
        if asked is None:
            return self.ttl
        if check_ttl(asked) > self.max_ttl:
            message = (
                f"--ttl {format_duration(asked)} is above max_ttl = {format_duration(self.max_ttl)} "
                f"of template {self.name!r}"
            )
            raise UsageError(message)
        return asked
