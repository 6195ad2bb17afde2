"""`python -m faultlab.sim`: the crash-point sweep, the soak, the race at the deadline, and the digest of a seed.

What this is: arguments, processes to spread the work over, and what is printed. What it is not: any of the work. The
invariant: the exit code is 0 only if nothing was violated.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from faultlab.sim.edge import Edge, run_edge
from faultlab.sim.flows import FLOWS
from faultlab.sim.ports import Fault
from faultlab.sim.soak import Epoch, run_epoch
from faultlab.sim.stage import Spoil
from faultlab.sim.sweep import Tally, run_one, sweep_flow

J = TypeVar("J")
R = TypeVar("R")
PARTS = 8
"""Into how many pieces the sweep of a flow is cut, so that the processes finish together."""
EPOCH_HOURS = 1.0


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for; returns 1 where something was violated."""
    parser = argparse.ArgumentParser(prog="python -m faultlab.sim", description=__doc__)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    verbs = parser.add_subparsers(dest="verb", required=True)
    sweep = verbs.add_parser("sweep", help="each fault at each call of each flow")
    sweep.add_argument("flows", nargs="*", help=f"all: {' '.join(FLOWS)}")
    sweep.add_argument("--seed", type=int, default=1)
    sweep.add_argument("--every", type=int, default=1, help="only each n-th run")
    one = verbs.add_parser("one", help="one run of a sweep, with its trace")
    one.add_argument("flow", choices=FLOWS)
    one.add_argument("fault", nargs="?", choices=[fault.value for fault in Fault], default="none")
    one.add_argument("at", nargs="?", type=int, default=0)
    one.add_argument("--at-once", action="store_true", help="somebody asks for the sessions as soon as it befell")
    one.add_argument("--seed", type=int, default=1)
    soak = verbs.add_parser("soak", help="random faults, hours of virtual time")
    soak.add_argument("--hours", type=float, default=10)
    soak.add_argument("--seed", type=int, default=1)
    soak.add_argument("--first", type=int, default=0, help="go on with this epoch, after a run that was stopped")
    soak.add_argument("--trace", type=Path, default=Path("soak-traces"), help="where traces of failed epochs go")
    recheck = verbs.add_parser("recheck", help="one epoch of a soak again, with its history; 1 while it still fails")
    recheck.add_argument("epoch", type=int, help="its seed, as the soak names it")
    recheck.add_argument("--hours", type=float, default=EPOCH_HOURS)
    edge = verbs.add_parser("edge", help="heartbeats that race the deadline")
    edge.add_argument("--trials", type=int, default=100_000)
    edge.add_argument("--seed", type=int, default=1)
    digest = verbs.add_parser("digest", help="the fingerprint of a seed, twice")
    digest.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    verb = {
        "sweep": _sweep, "one": _one, "soak": _soak, "recheck": _recheck, "edge": _edge, "digest": _digest,
    }[asked.verb]  # fmt: skip
    code = verb(asked)
    print(f"{time.monotonic() - began:.0f} s")
    return code


def _sweep(asked: argparse.Namespace) -> int:
    names = asked.flows or list(FLOWS)
    parts = [(name, asked.seed, asked.every, part) for name in names for part in range(PARTS)]
    total, by_flow = Tally(), dict[str, Tally]()
    for name, tally in _spread(asked.processes, _sweep_part, parts):
        mine = by_flow.setdefault(name, Tally())
        mine.runs, mine.failed = mine.runs + tally.runs, mine.failed + tally.failed
        mine.calls, mine.pushes = tally.calls, tally.pushes
        total.add(tally)
        for run in tally.failed:
            print(run, flush=True)
    for name, tally in by_flow.items():
        print(f"{name:28} {tally.calls:4} calls {tally.pushes:3} events {tally.runs:5} runs {len(tally.failed)} failed")
    print(f"{len(by_flow)} flows, {sum(tally.calls for tally in by_flow.values())} calls, {total.runs} runs")
    print(", ".join(f"{fault} {count}" for fault, count in sorted(total.faults.items())))
    print(f"longest until a session was had that was asked for as soon as the fault befell: {total.served:.1f} s")
    print(f"excused: {total.excused} sessions lost to a standstill that every reactor saw and none lived to write down")
    print(f"violations: {len(total.failed)}")
    return bool(total.failed)


def _sweep_part(part: tuple[str, int, int, int]) -> tuple[str, Tally]:
    name, seed, every, index = part
    return name, sweep_flow(name, seed, every=PARTS * every, first=index * every)


def _one(asked: argparse.Namespace) -> int:
    world, run = run_one(asked.flow, asked.seed, Spoil(Fault(asked.fault), asked.at, asked.at_once))
    print("\n".join(world.trace))
    print(run)
    return bool(run.wrong)


def _soak(asked: argparse.Namespace) -> int:
    count = max(1, round(asked.hours / EPOCH_HOURS))
    seeds = [asked.seed * 1_000_000 + asked.first + index for index in range(count)]
    digests: dict[int, str] = {}
    faults, counts, failed, longest = Counter[str](), Counter[str](), 0, 0.0
    for epoch in _spread(asked.processes, partial(_epoch, asked.hours / count), seeds):
        digests[epoch.seed] = epoch.digest
        faults.update(epoch.faults)
        counts.update(epoch.counts)
        longest = max(longest, epoch.longest_settle)
        if epoch.wrong:
            failed += 1
            asked.trace.mkdir(exist_ok=True)
            (asked.trace / f"{epoch.seed}.txt").write_text("\n".join(epoch.trace))
            print(f"epoch {epoch.seed}: {'; '.join(epoch.wrong[:3])}", flush=True)
        if len(digests) % 25 == 0:
            print(f"{len(digests)} of {count} epochs, {failed} with a violation", flush=True)
    whole = hashlib.sha256("".join(digests[seed] for seed in seeds).encode()).hexdigest()[:16]
    print(f"{asked.hours:g} simulated hours in {count} epochs, digest {whole}")
    print(", ".join(f"{name} {number}" for name, number in sorted(counts.items())))
    print(", ".join(f"{name} {number}" for name, number in sorted(faults.items())))
    print(f"longest time to settle {longest:.0f} s; epochs with a violation: {failed}")
    return bool(failed)


def _recheck(asked: argparse.Namespace) -> int:
    epoch = run_epoch(asked.epoch, asked.hours)
    print("\n".join(epoch.trace))
    print(f"epoch {epoch.seed}, digest {epoch.digest}: {'; '.join(epoch.wrong) or 'nothing is wrong'}")
    return bool(epoch.wrong)


def _epoch(hours: float, seed: int) -> Epoch:
    try:
        return run_epoch(seed, hours)
    except Exception as error:  # noqa: BLE001 (the other epochs go on; it counts as a violation)
        trace = tuple(traceback.format_exc().splitlines())
        return Epoch(seed, hours, wrong=(f"BUG: the simulation ended with {error!r}",), trace=trace)


def _edge(asked: argparse.Namespace) -> int:
    share = 5000
    trials = [min(share, asked.trials - done) for done in range(0, asked.trials, share)]
    jobs = [(number, asked.seed * 1000 + index) for index, number in enumerate(trials)]
    total, wrong = Edge(), list[str]()
    for result in _spread(asked.processes, _race, jobs):
        total.trials += result.trials
        total.alive += result.alive
        total.over += result.over
        wrong += result.wrong
    print(f"{total.trials} races within 5 ms of the deadline: {total.alive} heard 1, {total.over} heard 0")
    print(f"violations: {len(wrong)}")
    for line in wrong[:20]:
        print(line)
    return bool(wrong)


def _race(job: tuple[int, int]) -> Edge:
    return run_edge(*job)


def _digest(asked: argparse.Namespace) -> int:
    found = [run_epoch(asked.seed, 0.1).digest for _ in range(2)]
    print(*found)
    return len(set(found)) != 1


def _spread(processes: int, work: Callable[[J], R], jobs: list[J]) -> Iterator[R]:
    with multiprocessing.Pool(processes, maxtasksperchild=20) as pool:
        yield from pool.imap_unordered(work, jobs)


if __name__ == "__main__":
    sys.exit(main())
