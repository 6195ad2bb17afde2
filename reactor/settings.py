"""Everything that can be set, read once at start: flag > environment > `reactor.toml` > default.

What this is: one frozen `Settings`, each value checked and with its origin. What it is not: what was found in Redis or
the engine. The invariant: settings that exist can be worked with; secrets are shown masked by everything in here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from reactor.errors import ConfigError, UsageError
from reactor.redis_url import RedisAddress, masked, normalised_redis_url, parse_redis_url
from reactor.session import Deployment, HostName
from reactor.settings_file import SettingsFile, describe_template, make_templates, nearest, read_settings_file
from reactor.settings_source import CONFIG_VARIABLE, NAMES, Source, unknown_variables
from reactor.templates import MIN_TTL, Template, check_ttl, format_duration, parse_duration

DEFAULT_REDIS_URL: Final = "redis://localhost:6379"
DEFAULT_TEMPLATE: Final = "default"
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]]+)):([0-9]{1,5})")
_MAX_PORT: Final = 65535
_ABSENT: Final = {
    "docker_host": "the Docker SDK's own",
    "docker_cert_path": "the Docker SDK's own",
    "deployment": "the one in Redis, else derived",
    "host": "the engine's name",
    "max_lifetime": "none",
    "grace": "the session's own TTL",
    "listen": "off",
}
"""What holds where a setting has no value."""


class RuntimeName(StrEnum):
    """What runs the containers: a Docker engine, or local process groups (development and demo)."""

    DOCKER = "docker"
    PROCESS = "process"


class SettingRow(NamedTuple):
    """One effective setting for a screen: secrets are masked, `value` is None where there is none."""

    name: str
    value: str | None
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective settings. Built by `load`; built directly (tests), its values are taken as they are."""

    redis_url: str = field(default=DEFAULT_REDIS_URL, repr=False)
    """Read by redis-py; may hold a password. `redis_address` has its parts."""
    docker_host: str | None = None
    docker_tls_verify: bool = False
    docker_cert_path: str | None = None
    runtime: RuntimeName = RuntimeName.DOCKER
    prefix: str = "mcp"
    deployment: Deployment | None = None
    """Whose containers these are. None: the one in Redis, else derived from Redis' address."""
    host: HostName | None = None
    """Whose sessions this reactor tears down. None: the engine's name."""
    ttl: timedelta = timedelta(minutes=15)
    """Idle limit of templates without their own; whole seconds, at least 2 s."""
    max_lifetime: timedelta | None = None
    """Hard end that no heartbeat extends."""
    grace: timedelta | None = None
    """What every session gets, once, after an outage. None: the session's own TTL."""
    stop_grace: timedelta = timedelta(seconds=10)
    """SIGTERM to SIGKILL; zero kills at once."""
    janitor_every: timedelta = timedelta(minutes=10)
    """Zero: only by hand."""
    listen: tuple[str, int] | None = ("127.0.0.1", 8642)
    """Where the sidecar answers `/livez` and `/readyz`. None: off."""
    acquire_timeout: timedelta = timedelta(seconds=60)
    """How long an acquire waits at most, for others and for its own container to be ready."""
    templates: Mapping[str, Template] = field(default_factory=dict[str, Template])
    origins: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where each setting comes from, for people; a setting left out has its default."""
    warnings: tuple[str, ...] = ()
    """What is odd but works, one line each."""

    @classmethod
    def load(
        cls,
        *,
        env: Mapping[str, str] | None = None,
        flags: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Settings:
        """Read `flags` (by setting name, and `config`) over `env` (this process's own) over the file in `cwd`.

        Raises `UsageError` for a bad flag, `ConfigError` for anything else. Reads files and nothing more; call it as
        often as you like.
        """
        env = os.environ if env is None else env
        flags = {} if flags is None else flags
        for name in flags.keys() - NAMES.keys() - {"config"}:
            raise UsageError(f"unknown setting {name!a}; {nearest(name, NAMES.keys() | {'config'})}")
        file = _find_file(env, flags, Path.cwd() if cwd is None else cwd)
        source = Source(env=env, flags=flags, file=file)
        runtime = source.take("runtime", _runtime, RuntimeName.DOCKER)
        ttl = source.take("ttl", _ttl, timedelta(minutes=15))
        templates, warnings = make_templates(file, ttl=ttl, runs_containers=runtime is RuntimeName.DOCKER)
        return cls(
            redis_url=source.take("redis_url", normalised_redis_url, DEFAULT_REDIS_URL),
            docker_host=source.take("docker_host", _text, None),
            docker_tls_verify=source.take("docker_tls_verify", bool, default=False),
            docker_cert_path=source.take("docker_cert_path", _text, None),
            runtime=runtime,
            prefix=source.take("prefix", _prefix, "mcp"),
            deployment=source.take("deployment", _deployment, None),
            host=source.take("host", _host, None),
            ttl=ttl,
            max_lifetime=source.take("max_lifetime", _lifetime, None),
            grace=source.take("grace", parse_duration, None),
            stop_grace=source.take("stop_grace", parse_duration, timedelta(seconds=10)),
            janitor_every=source.take("janitor_every", _period, timedelta(minutes=10)),
            listen=source.take("listen", _listen, ("127.0.0.1", 8642)),
            acquire_timeout=source.take("acquire_timeout", _positive, timedelta(seconds=60)),
            templates=templates,
            origins=source.origins | _template_origins(file, source.origins.get("ttl", "default")),
            warnings=(*unknown_variables(env), *warnings),
        )

    @property
    def pooled(self) -> list[Template]:
        """The templates that keep containers ready."""
        return [template for template in self.templates.values() if template.pool]

    @property
    def redis_address(self) -> RedisAddress:
        """The parts of `redis_url`."""
        return parse_redis_url(self.redis_url)

    def template(self, name: str | None = None) -> Template:
        """Return a template; None means the one called `default`.

        Raises `UsageError` for an unknown name, `ConfigError` if none was named and there is no default one.
        """
        if (found := self.templates.get(DEFAULT_TEMPLATE if name is None else name)) is not None:
            return found
        if name is None:
            raise ConfigError("there is no template: write [template.default] in reactor.toml, or name one of yours")
        raise UsageError(f"unknown template {name[:70]!a}; {nearest(name, self.templates)}")

    def describe(self) -> list[SettingRow]:
        """Return all settings and templates with their origin, secrets masked, in a fixed order."""
        rows = [self._row(name, variable) for name, variable in NAMES.items()]
        for template in self.templates.values():
            for key, value in describe_template(template).items():
                name = f"template.{template.name}.{key}"
                rows.append(SettingRow(name, value, self.origins.get(name, "default")))
        return rows

    def _row(self, name: str, variable: str) -> SettingRow:
        origin = self.origins.get(name, "default")
        match getattr(self, name):
            case None:
                absent = _ABSENT[name]
                return SettingRow(variable, None, f"{origin} ({absent})")
            case timedelta() as duration:
                return SettingRow(variable, format_duration(duration), origin)
            case bool(flag):
                return SettingRow(variable, "true" if flag else "false", origin)
            case (host, port):
                return SettingRow(variable, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", origin)
            case value:
                return SettingRow(variable, masked(value) if name == "redis_url" else str(value), origin)


def _find_file(env: Mapping[str, str], flags: Mapping[str, str], cwd: Path) -> SettingsFile:
    """Return the file that was named, else the `reactor.toml` of `cwd`, else an empty one."""
    known = frozenset(NAMES)
    named = flags.get("config") or env.get(CONFIG_VARIABLE)
    if named:
        return read_settings_file(cwd / named, known)
    path = cwd / "reactor.toml"
    return read_settings_file(path, known) if path.is_file() else SettingsFile()


def _template_origins(file: SettingsFile, ttl_origin: str) -> dict[str, str]:
    origins: dict[str, str] = {}
    for name, table in file.tables.items():
        origins[f"template.{name}.ttl"] = f"the setting ttl, from {ttl_origin}"
        origins |= {f"template.{name}.{key}": f"file {file.path}" for key in table.written()}
    return origins


def _text(text: str) -> str:
    return text


def _runtime(text: str) -> RuntimeName:
    try:
        return RuntimeName(text)
    except ValueError:
        raise ConfigError(f"{text[:40]!a} is not a runtime; docker or process") from None


def _prefix(text: str) -> str:
    if _PREFIX.fullmatch(text) is None:
        raise ConfigError(f"prefix {text[:40]!a} is not 1-32 of a-z 0-9 _ beginning with a letter")
    return text


def _deployment(text: str) -> Deployment:
    return Deployment(_name("deployment", text))


def _host(text: str) -> HostName:
    return HostName(_name("host name", text))


def _name(what: str, text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ConfigError(f"{what} {text[:70]!a} is not 1-63 of A-Z a-z 0-9 _ . - beginning with a letter or digit")
    return text


def _ttl(text: str) -> timedelta:
    return check_ttl(parse_duration(text))


def _lifetime(text: str) -> timedelta:
    lifetime = parse_duration(text)
    if lifetime < MIN_TTL:
        raise ConfigError(f"a lifetime is at least {format_duration(MIN_TTL)}; leave it out for none")
    return lifetime


def _period(text: str) -> timedelta:
    period = parse_duration(text)
    if timedelta(0) < period < timedelta(seconds=1):
        raise ConfigError("a period is at least 1s, or 0 for only by hand")
    return period


def _positive(text: str) -> timedelta:
    duration = parse_duration(text)
    if duration <= timedelta(0):
        raise ConfigError("this duration must be more than 0")
    return duration


def _listen(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    match = _LISTEN.fullmatch(text)
    if match is None or int(match[3]) > _MAX_PORT:
        raise ConfigError(f"{text[:60]!a} is not HOST:PORT (nor empty, for off)")
    return match[1] or match[2], int(match[3])
