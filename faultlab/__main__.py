"""`python -m faultlab run | recheck | wave | edge`.

What this is: the command line. What it is not: any of the work. The invariant: 0 means that everything held, 1 that
something did not; 69 that the laboratory could not be built here, 77 that it may not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from faultlab import edge
from faultlab.checks import judge
from faultlab.children import NotStarted, adopt_orphans
from faultlab.faults.catalogue import kinds
from faultlab.history import History
from faultlab.parts import Plan
from faultlab.report import table
from faultlab.run import carry_out, schedule, show
from faultlab.wave import break_over

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

OK, FAILED, NOT_HERE, NOT_ALLOWED, BY_HAND = 0, 1, 69, 77, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    chosen = _parser().parse_args(arguments)
    if chosen.command == "recheck":
        return judged(chosen.directory)
    if chosen.command == "edge":
        trials, left = asyncio.run(edge.race(chosen.trials, chosen.seed))
        text, well = edge.verdict(trials, chosen.trials, left)
        print(text, flush=True)
        return OK if well else FAILED
    if chosen.command == "wave":
        adopt_orphans()
        wave = asyncio.run(break_over(chosen.sessions, chosen.runtime, _say))
        print(wave.lines(), flush=True)
        return OK if wave.well else FAILED
    if getattr(chosen, "runtime", "docker") == "docker" and os.geteuid() != 0:
        _say("private Docker engines need root; use --runtime process, or sudo")
        return NOT_ALLOWED
    try:
        return run(chosen)
    except NotStarted as error:
        _say(str(error))
        return NOT_HERE


def run(chosen: argparse.Namespace) -> int:
    """Carry out a run and judge it; its history stays, so that it can be judged again."""
    steps = schedule(chosen.seed, chosen.minutes, chosen.runtime, chosen.only)
    if not steps:
        _say(f"no fault of the {chosen.runtime} runtime is called {', '.join(chosen.only)}")
        return FAILED
    _say(f"seed {chosen.seed}: {len(steps)} faults\n{show(steps)}")
    directory = chosen.keep or Path(tempfile.mkdtemp(prefix="faultlab."))
    directory.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        seed=chosen.seed,
        runtime=chosen.runtime,
        hosts=chosen.hosts,
        reactors=chosen.reactors,
        directory=directory.resolve(),
        kinds=tuple(kind.name for kind in kinds(chosen.runtime)),
    )
    began = time.monotonic()
    try:
        _in_order(carry_out(plan, steps, lambda text: _say(f"{time.monotonic() - began:6.1f} s  {text}")))
    except BaseException as error:
        _say(f"everything that was started is gone; what was written so far: {directory}")
        if isinstance(error, KeyboardInterrupt):
            return BY_HAND
        raise
    code = judged(directory)
    _say(f"history: {directory} (judge it again: python -m faultlab recheck {directory})")
    return code


def judged(directory: Path) -> int:
    """Judge a history that is there, print the table, and return the exit code."""
    where = directory / "history" if (directory / "history").is_dir() else directory
    story, violations = judge(History.read(where))
    print(table(story, violations), flush=True)
    return FAILED if violations else OK


def _in_order(work: Coroutine[None, None, None]) -> None:
    """Run it; SIGTERM ends it as Ctrl-C does."""
    adopt_orphans()

    async def supervised() -> None:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    asyncio.run(supervised())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m faultlab", description="The fault laboratory.")
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="random faults from a seed, then the judgement")
    running.add_argument("--seed", type=int, default=1)
    running.add_argument("--minutes", type=float, default=2.0)
    running.add_argument("--hosts", type=int, choices=(1, 2), default=1)
    running.add_argument("--reactors", type=int, default=2, help="on each host")
    running.add_argument("--runtime", choices=("docker", "process"), default="docker")
    running.add_argument("--only", action="append", default=[], metavar="FAULT", help="only these faults")
    running.add_argument("--keep", type=Path, metavar="DIR", help="where the history stays")
    again = commands.add_parser("recheck", help="judge a history again")
    again.add_argument("directory", type=Path)
    racing = commands.add_parser("edge", help="heartbeats that race the deadline")
    racing.add_argument("--trials", type=int, default=1000)
    racing.add_argument("--seed", type=int, default=1)
    breaking = commands.add_parser("wave", help="a restart with hundreds of overdue sessions")
    breaking.add_argument("--sessions", type=int, default=500)
    breaking.add_argument("--runtime", choices=("fake", "process"), default="fake")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
