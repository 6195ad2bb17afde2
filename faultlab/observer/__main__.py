"""`python -m faultlab.observer CONFIG`: watches until SIGTERM.

What this is: the loops of one observer. What it is not: a part of the laboratory that could be told what to see. The
invariant: it writes until it is told to end, and then says how much it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from faultlab.history import Writer
from faultlab.observer.docker_truth import LABEL, DockerTruth
from faultlab.observer.pace import Pace
from faultlab.observer.process_truth import ProcessTruth
from faultlab.observer.processes import Scanner, UsageWatch
from faultlab.observer.redis_truth import RedisTruth

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What an observer looks at. `engines` maps a host to its socket or, with the process runtime, state directory."""

    history: str
    redis_url: str
    prefix: str
    deployment: str
    runtime: str
    engines: dict[str, str]
    pids: str


async def observe(watched: Watched) -> None:
    """Watch until SIGTERM or SIGINT."""
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # a loaded machine must not make it blind
    writer = Writer(Path(watched.history), "observer")
    paces: list[Pace] = []

    def pace(what: str, period: float) -> Pace:
        paces.append(Pace(what, period, writer))
        return paces[-1]

    docker = watched.runtime == "docker"
    redis = RedisTruth(watched.redis_url, watched.prefix, writer)
    scanner = Scanner(writer)
    usage = UsageWatch(Path(watched.pids), writer)
    loops: list[Coroutine[None, None, None]] = [
        redis.look(pace("redis", 0.1)),
        redis.listen(),
        redis.follow(),
        scanner.scan(pace("processes", 0.2 if docker else 0.1)),
        usage.watch(pace("usage", 1.0)),
    ]
    ours = {f"{LABEL}prefix": watched.prefix, f"{LABEL}deployment": watched.deployment}
    for host, where in watched.engines.items():
        if docker:
            truth = DockerTruth(host, Path(where), ours, writer)
            loops += [truth.listen(), truth.list(pace(f"list {host}", 0.2))]
        else:
            place = ProcessTruth(host, Path(where), ours, writer, scanner)
            loops.append(place.list(pace(f"list {host}", 0.1)))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(each) for each in loops]
    ending = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([ending, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    for each in paces:
        each.close()
    for task in done - {ending}:
        await task  # a loop that ended has failed: say how


if __name__ == "__main__":
    asyncio.run(observe(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Watched)))
