"""The flags of the settings, accepted before and after the command's name.

What this is: each setting as a flag. What it is not: their meaning or their precedence (settings). The invariant: a
flag given twice, before and after the command, counts where it stands last.
"""

# ruff: noqa: PLC0415 -- `reactor --help` must not wait for imports

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from reactor.settings import Settings

T = TypeVar("T")
_FLAGS: Final = {
    "redis_url": ("URL", "Redis: redis://, rediss:// or unix:// [env REDIS_URL, or REDIS_URL_FILE for its file]"),
    "docker_host": ("URL", "The Docker engine [env DOCKER_HOST]"),
    "docker_cert_path": ("PATH", "Certificates for it [env DOCKER_CERT_PATH]"),
    "config": ("FILE", "Templates and settings [env REACTOR_CONFIG; default reactor.toml, if it is there]"),
    "runtime": ("NAME", "docker, or process: local processes for development [env REACTOR_RUNTIME]"),
    "prefix": ("NAME", "Begin of each Redis key; default mcp [env REACTOR_PREFIX]"),
    "deployment": ("NAME", "Whose containers these are [env REACTOR_DEPLOYMENT]"),
    "host": ("NAME", "Whose sessions are torn down here; default the engine's name [env REACTOR_HOST]"),
    "ttl": ("TIME", "Idle limit; default 15m [env REACTOR_TTL]"),
    "max_lifetime": ("TIME", "Hard end that no heartbeat extends [env REACTOR_MAX_LIFETIME]"),
    "grace": ("TIME", "Given once after an outage; default the TTL [env REACTOR_GRACE]"),
    "stop_grace": ("TIME", "SIGTERM to SIGKILL; default 10s [env REACTOR_STOP_GRACE]"),
    "janitor_every": ("TIME", "Period of the reconcile; default 10m, 0 = by hand [env REACTOR_JANITOR_EVERY]"),
    "listen": ("HOST:PORT", "/livez and /readyz of run; default 127.0.0.1:8642, '' = off [env REACTOR_LISTEN]"),
    "acquire_timeout": ("TIME", "The most that an acquire waits; default 60s [env REACTOR_ACQUIRE_TIMEOUT]"),
}


def _flags(context: click.Context) -> dict[str, str]:
    """Return the settings' flags of this call, kept by the root command's context."""
    return cast("dict[str, str]", context.find_root().ensure_object(dict))


def _keep(context: click.Context, parameter: click.Parameter, value: str | bool | None) -> None:  # noqa: FBT001
    """Note a flag that was given; the innermost context is parsed last and so wins."""
    if value is not None:
        flags = _flags(context)
        flags[parameter.name] = value if isinstance(value, str) else "1" * value


def _settings_flags(taken: frozenset[str], *, hidden: bool) -> list[click.Option]:
    flags = [
        click.Option(
            [f"--{name.replace('_', '-')}"],
            metavar=metavar,
            help=text,
            hidden=hidden,
            expose_value=False,
            callback=_keep,
        )
        for name, (metavar, text) in _FLAGS.items()
        if name not in taken
    ]
    verify = click.Option(
        ["--docker-tls-verify/--no-docker-tls-verify"],
        default=None,
        help="Verify its certificate [env DOCKER_TLS_VERIFY]",
        hidden=hidden,
        expose_value=False,
        callback=_keep,
    )
    return [*flags, verify]


class SettingsCommand(click.Command):
    """A command that takes the settings' flags as well, without listing them again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add every flag whose name the command does not use itself."""
        super().__init__(*args, **kwargs)
        taken = frozenset(parameter.name for parameter in self.params)
        self.params += _settings_flags(taken, hidden=True)
        self.epilog = "The flags of `reactor --help` may stand here too."


class SettingsGroup(click.Group):
    """The root command, which lists the settings' flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add the flags."""
        super().__init__(*args, **kwargs)
        self.params += _settings_flags(frozenset(), hidden=False)


def load_settings(*, quiet: bool = False) -> Settings:
    """Return the settings of this call, and print their warnings unless `quiet`. Raises as `Settings.load`."""
    from reactor.cli.output import note
    from reactor.settings import Settings

    settings = Settings.load(flags=_flags(click.get_current_context()))
    for warning in () if quiet else settings.warnings:
        note(f"warning: {warning}")
    return settings


def run_async(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `call` to its end in an event loop of its own and return its answer; Ctrl-C cancels it."""
    import anyio

    return anyio.run(call)


json_flag = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
