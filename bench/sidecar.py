"""The reactor that is measured, in a process of its own, with a probe of its event loop that runs only when asked.

What this is: the product's `Reactor` with its settings from the job, steered over stdin. What it is not: the command
line. The invariant: while nothing is asked nothing runs here but the product.
"""

from __future__ import annotations

import asyncio
import cProfile
import logging
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from bench.noop import NoopRuntime
from bench.population import Group
from bench.stats import NOTHING, percentile
from bench.talk import Ear, Message, job, say
from reactor import Reactor, Settings
from reactor.errors import ReactorError

if TYPE_CHECKING:
    from collections.abc import Generator

PROBE_S = 0.005


class Probe:
    """How late a sleeper wakes: for so long the loop was busy with one turn (or the machine with somebody else)."""

    def __init__(self) -> None:
        """Begin at once."""
        self._late: list[float] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PROBE_S
            await asyncio.sleep(PROBE_S)
            self._late.append((loop.time() - due) * 1000)

    def stop(self) -> dict[str, float]:
        """End, and return the worst and the 99th percentile in ms."""
        self._task.cancel()
        return {"worst_ms": max(self._late, default=0.0), "p99_ms": percentile(self._late, 0.99)}


class _Up(logging.Handler):
    """Notes when the reactor said that it has started: connected and bound, before its first reconcile."""

    at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "action", "") == "started":
            self.at = record.created


async def main(work: Message) -> None:
    """Run the reactor until stdin ends."""
    up = _Up()
    logging.basicConfig(level=logging.INFO, handlers=[up])
    complaints = logging.StreamHandler(sys.stderr)
    complaints.setLevel(logging.WARNING)
    logging.getLogger().addHandler(complaints)
    settings = Settings.load(env=cast("dict[str, str]", work["env"]))
    runtime = None
    if work["noop"]:
        population = [c for group in work["groups"] for c in Group(**group).containers()]
        runtime = NoopRuntime(population)
    ear = Ear()
    async with Reactor(settings, runtime=runtime) as reactor:
        say(ready_at=time.time(), up_at=up.at)
        await _answer(ear, reactor)


async def _answer(ear: Ear, reactor: Reactor) -> None:
    probe: Probe | None = None
    while (asked := await ear.next()) is not None:
        match asked["ask"]:
            case "probe":
                probe = Probe()
                say(ok=True)
            case "probed":
                say(**({} if probe is None else probe.stop()))
                probe = None
            case "reconcile":
                say(**await _reconcile(reactor))
            case "readiness":
                say(**cast("dict[str, Any]", reactor.readiness()))
            case word:
                say(error=f"nothing is known of {word!r}")


async def _reconcile(reactor: Reactor) -> dict[str, object]:
    try:
        began = time.monotonic()
        planned = len(await reactor.janitor.plan())
        plan_s = time.monotonic() - began
        began = time.monotonic()
        async for _ in reactor.janitor.run():
            pass
    except ReactorError as error:  # what could not be done is no number, and no reason to lose the others
        print(error, file=sys.stderr)
        return {"plan_s": NOTHING, "run_s": NOTHING, "planned": NOTHING}
    return {"plan_s": plan_s, "run_s": time.monotonic() - began, "planned": planned}


@contextmanager
def profiled() -> Generator[None]:
    """Write a profile of the block to the file that BENCH_PROFILE names, where it names one."""
    path = os.environ.get("BENCH_PROFILE")
    if not path:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        profile.dump_stats(path)


if __name__ == "__main__":
    with profiled():
        asyncio.run(main(job()))
