"""`reactor demo`.

What this is: the door to the demo. What it is not: the demo. The invariant: nothing of it is imported before it runs,
and no `reactor.toml` nor setting of a real deployment has a say in it.
"""

# ruff: noqa: PLC0415 -- `reactor --help` must not wait for imports

from __future__ import annotations

import os
from typing import Final, cast

import click

from reactor.cli.options import SettingsCommand, json_flag

_HEARD: Final = frozenset(("redis_url", "docker_host", "docker_tls_verify", "docker_cert_path", "runtime"))
"""The settings that say where to run the demo; every other one belongs to a real deployment."""


@click.command(cls=SettingsCommand)
@json_flag
def demo(*, as_json: bool) -> int:
    """The main job on embedded defaults, start to end, in about 20 s.

    Redis is the one of REDIS_URL, else one is started for the demo. The sessions are containers if Docker can be used,
    else local processes; --runtime docker or process decides it. Exit 0 only if everything was observed.
    """
    from reactor.demo import run_demo
    from reactor.errors import UsageError
    from reactor.settings import Settings
    from reactor.settings_source import NAMES, SECRETS, flag_name

    given = cast("dict[str, str]", click.get_current_context().find_root().ensure_object(dict))
    for name in given.keys() - _HEARD:
        raise UsageError(f"reactor demo brings its own settings: leave {flag_name(name)} out")
    heard = {NAMES[name] for name in _HEARD} | {f"{NAMES[name]}_FILE" for name in SECRETS}
    env = {name: text for name, text in os.environ.items() if name in heard}
    # An empty file instead of the reactor.toml that may lie here.
    settings = Settings.load(env=env, flags={**given, "config": os.devnull})
    return run_demo(settings, as_json=as_json)
