"""The least that a reconcile has to read: one list of the engine, and one pipelined read of every record.

What this is: that, without a thought about what was read. What it is not: a plan. The invariant: everything is read
whole, and decoded, as whoever wants to compare it has to.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import redis

from bench.engine_api import EngineApi
from bench.population import Group
from bench.talk import Message, job, say

STEP = 5000


def main(work: Message) -> None:
    """Read once for each question, and say how long both took (seconds)."""
    client = redis.Redis.from_url(work["url"], decode_responses=True)
    group = Group(**work["group"])
    while sys.stdin.readline():
        began = time.monotonic()
        with EngineApi(Path(work["socket"])) as engine:
            listed = engine.send("GET", "/containers/json?all=1")[1]
        list_s, began = time.monotonic() - began, time.monotonic()
        read = 0
        for first in range(0, group.count, STEP):
            pipe = client.pipeline(transaction=False)
            for n in range(first, min(first + STEP, group.count)):
                pipe.hgetall(f"mcp:session:{group.id(n)}")
            read += sum(bool(found) for found in pipe.execute())
        say(list_s=list_s, read_s=time.monotonic() - began, containers=len(listed), records=read)
    client.close()


if __name__ == "__main__":
    main(job())
