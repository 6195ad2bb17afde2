"""`reactor.toml`: read, its keys and types checked, its templates made.

What this is: from the text of one file to settings as text and to typed templates. What it is not: the environment or
the precedence between sources (settings). The invariant: whatever is wrong in the file is one `ConfigError` that names
the file, the key and, for an unknown key, the nearest one that exists.
"""

from __future__ import annotations

import difflib
import re
import shlex
import tomllib
from typing import TYPE_CHECKING, Any, cast

import msgspec

from reactor.errors import ConfigError, ReactorError
from reactor.template_rules import check_template, format_memory, format_ready, ignored_keys, parse_memory, parse_ports
from reactor.templates import Pull, Template, check_ttl, format_duration, parse_duration, parse_ready

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta
    from pathlib import Path

_TEMPLATE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class TemplateTable(msgspec.Struct, frozen=True, kw_only=True):
    """A `[template.NAME]` as it is written; UNSET where it says nothing. Its fields are the keys there are."""

    image: str | msgspec.UnsetType = msgspec.UNSET
    command: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    ports: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    ready: str | msgspec.UnsetType = msgspec.UNSET
    ttl: str | msgspec.UnsetType = msgspec.UNSET
    max_ttl: str | msgspec.UnsetType = msgspec.UNSET
    memory: str | msgspec.UnsetType = msgspec.UNSET
    cpus: float | msgspec.UnsetType = msgspec.UNSET
    pids: int | msgspec.UnsetType = msgspec.UNSET
    network: str | msgspec.UnsetType = msgspec.UNSET
    environment: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    pull: Pull | msgspec.UnsetType = msgspec.UNSET
    user: str | msgspec.UnsetType = msgspec.UNSET
    working_dir: str | msgspec.UnsetType = msgspec.UNSET
    read_only: bool | msgspec.UnsetType = msgspec.UNSET
    tmpfs: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    cap_add: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    volumes: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    pool: int | msgspec.UnsetType = msgspec.UNSET
    pool_drain: bool | msgspec.UnsetType = msgspec.UNSET

    def written(self) -> dict[str, Any]:
        """Return the keys that the table has."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if value is not msgspec.UNSET}


class SettingsFile(msgspec.Struct, frozen=True, kw_only=True):
    """What one file says: settings as text, templates as tables; both empty where there is no file."""

    path: Path | None = None
    settings: dict[str, str] = {}
    tables: dict[str, TemplateTable] = {}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the advice for an unknown `name`: the known one that is most like it, else all of them."""
    names = sorted(known)
    like = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {like[0]!r}?" if like else f"known: {', '.join(names) or 'none'}"


def read_settings_file(path: Path, known: frozenset[str]) -> SettingsFile:
    """Return what `path` says; `known` are the settings that it may hold. Raises `ConfigError`."""
    try:
        raw: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    settings: dict[str, str] = {}
    tables: dict[str, TemplateTable] = {}
    for key, value in raw.items():
        if key == "template":
            tables = {name: _table(path, name, table) for name, table in _subtables(path, value).items()}
        elif key in known:
            settings[key] = _setting(path, key, value)
        else:
            raise ConfigError(f"{path}: unknown key {key!a}; {nearest(key, known | {'template'})}")
    return SettingsFile(path=path, settings=settings, tables=tables)


def _setting(path: Path, key: str, value: object) -> str:
    """Return a top-level value as the text that the environment would hold."""
    if key == "docker_tls_verify":
        if isinstance(value, bool):
            return "1" if value else ""
        raise ConfigError(f"{path}: {key} is {_kind(value)}; expected true or false")
    if isinstance(value, str):
        return value
    if value == 0 and type(value) is int:
        return "0"  # a duration of nothing reads well without a unit
    hint = ' like "15m"' if isinstance(value, int) and not isinstance(value, bool) else ""
    raise ConfigError(f"{path}: {key} is {_kind(value)}; expected text in quotes{hint}")


def _subtables(path: Path, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: template is {_kind(value)}; templates are tables: [template.NAME]")
    tables = cast("dict[str, object]", value)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: template.{name} is {_kind(table)}; templates are tables: [template.NAME]")
        if _TEMPLATE_NAME.fullmatch(name) is None:
            raise ConfigError(f"{path}: template name {name[:70]!a} is not 1-63 of A-Z a-z 0-9 _ . -")
    return tables


def _table(path: Path, name: str, raw: object) -> TemplateTable:
    for key in cast("dict[str, object]", raw):
        if key not in TemplateTable.__struct_fields__:
            advice = nearest(key, TemplateTable.__struct_fields__)
            raise ConfigError(f"{path}: unknown key {key!a} in [template.{name}]; {advice}")
    try:
        return msgspec.convert(raw, TemplateTable)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: [template.{name}] {_without_paths(str(error))}") from error


def _without_paths(message: str) -> str:
    """Turn msgspec's "Expected `str`, got `int` - at `$.image`" into "image: expected str, got int"."""
    what, _, where = message.partition(" - at ")
    what = what.replace("`", "").replace(" | null", "")
    return f"{where.strip('`').removeprefix('$.') or 'table'}: {what[:1].lower()}{what[1:]}"


def _kind(value: object) -> str:
    names: dict[type, str] = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), "a date or time")


def make_templates(
    file: SettingsFile, *, ttl: timedelta, runs_containers: bool
) -> tuple[dict[str, Template], tuple[str, ...]]:
    """Return the templates by name, and a warning line if keys are ignored. `ttl` is for those without their own.

    Raises `ConfigError` for a value or a relation between values that cannot work.
    """
    templates: dict[str, Template] = {}
    ignored: set[str] = set()
    for name, table in file.tables.items():
        try:
            templates[name] = _template(name, table, ttl)
            check_template(templates[name], runs_containers=runs_containers)
        except ReactorError as error:
            raise ConfigError(f"{file.path}: [template.{name}] {error}") from error
        ignored |= set() if runs_containers else ignored_keys(table.written())
    if not ignored:
        return templates, ()
    return templates, (f"{file.path}: the process runtime ignores {', '.join(sorted(ignored))}",)


def _template(name: str, table: TemplateTable, ttl: timedelta) -> Template:
    values: dict[str, Any] = {"ttl": ttl}
    for key, value in table.written().items():
        values[key] = _typed(key, value)
    return Template(name=name, **values)


def _typed(key: str, value: Any) -> Any:
    """Return what the template holds for the text that the file has."""
    match key:
        case "ttl" | "max_ttl":
            try:
                return check_ttl(parse_duration(value))
            except ReactorError as error:
                raise ConfigError(f"{key}: {error}") from error
        case "memory":
            return parse_memory(value)
        case "ready":
            return parse_ready(value)
        case "ports":
            return parse_ports(value)
        case _:
            return value


def describe_template(template: Template) -> dict[str, str]:
    """Return a template's values as text; of its environment only the names, since the values may be secrets."""
    shown: dict[str, str] = {}
    value: Any
    for key in TemplateTable.__struct_fields__:
        value = getattr(template, key)
        match key:
            case "ttl" | "max_ttl":
                shown[key] = format_duration(value)
            case "ready":
                shown[key] = format_ready(value)
            case "environment":
                shown[key] = " ".join(f"{name}=***" for name in value)
            case "command":
                shown[key] = shlex.join(value)
            case "memory":
                shown[key] = format_memory(value)
            case "read_only" | "pool_drain":
                shown[key] = "true" if value else "false"
            case "ports" | "tmpfs" | "cap_add" | "volumes":
                shown[key] = " ".join(value)
            case _:
                shown[key] = str(value)
    return shown
