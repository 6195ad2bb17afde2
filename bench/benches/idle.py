"""What living sessions cost while nothing happens: the reactor, and Redis.

The engine is one that only answers (`bench.loads.fake_engine`), so that the reactor is what users run, with its client
of the engine and its event stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bench.fake import fake_scene, serve
from bench.run import Bench, Run
from bench.sheet import Sheet
from bench.watch import commands, cpu_over, memory, peak_memory, used_memory

if TYPE_CHECKING:
    from bench.child import Child
    from bench.scene import Scene

WITHOUT_EVENTS = 3_000_000
"""How far ahead the deadlines lie, in ms: no session is looked at meanwhile."""

RECONCILE_LIMIT_S = 600.0


def measure(run: Run) -> Sheet:
    """Measure every size."""
    sheet = Sheet()
    for count in run.sized((100_000, 1_000_000), (2000,)):
        run.say(f"{count:,} living sessions")
        with fake_scene(run) as place:
            _size(run, place, sheet, count)
    return sheet


def _size(run: Run, place: Scene, sheet: Sheet, count: int) -> None:
    with serve(place, []):
        place.learn()
        sidecar = place.reactor()
        empty_mb = memory(sidecar.pid)
        before = used_memory(place.client)
        place.seed(place.group(count, place.now_ms() + WITHOUT_EVENTS))
        bytes_each = (used_memory(place.client) - before) / count
        who, strict = f"{count:>9,} sessions: ", count == 100_000  # noqa: PLR2004 (what the targets are about)
        sheet.add(f"{who}Redis memory each", bytes_each, "bytes", most=900)
        _watch(run, place, sheet, sidecar, who, strict=strict)
        sheet.add(f"{who}reactor, more memory than with none", memory(sidecar.pid) - empty_mb, "MB")
        stream = cast("int | None", place.client.execute_command("MEMORY", "USAGE", "mcp:events")) or 0
        sheet.add(f"{who}capped audit stream, beside", stream / 1024, "KB")
        sidecar.end()  # before its engine does
    if count > 100_000:  # noqa: PLR2004 (a reconcile of more is not asked for)
        return
    run.say("the same, with a reactor that has compared them all")
    with serve(place, place.groups), place.start_reactor() as sidecar:
        sidecar.hear(RECONCILE_LIMIT_S)
        sidecar.ask("reconcile", RECONCILE_LIMIT_S)
        sheet.add(f"{who}reactor, memory after a reconcile", memory(sidecar.pid), "MB", most=80 if strict else None)
        sheet.add(f"{who}reactor, most memory in a reconcile", peak_memory(sidecar.pid), "MB")


def _watch(run: Run, place: Scene, sheet: Sheet, sidecar: Child, who: str, *, strict: bool) -> None:
    seconds = run.sized(30.0, 2.0)
    before = commands(place.client)
    share = cpu_over(sidecar.pid, seconds)
    sent = commands(place.client) - before - 1
    sheet.add(f"{who}reactor, of a core", share, "%", most=1 if strict else None)
    sheet.add(f"{who}reactor, memory", memory(sidecar.pid), "MB", most=80 if strict else None)
    sheet.add(f"{who}Redis commands (inside of scripts too)", sent / seconds, "/s")


BENCH = Bench(name="idle", about="living sessions while nothing happens, an engine that only answers", measure=measure)
