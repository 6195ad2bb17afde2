"""`reactor reconcile | forget-host | events | doctor | config`.

What this is: what an operator asks. What it is not: the answers. The invariant: but for `reconcile` without
`--dry-run` and `forget-host`, nothing here changes anything that lasts; only those two ask, and only on a terminal.
"""

# ruff: noqa: PLC0415 -- `reactor --help` must not wait for imports

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from reactor.cli.options import SettingsCommand, json_flag, load_settings, run_async
from reactor.cli.output import (
    agreed,
    coloured,
    may_ask,
    note,
    one_line,
    printable,
    roughly,
    say,
    short_id,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from reactor.doctor import Check
    from reactor.reconcile import PlanLine
    from reactor.settings import Settings

_DRIFT: Final = 1
_NO: Final = 1
_TRY_AGAIN: Final = 75
_DONE: Final = frozenset(("done", "gone already"))
_ACTIONS: Final = {"remove": "red", "end": "red", "adopt": "green", "repair": "yellow"}
_STATUS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(cls=SettingsCommand)
@click.option("--dry-run", is_flag=True, help="Show the plan only: exit 0 without drift, 1 with.")
@click.option("--force", is_flag=True, help="Go on although so much would be removed at once that it looks wrong.")
@json_flag
def reconcile(*, dry_run: bool, force: bool, as_json: bool) -> int:
    """Compare what Redis says with what runs, and repair both."""
    from reactor.errors import UsageError

    if dry_run and force:
        raise UsageError("--dry-run does nothing that --force could allow; give one of them")
    settings = load_settings()
    if dry_run:
        return run_async(partial(_show_plan, settings, as_json=as_json))
    return run_async(partial(_carry_out, settings, force=force, as_json=as_json))


async def _show_plan(settings: Settings, *, as_json: bool) -> int:

    from reactor.reconcile import Janitor

    async with Janitor.from_settings(settings) as janitor:
        lines, braked = await janitor.survey()
    for line in lines:
        if as_json:
            show_json(line.as_dict())
        else:
            say(_plan_text(line))
    drift = sum(line.is_drift for line in lines)
    if not as_json:
        note("no drift" if not drift else f"{drift} to repair; without --dry-run it is done")
        if braked:
            note(braked)
    return _DRIFT if drift else 0


async def _carry_out(settings: Settings, *, force: bool, as_json: bool) -> int:
    from reactor.reconcile import BrakeEngaged, Janitor

    tally = _Tally(as_json=as_json)
    async with Janitor.from_settings(settings) as janitor:
        try:
            await tally.follow(janitor.run(force=force))
        except BrakeEngaged as brake:
            if as_json or not may_ask() or not agreed(f"{brake}; remove them now?"):
                raise
            await tally.follow(janitor.run(agreed=brake.held))
    if tally.failed:
        note(f"{tally.failed} of {tally.total} repairs failed; run it again")
        return _TRY_AGAIN
    if not as_json:
        note("no drift" if not tally.total else f"{tally.total} repaired")
    return 0


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What was carried out so far, shown as it comes."""

    as_json: bool
    total: int = 0
    failed: int = 0

    async def follow(self, outcomes: AsyncIterator[tuple[PlanLine, str]]) -> None:
        async for line, outcome in outcomes:
            bad = line.is_drift and outcome not in _DONE
            self.total += line.is_drift
            self.failed += bad
            if self.as_json:
                show_json({**line.as_dict(), "outcome": outcome})
            elif line.is_drift:
                say(f"{_plan_text(line)}: {coloured(one_line(outcome), 'red' if bad else None, sys.stdout)}")
            else:
                say(_plan_text(line))


def _plan_text(line: PlanLine) -> str:
    action = coloured(f"{line.action!s:<6}", _ACTIONS.get(str(line.action)), sys.stdout)
    age = "" if line.age is None else f" ({roughly(line.age)} old)"
    about = f"{line.session_id or '-'}  {short_id(line.container_id)}  {one_line(line.reason)}{age}"
    return f"{action}  {line.kind!s:<16}  {about}"


@click.command(name="forget-host", cls=SettingsCommand)
@click.argument("name", metavar="HOST")
@click.option("--force", is_flag=True, help="End its sessions although its reactor runs; nothing is asked.")
@json_flag
def forget_host(*, name: str, force: bool, as_json: bool) -> int:
    """Free the sessions of a host that never returns; their ids may start elsewhere.

    Should it return, it removes what it still runs of them.
    """
    from reactor.session import HostName

    host, settings = HostName(name), load_settings()

    def asked(count: int) -> bool:
        return agreed(f"free {_counted(count)} of host {host}? Where it still runs, their containers run on")

    async def call() -> int | None:
        from reactor.forget import forget_host as forget

        ask = None if force or as_json or not may_ask() else asked
        return await forget(settings, host, force=force, agreed=ask)

    freed = run_async(call)
    if freed is None:
        note("nothing was changed")
        return _NO
    if as_json:
        show_json({"host": host, "freed": freed})
    else:
        say(f"forgot host {printable(host)}, freed {_counted(freed)}")
    return 0


def _counted(sessions: int) -> str:
    return f"{sessions} session{'s' if sessions != 1 else ''}"


@click.command(cls=SettingsCommand)
@click.argument("id", metavar="[ID]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now.")
@json_flag
def events(*, id: str | None, follow: bool, as_json: bool) -> None:  # noqa: A002
    """The audit stream: one entry per change of state, of all sessions or one."""
    from reactor.session import parse_session_id

    session_id = None if id is None else parse_session_id(id)
    settings = load_settings(quiet=True)

    async def call() -> None:
        from reactor.audit import follow_events

        async for entry in follow_events(settings, follow=follow, session_id=session_id):
            if as_json:
                show_json(entry)
            else:
                say(_event_text(entry))

    run_async(call)


def _event_text(entry: Mapping[str, object]) -> str:
    container = entry.get("container_id")
    words = [str(entry.get("at", "-")), f"{entry.get('event', '-')!s:<10}", str(entry.get("session_id") or "-")]
    words += [short_id(str(container))] if container else []
    details = ("reason", "detector", "host", "lag_ms", "took_ms", "generation")
    words += [f"{name}={entry[name]}" for name in details if entry.get(name) not in {None, ""}]
    return "  ".join(printable(word) for word in words)


@click.command(cls=SettingsCommand)
@json_flag
def doctor(*, as_json: bool) -> int:
    """Check Redis, the engine and the clocks; one line each, with the fix."""
    settings = load_settings()
    failures: list[int] = []

    async def call() -> None:
        from reactor.doctor import examine_setup

        async for check in examine_setup(settings):
            if check.status == "fail":
                failures.append(check.exit_code)
            if as_json:
                shown = {"name": check.name, "status": str(check.status), "detail": check.detail, "fix": check.fix}
                show_json(shown)
            else:
                say(_check_text(check))

    run_async(call)
    return failures[0] if failures else 0


def _check_text(check: Check) -> str:
    status = coloured(f"{check.status!s:<4}", _STATUS.get(str(check.status)), sys.stdout)
    fix = f"; fix: {check.fix}" if check.fix else ""
    return f"{status}  {check.name}: {one_line(check.detail + fix)}"


@click.command(cls=SettingsCommand)
@json_flag
def config(*, as_json: bool) -> None:
    """The effective settings with their origin; secrets are masked."""
    rows = load_settings().describe()
    if as_json:
        for row in rows:
            show_json(row._asdict())
    else:
        show_table(
            ("NAME", "VALUE", "FROM"), [(row.name, "-" if row.value is None else row.value, row.origin) for row in rows]
        )
