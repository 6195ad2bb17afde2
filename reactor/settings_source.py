"""Where a setting's text comes from: flag > environment (also a `*_FILE` of a secret) > `reactor.toml` > default.

What this is: the names and the precedence. What it is not: what a value may be (settings). The invariant: an error
names the source that is to be corrected, a bad flag is a `UsageError`, everything else a `ConfigError`, and no message
repeats a secret.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from reactor.errors import ConfigError, ReactorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reactor.settings_file import SettingsFile

T = TypeVar("T")
D = TypeVar("D")

NAMES: Final[Mapping[str, str]] = {
    "redis_url": "REDIS_URL",
    "docker_host": "DOCKER_HOST",
    "docker_tls_verify": "DOCKER_TLS_VERIFY",
    "docker_cert_path": "DOCKER_CERT_PATH",
    "runtime": "REACTOR_RUNTIME",
    "prefix": "REACTOR_PREFIX",
    "deployment": "REACTOR_DEPLOYMENT",
    "host": "REACTOR_HOST",
    "ttl": "REACTOR_TTL",
    "max_lifetime": "REACTOR_MAX_LIFETIME",
    "grace": "REACTOR_GRACE",
    "stop_grace": "REACTOR_STOP_GRACE",
    "janitor_every": "REACTOR_JANITOR_EVERY",
    "listen": "REACTOR_LISTEN",
    "acquire_timeout": "REACTOR_ACQUIRE_TIMEOUT",
}
"""Setting -> environment variable; the setting's name is also its key in `reactor.toml` and, with dashes, its flag."""
SECRETS: Final = frozenset(("redis_url",))
CONFIG_VARIABLE: Final = "REACTOR_CONFIG"
_OTHER_VARIABLES: Final = frozenset((CONFIG_VARIABLE, "REACTOR_DEBUG", "REACTOR_LOG", "REACTOR_TOKEN"))
_EMPTY_MEANS_OFF: Final = frozenset(("listen",))
_MAX_SECRET: Final = 65536


def flag_name(setting: str) -> str:
    """Return the command line flag of a setting."""
    return "--" + setting.replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """All sources of one load; notes in `origins` which one each setting came from."""

    env: Mapping[str, str]
    flags: Mapping[str, str]
    file: SettingsFile
    origins: dict[str, str] = field(default_factory=dict[str, str])

    def take(self, name: str, parse: Callable[[str], T], default: D) -> T | D:
        """Return the setting `name`, read by `parse` from the strongest source that has it, else `default`.

        An empty environment variable counts as not set (compose files pass such), but for a setting that can be off.
        Raises `UsageError` for a flag, `ConfigError` otherwise, naming the source.
        """
        found = self._text(name)
        if found is None:
            return default
        text, origin = found
        self.origins[name] = origin
        try:
            return parse(text)
        except ReactorError as error:
            kind = UsageError if origin.startswith("flag ") else ConfigError
            raise kind(f"{self._blame(name, origin)}: {error}") from error

    def _text(self, name: str) -> tuple[str, str] | None:
        if (text := self.flags.get(name)) is not None:
            return text, f"flag {flag_name(name)}"
        variable = NAMES[name]
        if name in SECRETS and (path := self.env.get(f"{variable}_FILE")):
            if self.env.get(variable):
                raise ConfigError(f"{variable} and {variable}_FILE are both set; keep one")
            return _secret(variable, Path(path)), f"environment {variable}_FILE"
        text = self.env.get(variable)
        if text or (text is not None and name in _EMPTY_MEANS_OFF):
            return text, f"environment {variable}"
        if (text := self.file.settings.get(name)) is not None:
            return text, f"file {self.file.path}"
        return None

    def _blame(self, name: str, origin: str) -> str:
        kind, _, where = origin.partition(" ")
        return f"{where}: {name}" if kind == "file" else where


def _secret(variable: str, path: Path) -> str:
    """Return the text of a secret's file without the line end that editors add."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_SECRET).rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{variable}_FILE: cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{variable}_FILE: {path} is not UTF-8 text") from error
    if not text:
        raise ConfigError(f"{variable}_FILE: {path} is empty")
    return text


def unknown_variables(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return a warning line for each `REACTOR_*` variable that means nothing to this program."""
    known = {name for name in NAMES.values() if name.startswith("REACTOR_")} | _OTHER_VARIABLES
    known |= {f"{NAMES[secret]}_FILE" for secret in SECRETS}
    lines: list[str] = []
    for name in sorted(env):
        if name.startswith("REACTOR_") and name not in known:
            like = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
            advice = f"; did you mean {like[0]}?" if like else ""
            lines.append(f"environment variable {ascii(name)[1:-1]} is unknown and ignored{advice}")
    return tuple(lines)
