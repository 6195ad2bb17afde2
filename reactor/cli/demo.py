"""`reactor demo`.

What this is: the door to the demo. What it is not: the demo. The invariant: nothing of it is imported before it runs.
"""

# ruff: noqa: PLC0415 -- `reactor --help` must not wait for imports

from __future__ import annotations

import click

from reactor.cli.options import SettingsCommand


@click.command(cls=SettingsCommand)
def demo() -> int:
    """The main job on embedded defaults, start to end, in about 20 s."""
    from reactor.demo import run_demo

    return run_demo()
