"""The command `reactor`: which commands there are, and what each way to fail looks like.

What this is: the entry point. What it is not: what a command does. The invariant: every failure is one line on stderr
and an exit code that says what to do; a traceback is shown only with REACTOR_DEBUG=1.
"""

# ruff: noqa: PLC0415 -- `reactor --help` must not wait for imports

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, cast

import click

from reactor.cli import demo, selftest, sessions, sidecar, upkeep
from reactor.cli.options import SettingsGroup
from reactor.cli.output import note
from reactor.errors import ReactorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BUG: Final = 70
_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if not value:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"reactor {version('session-reactor')}")
    except PackageNotFoundError:
        click.echo("reactor (not installed)")
    context.exit()


@click.group(cls=SettingsGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def cli() -> None:
    """Gives each session its own container, for as long as its heartbeat key in Redis lives.

    Times read 500ms, 15s, 15m, 2h. Settings: flag, then environment, then reactor.toml, then default.
    """


for _command in (
    sidecar.run,
    sessions.acquire,
    sessions.heartbeat,
    sessions.get,
    sessions.ls,
    sessions.terminate,
    upkeep.reconcile,
    upkeep.forget_host,
    upkeep.events,
    upkeep.doctor,
    upkeep.config,
    demo.demo,
    selftest.selftest,
):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (`sys.argv` unless given) and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; what went wrong is on stderr, in one line."""
    try:
        # Not `cli.main`, which would turn a broken pipe into an exit 1; that means "no" here.
        with cli.make_context("reactor", list(arguments)) as context:
            code: object = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as finished:
        return finished.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 (the last door; each leaf gets its line and code)
        return _fail(error)
    return code if isinstance(code, int) else 0


def _reader_went_away() -> int:
    """Let the interpreter's own flush at exit go nowhere, as `reactor ls | head -1` is no error to speak of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _BROKEN_PIPE


def _fail(error: BaseException) -> int:
    if os.environ.get("REACTOR_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    leaves = list(_leaves(error))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return _INTERRUPTED
    if any(isinstance(leaf, BrokenPipeError) for leaf in leaves):
        return _reader_went_away()
    bugs = [leaf for leaf in leaves if not isinstance(leaf, ReactorError | click.ClickException)]
    match (bugs or leaves)[0]:
        case click.exceptions.NoArgsIsHelpError() as leaf:
            click.echo(leaf.format_message(), err=True)
            return UsageError.exit_code
        case click.ClickException() as leaf:
            context = getattr(leaf, "ctx", None)
            path = context.command_path if isinstance(context, click.Context) else "reactor"
            note(f"{leaf.format_message().rstrip('.')} (see {path} --help)")
            return UsageError.exit_code
        case ReactorError() as leaf:
            note(str(leaf))
            return leaf.exit_code
        case leaf:
            note(f"bug: {type(leaf).__name__}: {leaf} (REACTOR_DEBUG=1 shows where)")
            return _BUG


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors inside a task group's group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(inner)
    else:
        yield error
