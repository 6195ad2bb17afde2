"""Measure: `python -m bench NAME` or `python -m bench all`; a table on stdout, progress on stderr.

What this is: the command line, and the order of things. What it is not: a measurement (`bench.benches`). The
invariant: it leaves nothing behind, also when it is interrupted; a target that is missed is shown, and is no failure.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from bench.child import ChildFailed
from bench.machine import DOCKER, CannotRun, facts, in_words, require
from bench.run import Bench, Run
from bench.sheet import Line, Sheet, combined, table

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES: Final = (
    "detection", "kill", "storm", "drain", "acquire", "single_flight", "noise", "idle", "reconcile", "restart",
    "heartbeats",
)  # fmt: skip


def find(name: str) -> Bench:
    """Return a bench by its name."""
    module = importlib.import_module(f"bench.benches.{name.replace('-', '_')}")
    return cast("Bench", module.BENCH)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    names = [name.replace("_", "-") for name in NAMES]
    parser.add_argument("name", choices=["all", *names], metavar="NAME", help=f"all, or one of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="small loads that try everything and prove nothing")
    parser.add_argument("--runs", type=int, default=0, help="how often each is measured (default: 3, with --quick 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there too ('-': to stdout)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for and print it; returns the exit code."""
    options = parse(arguments)
    benches = [find(name) for name in (NAMES if options.name == "all" else (options.name,))]
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    try:
        for bench in benches:
            require([*bench.programs, *(DOCKER if bench.docker else ())], root=bench.docker)
        machine = facts()
        print(in_words(machine))
        with ExitStack() as stack:
            run = Run(quick=options.quick, say=say, stack=stack)
            results = {bench.name: _measured(bench, run, options.runs) for bench in benches}
    except CannotRun as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.code
    except ChildFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 70
    except KeyboardInterrupt:
        print("bench: interrupted; everything was ended", file=sys.stderr)
        return 130
    if options.json is not None:
        _write(options.json, {"machine": machine, "quick": options.quick, "benches": results})
    return 0


def _measured(bench: Bench, run: Run, runs: int) -> list[dict[str, object]]:
    """Measure a bench several times, print its table, and return its lines for JSON."""
    count = runs or (1 if run.quick else bench.runs)
    sheets: list[Sheet] = []
    for number in range(1, count + 1):
        run.say(f"{bench.name}: run {number} of {count}")
        sheets.append(bench.measure(run))
    lines: list[Line] = combined(sheets)
    print(table(bench.name, bench.about, lines), end="\n\n", flush=True)
    return [line.as_dict() for line in lines]


def _write(path: Path, content: dict[str, object]) -> None:
    text = json.dumps(content, indent=1) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        path.write_text(text)


def _interrupt(number: int, frame: object) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    sys.exit(main(sys.argv[1:]))
