"""Many processes that want the same session at the same moment.

What this is: a process that has loaded everything, and forks; each child connects, waits for the moment, acquires, and
writes down when it was answered. What it is not: one process with many tasks, which would share one look at Redis. The
invariant: no loop runs before the fork; every child writes one line, also where it failed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import cast

from bench.noop import NoopRuntime
from bench.talk import Message, job, say
from reactor import SessionManager, Settings
from reactor.errors import ReactorError


async def one(work: Message, at: float, number: int) -> dict[str, object]:
    """Connect, wait for the moment, acquire, and return what was answered and when."""
    settings = Settings.load(env=cast("dict[str, str]", work["env"]))
    runtime = NoopRuntime(start_delay=float(work["start_delay"])) if work["noop"] else None
    async with SessionManager(settings, runtime=runtime) as manager:
        early = at - time.time()
        await asyncio.sleep(max(0.0, early))
        try:
            session = await manager.acquire(work["id"])
        except ReactorError as error:
            return {"number": number, "error": str(error)}
        answered = time.time()
        return {
            "number": number,
            "early_s": early,
            "at": answered,
            "created": session.created,
            "container": session.container_id,
        }


def main(work: Message) -> None:
    """Fork once for each, wait for all, and say what they wrote."""
    at = time.time() + float(work["lead_s"])
    results = Path(work["results"])
    children: list[int] = []
    for number in range(int(work["processes"])):
        pid = os.fork()
        if pid == 0:
            try:
                found = asyncio.run(one(work, at, number))
            except BaseException as error:  # noqa: BLE001 (nothing may leave a fork but by its exit)
                found = {"number": number, "error": repr(error)}
            (results / str(number)).write_text(json.dumps(found))
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    say(answers=[json.loads(path.read_text()) for path in results.iterdir()])
    sys.stdin.readline()


if __name__ == "__main__":
    main(job())
