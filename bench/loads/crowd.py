"""Many processes that want the same session at the same moment.

What this is: a process that has loaded everything, and forks; each child connects, says so, waits for the moment that
all are told, acquires, and writes down when it was answered. What it is not: one process with many tasks, which would
share one look at Redis. The invariant: no loop runs before the fork; every child writes its lines, also where it fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import cast

from bench.noop import NoopRuntime
from bench.talk import Message, job, say
from reactor import SessionManager, Settings
from reactor.errors import ReactorError

LEAD_S = 1.0
"""How long after the last one has connected the moment is."""
_MOMENT = struct.Struct("d")


async def one(work: Message, ready: int, go: int) -> dict[str, object]:
    """Connect, wait for the moment, acquire, and return what was answered and when."""
    settings = Settings.load(env=cast("dict[str, str]", work["env"]))
    runtime = NoopRuntime(start_delay=float(work["start_delay"])) if work["noop"] else None
    async with SessionManager(settings, runtime=runtime) as manager:
        os.write(ready, b".")
        (at,) = _MOMENT.unpack(await asyncio.to_thread(os.read, go, _MOMENT.size))
        early = at - time.time()
        await asyncio.sleep(max(0.0, early))
        try:
            session = await manager.acquire(work["id"])
        except ReactorError as error:
            return {"error": str(error)}
        answered, created = time.time(), session.created
        return {"early_s": early, "at": answered, "created": created, "container": session.container_id}


def _child(work: Message, number: int, ready: int, go: int) -> None:
    try:
        found = asyncio.run(one(work, ready, go))
    except BaseException as error:  # noqa: BLE001 (nothing may leave a fork but by its exit)
        found: dict[str, object] = {"error": repr(error)}
        os.write(ready, b"!")
    (Path(work["results"]) / str(number)).write_text(json.dumps(found))
    os._exit(0)


def main(work: Message) -> None:
    """Fork once for each, name the moment when all are ready, wait for all, and say what they wrote."""
    ready_in, ready_out = os.pipe()
    go_in, go_out = os.pipe()
    count = int(work["processes"])
    children: list[int] = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            _child(work, number, ready_out, go_in)
        children.append(pid)
    for _ in range(count):
        os.read(ready_in, 1)
    os.write(go_out, _MOMENT.pack(time.time() + LEAD_S) * count)
    for pid in children:
        os.waitpid(pid, 0)
    say(answers=[json.loads(path.read_text()) for path in Path(work["results"]).iterdir()])
    sys.stdin.readline()


if __name__ == "__main__":
    main(job())
