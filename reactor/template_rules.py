"""What a template's values must be, alone and together.

What this is: pure checks and readings of single values. What it is not: the file they stand in (settings_file) or
whether this engine can do it (`Runtime.problems`). The invariant: a template that passes asks for nothing that its
kind of runtime would silently leave out, but for the keys of `ignored_keys`, which are said in a warning.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from reactor.errors import ConfigError
from reactor.templates import Ready, ReadyKind, Template, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

_MEMORY = re.compile(r"([0-9]{1,16})([bkmg]?)", re.IGNORECASE)
_UNITS: Final = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_MIN_MEMORY: Final = 6 * 1024**2
"""The least that Docker engines accept."""
_MAX_MEMORY: Final = 2**50
_MAX_CPUS: Final = 4096
_MAX_POOL: Final = 1000
_MAX_PIDS: Final = 4_194_304
"""The most process ids that Linux has."""
_PORT = re.compile(r"([0-9]{1,5})(?:/(tcp|udp))?")
_MAX_PORT: Final = 65535
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CAPABILITY = re.compile(r"[A-Z][A-Z_]*")
_CONTAINER_KEYS: Final[frozenset[str]] = frozenset(
    ("image", "memory", "cpus", "pids", "network", "pull", "user", "read_only", "tmpfs", "cap_add", "volumes")
)


def ignored_keys(written: Iterable[str]) -> frozenset[str]:
    """Return which of a template's written keys mean nothing where each session is a local process group."""
    return _CONTAINER_KEYS.intersection(written)


def parse_memory(text: str) -> int:
    """Return `512m`, `1g`, `65536k` or plain bytes as a number of bytes. Raises `ConfigError`."""
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise ConfigError(f"memory: {text[:40]!a} is not like 512m or 1g")
    return int(match[1]) * _UNITS[match[2].lower()]


def format_memory(size: int) -> str:
    """Return a number of bytes in the largest unit that shows it exactly."""
    for unit in ("g", "m", "k"):
        if size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


def parse_ports(texts: Iterable[str]) -> tuple[str, ...]:
    """Return ports as `8000/tcp`; a port without a protocol is a TCP one. Raises `ConfigError`."""
    ports: list[str] = []
    for text in texts:
        match = _PORT.fullmatch(text)
        if match is None or not 1 <= int(match[1]) <= _MAX_PORT:
            raise ConfigError(f"ports: {text[:40]!a} is not like 8000/tcp")
        ports.append(f"{int(match[1])}/{match[2] or 'tcp'}")
    if len(set(ports)) != len(ports):
        raise ConfigError("ports: the same port stands there twice")
    return tuple(ports)


def format_ready(ready: Ready) -> str:
    """Return a condition as `parse_ready` reads it."""
    match ready.kind:
        case ReadyKind.STARTED | ReadyKind.HEALTHY:
            return ready.kind.value
        case ReadyKind.TCP:
            return f"tcp:{ready.port}"
        case ReadyKind.HTTP:
            return f"http:{ready.port}{ready.path}"


def check_template(template: Template, *, runs_containers: bool) -> None:
    """Raise `ConfigError` if `template` contradicts itself or the kind of runtime (containers, or local processes)."""
    _check_values(template)
    if template.ttl > template.max_ttl:
        ttl, most = format_duration(template.ttl), format_duration(template.max_ttl)
        raise ConfigError(f"ttl {ttl} is above max_ttl {most}; raise max_ttl or lower ttl")
    if runs_containers:
        _check_container(template)
    else:
        _check_process(template)


def _check_values(template: Template) -> None:
    if template.ready.port is not None and not 1 <= template.ready.port <= _MAX_PORT:
        raise ConfigError(f"ready: port {template.ready.port} is not 1-{_MAX_PORT}")
    for name, value in template.environment.items():
        if _VARIABLE.fullmatch(name) is None or "\0" in value:
            raise ConfigError(f"environment: {name[:60]!a} is no variable name, or its value contains NUL")
        if name == "SESSION_ID":
            raise ConfigError("environment: SESSION_ID is set by the reactor; leave it out")
    for text in (template.image, template.user, template.working_dir, *template.command):
        if "\0" in text:
            raise ConfigError("image, command, user and working_dir cannot contain NUL")
    if not 0 <= template.pool <= _MAX_POOL:
        raise ConfigError(f"pool: {template.pool} is not 0-{_MAX_POOL} containers kept ready (0: none)")
    if template.command and not template.command[0]:
        raise ConfigError("command: the program is empty")
    if template.working_dir and not template.working_dir.startswith("/"):
        raise ConfigError(f"working_dir: {template.working_dir[:60]!a} is not an absolute path")


def _check_container(template: Template) -> None:
    if not template.image or any(char.isspace() for char in template.image):
        raise ConfigError('image is missing or has a space in it; name one: image = "NAME:TAG"')
    _check_limits(template)
    _check_network(template)
    for capability in template.cap_add:
        if _CAPABILITY.fullmatch(capability) is None:
            raise ConfigError(f"cap_add: {capability[:40]!a} is not like NET_BIND_SERVICE")
    for mount in template.tmpfs:
        if not mount.startswith("/"):
            raise ConfigError(f"tmpfs: {mount[:60]!a} is not an absolute path")
    for volume in template.volumes:
        source, _, target = volume.partition(":")
        if not source or not target.startswith("/"):
            raise ConfigError(f"volumes: {volume[:60]!a} is not like NAME:/path or /source:/path:ro")


def _check_limits(template: Template) -> None:
    if not _MIN_MEMORY <= template.memory <= _MAX_MEMORY:
        raise ConfigError("memory: the engine needs at least 6m, and at most 1048576g")
    if not math.isfinite(template.cpus) or not 0.01 <= template.cpus <= _MAX_CPUS:  # noqa: PLR2004 (the engine's least)
        raise ConfigError(f"cpus: {template.cpus} is not 0.01-{_MAX_CPUS}")
    if not 1 <= template.pids <= _MAX_PIDS:
        raise ConfigError(f"pids: {template.pids} is not 1-{_MAX_PIDS}")


def _check_network(template: Template) -> None:
    network = template.network
    if _NETWORK.fullmatch(network) is None:
        raise ConfigError(f"network: {network[:60]!a} is not none, bridge or the name of a network")
    if template.ports and network == "none":
        raise ConfigError('ports need a network: set network = "bridge" (or a network\'s name), or leave ports out')
    if template.ports and network == "host":
        raise ConfigError('ports are not published with network = "host"; use "bridge" or leave ports out')
    if template.ready.port is not None and network == "none":
        raise ConfigError(f'ready = "{format_ready(template.ready)}" needs a network: set network = "bridge"')


def _check_process(template: Template) -> None:
    if template.pool:
        raise ConfigError("pool: the process runtime keeps none; leave it out")
    if not template.command:
        raise ConfigError('the process runtime needs a command: command = ["program", "argument"]')
    if template.ready.kind is ReadyKind.HEALTHY:
        raise ConfigError('ready = "healthy" needs the docker runtime; use started, tcp:PORT or http:PORT/PATH')
    port = template.ready.port
    if port is not None and f"{port}/tcp" not in template.ports:
        raise ConfigError(f'ready: port {port} is not among ports; add "{port}/tcp" (each process gets a free one)')
