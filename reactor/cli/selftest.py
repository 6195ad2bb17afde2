"""`reactor selftest`.

What this is: the door to the selftest. What it is not: the selftest. The invariant: nothing of it is imported before it
runs, and of the settings only those that say where to run have a say in it.
"""

# ruff: noqa: PLC0415 -- `reactor --help` must not wait for imports

from __future__ import annotations

from typing import Final, cast

import click

from reactor.cli.options import SettingsCommand, json_flag, load_settings

_HEARD: Final = frozenset(
    ("redis_url", "docker_host", "docker_tls_verify", "docker_cert_path", "runtime", "host", "config")
)
"""The settings that say where to run; every other one belongs to a real deployment."""


@click.command(cls=SettingsCommand)
@click.option("--sessions", metavar="N", type=int, default=20, help="Throw-away sessions; default 20.")
@click.option("--template", metavar="NAME", help="Use one of your templates instead of an image that it brings.")
@json_flag
def selftest(*, sessions: int, template: str | None, as_json: bool) -> int:
    """The promise tried out here, with faults, on throw-away sessions; about a minute.

    On your own Redis and engine, under a prefix of its own: it kills its own reactor, cuts its own subscriptions, loses
    its own keys, and touches nothing else. Exit 0: passed; 1: a promise was broken.
    """
    from reactor.errors import UsageError
    from reactor.settings_source import flag_name

    given = cast("dict[str, str]", click.get_current_context().find_root().ensure_object(dict))
    for name in given.keys() - _HEARD:
        raise UsageError(f"reactor selftest brings its own settings: leave {flag_name(name)} out")
    settings = load_settings()
    from reactor.selftest.run import run_selftest

    return run_selftest(settings, sessions=sessions, template=template, as_json=as_json)
