"""A client that does nothing but receive the end of many keys: the limit for a wave of ends.

What this is: keys that end in one second, and redis-py's asynchronous subscriber. What it is not: a claim of anything.
The invariant: it is counted from the first deadline on, as the product is.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from redis.asyncio import Redis

from bench.talk import Ear, Message, job, say

STEP = 5000


async def main(work: Message) -> None:
    """Place the keys, receive until all or the window is over, and say how long it took and how many came."""
    ear, client = Ear(), cast("Any", Redis.from_url(work["url"]))
    count, step_ms = int(work["count"]), float(work["step_ms"])
    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.psubscribe("__keyspace@0__:wave:*")
        first_ms = time.time() * 1000 + float(work["lead_s"]) * 1000
        for first in range(0, count, STEP):
            pipe = client.pipeline(transaction=False)
            for n in range(first, min(first + STEP, count)):
                pipe.set(f"wave:{n}", "x", pxat=int(first_ms + n * step_ms))
            await pipe.execute()
        heard, last = 0, time.time()
        ends = first_ms / 1000 + float(work["window_s"])
        while heard < count and time.time() < ends:
            message = await pubsub.get_message(timeout=0.5)
            if message is not None and message["data"] == b"expired":
                heard += 1
                last = time.time()
    say(heard=heard, took_s=last - first_ms / 1000)
    await ear.next()
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(job()))
