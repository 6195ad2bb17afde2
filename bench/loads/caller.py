"""An application that acquires and heartbeats, and says how long that took it.

What this is: `SessionManager` as an application uses it, and plain GETs by the same client library in the same process.
What it is not: the reactor. The invariant: ours and the plain round trip are timed by the same code, in turns.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any, cast

from redis.asyncio import Redis

from bench.noop import NoopRuntime
from bench.stats import percentile
from bench.talk import Ear, Message, job, say
from reactor import SessionManager, Settings
from reactor.errors import ReactorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EVERY_S = 0.01


def summary(took: list[float], failed: int = 0) -> dict[str, float]:
    """Return how long things took, in ms, and how many calls failed, which took no time that counts."""
    return {
        "n": len(took),
        "failed": failed,
        "p50_ms": percentile(took, 0.5),
        "p99_ms": percentile(took, 0.99),
        "worst_ms": max(took, default=0.0),
    }


class Timed:
    """How long the calls of one kind took, and how many failed."""

    def __init__(self, call: Callable[[], Awaitable[object]]) -> None:
        """Take what to call."""
        self._call = call
        self._took: list[float] = []
        self._failed = 0

    async def once(self) -> None:
        """Call once."""
        began = time.perf_counter()
        try:
            await self._call()
        except ReactorError as error:
            self._failed += 1
            print(error, file=sys.stderr)
        else:
            self._took.append((time.perf_counter() - began) * 1000)

    def summary(self) -> dict[str, float]:
        """Return what there is to say."""
        return summary(self._took, self._failed)


async def repeated(call: Callable[[], Awaitable[object]], callers: int, each: int) -> dict[str, float]:
    """Let callers call one after another, `each` times, all callers at once; returns how long that took."""
    timed = Timed(call)

    async def caller() -> None:
        for _ in range(each):
            await timed.once()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(caller())
    return timed.summary()


class Background:
    """Heartbeats and acquires at a steady pace, until stopped."""

    def __init__(self, calls: dict[str, Callable[[], Awaitable[object]]]) -> None:
        """Begin."""
        self._timed = {name: Timed(call) for name, call in calls.items()}
        self._tasks = [asyncio.create_task(self._keep(timed)) for timed in self._timed.values()]

    async def _keep(self, timed: Timed) -> None:
        while True:
            await timed.once()
            await asyncio.sleep(EVERY_S)

    async def stop(self) -> dict[str, dict[str, float]]:
        """End, and return how long the calls took."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        return {name: timed.summary() for name, timed in self._timed.items()}


class Caller:
    """Answers the questions of a bench."""

    def __init__(self, manager: SessionManager, client: Any) -> None:
        """Take an open manager, and a plain client of the same Redis."""
        self._manager = manager
        self._client = client
        self._background: Background | None = None

    async def answer(self, asked: Message) -> dict[str, object]:
        """Do what is asked."""
        match asked["ask"]:
            case "hot":
                return dict(await repeated(lambda: self._manager.acquire(asked["id"]), *_times(asked)))
            case "get":
                return dict(await repeated(lambda: self._client.get("bench:get"), *_times(asked)))
            case "cold":
                return await self._cold(asked["ids"], int(asked.get("hands", 1)))
            case "begin":
                self._background = self._begin(asked["id"])
                return {"ok": True}
            case "end" if self._background is not None:
                return dict(await self._background.stop())
            case word:
                return {"error": f"nothing is known of {word!r}"}

    async def _cold(self, ids: list[str], hands: int) -> dict[str, object]:
        waiting, made = list(reversed(ids)), dict[str, str]()
        took: list[float] = []

        async def hand() -> None:
            while waiting:
                session_id = waiting.pop()
                began = time.perf_counter()
                session = await self._manager.acquire(session_id)
                took.append((time.perf_counter() - began) * 1000)
                made[session_id] = session.container_id or ""

        async with asyncio.TaskGroup() as tasks:
            for _ in range(hands):
                tasks.create_task(hand())
        return {**summary(took), "made": made}

    def _begin(self, session_id: str) -> Background:
        key = f"mcp:session:{session_id}:heartbeat"
        return Background(
            {
                "heartbeat": lambda: self._client.expire(key, 900),
                "acquire": lambda: self._manager.acquire(session_id),
            }
        )


def _times(asked: Message) -> tuple[int, int]:
    return int(asked["callers"]), int(asked["each"])


async def main(work: Message) -> None:
    """Connect, say so, and answer until stdin ends."""
    ear = Ear()
    settings = Settings.load(env=cast("dict[str, str]", work["env"]))
    runtime = NoopRuntime() if work["noop"] else None
    client = Redis.from_url(work["url"])
    async with SessionManager(settings, runtime=runtime) as manager:
        caller = Caller(manager, client)
        say(ok=True)
        while (asked := await ear.next()) is not None:
            say(**await caller.answer(asked))
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(job()))
