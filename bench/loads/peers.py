"""Four ways to notice that a key has ended, as others do it, each on keys of its own that nothing else touches.

What this is: a plain subscriber; a poll of every key once a minute; a poll of a sorted set every 50 ms (E2B's way);
a touch of what a minute holds at that minute's end (Spring Session's way). What it is not: a strawman: each does its
work in one round trip, and does nothing besides. The invariant: no key of one is read by another, nor by the product.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from redis.asyncio import Redis

from bench.talk import Ear, Message, job, say

if TYPE_CHECKING:
    from collections.abc import Sequence

STEP = 5000
SORTED_SET = "peer:sorted"


@dataclass(kw_only=True)
class Method:
    """One way; `came` has how late each was noticed, by its number, in ms."""

    name: str
    first_ms: float
    step_ms: float
    count: int
    came: dict[int, float] = field(default_factory=dict[int, float])

    def key(self, n: int) -> str:
        """Return the key of a number."""
        return f"peer:{self.name}:{n}"

    def deadline(self, n: int) -> int:
        """Return its deadline (wall clock, ms)."""
        return int(self.first_ms + n * self.step_ms)

    def noticed(self, numbers: Sequence[int]) -> None:
        """Note that these are known to have ended, now."""
        now = time.time() * 1000
        for n in numbers:
            self.came.setdefault(n, now - self.deadline(n))

    async def place(self, client: Any) -> None:
        """Write the keys."""
        for first in range(0, self.count, STEP):
            pipe = client.pipeline(transaction=False)
            for n in range(first, min(first + STEP, self.count)):
                pipe.set(self.key(n), "x", pxat=self.deadline(n))
            await pipe.execute()


async def subscribe(client: Any, methods: Sequence[Method]) -> None:
    """Hear of keys as Redis publishes their end."""
    by_name = {method.name: method for method in methods}
    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.psubscribe(*(f"__keyspace@0__:peer:{method.name}:*" for method in methods))
        async for message in pubsub.listen():
            if message["data"] == b"expired":
                _, _, name, number = cast("bytes", message["channel"]).rsplit(b":", 3)
                by_name[name.decode()].noticed([int(number)])


async def poll_keys(client: Any, method: Method, every_s: float) -> None:
    """Ask for every key that is not known to have ended."""
    left = list(range(method.count))
    while True:
        await asyncio.sleep(every_s)
        for first in range(0, len(left), STEP):
            part = left[first : first + STEP]
            pipe = client.pipeline(transaction=False)
            for n in part:
                pipe.exists(method.key(n))
            replies = await pipe.execute()
            method.noticed([n for n, there in zip(part, replies, strict=True) if not there])
        left = [n for n in left if n not in method.came]


async def poll_sorted_set(client: Any, method: Method, every_s: float) -> None:
    """Take what is due out of a sorted set."""
    while True:
        await asyncio.sleep(every_s)
        due = await client.zrange(SORTED_SET, "-inf", int(time.time() * 1000), byscore=True)
        if due:
            await client.zrem(SORTED_SET, *due)
            method.noticed([int(member) for member in due])


async def touch_minutes(client: Any, method: Method, every_s: float) -> None:
    """Touch what ended in a period at its end; the touch makes Redis publish what it deletes."""
    periods: dict[int, list[int]] = {}
    for n in range(method.count):
        periods.setdefault(int(method.deadline(n) / 1000 // every_s), []).append(n)
    for period, numbers in sorted(periods.items()):
        await asyncio.sleep(max(0.0, (period + 1) * every_s - time.time()))
        for first in range(0, len(numbers), STEP):
            pipe = client.pipeline(transaction=False)
            for n in numbers[first : first + STEP]:
                pipe.exists(method.key(n))
            await pipe.execute()


async def main(work: Message) -> None:
    """Place the keys, say so, watch until told to stop, and say what came how late."""
    ear, client = Ear(), cast("Any", Redis.from_url(work["url"]))
    schedule = {name: work[name] for name in ("first_ms", "step_ms", "count")}
    names = ("subscriber", "poll", "sorted", "minute")
    methods = {name: Method(name=name, **schedule) for name in names}
    for name in ("subscriber", "poll", "minute"):
        await methods[name].place(client)
    ordered = methods["sorted"]
    for first in range(0, ordered.count, STEP):
        numbers = range(first, min(first + STEP, ordered.count))
        await client.zadd(SORTED_SET, {str(n): ordered.deadline(n) for n in numbers})
    tasks = [
        asyncio.create_task(subscribe(client, [methods["subscriber"], methods["minute"]])),
        asyncio.create_task(poll_keys(client, methods["poll"], work["poll_s"])),
        asyncio.create_task(poll_sorted_set(client, ordered, work["sorted_s"])),
        asyncio.create_task(touch_minutes(client, methods["minute"], work["poll_s"])),
    ]
    say(ok=True)
    while await ear.next() is not None:
        say(**{name: list(method.came.items()) for name, method in methods.items()})
    for task in tasks:
        task.cancel()
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(job()))
