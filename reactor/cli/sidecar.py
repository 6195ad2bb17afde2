"""`reactor run`.

What this is: the sidecar as a process. What it is not: the sidecar (supervisor). The invariant: the process speaks on
stderr only.
"""

# ruff: noqa: PLC0415 -- `reactor --help` must not wait for imports

from __future__ import annotations

from functools import partial

import click

from reactor.cli.options import SettingsCommand, load_settings, run_async


@click.command(cls=SettingsCommand)
@click.option("--wait", metavar="TIME", help="Keep trying that long if Redis or Docker cannot be reached at start.")
@click.option("-v", "--verbose", is_flag=True, help="Log what is looked at too, not only what changes.")
def run(*, wait: str | None, verbose: bool) -> int:
    """The sidecar: tears each session down at its deadline.

    SIGTERM drains and exits 0, a second one quits; SIGHUP or SIGUSR1 reconciles now.
    """
    from reactor.cli.logs import log_to_stderr
    from reactor.templates import parse_duration

    waiting = None if wait is None else parse_duration(wait)
    settings = load_settings()
    log_to_stderr(verbose=verbose)
    from reactor.supervisor import run_until_signalled

    return run_async(partial(run_until_signalled, settings, wait=waiting))
