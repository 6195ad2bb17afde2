"""What selftests leave behind: this run's own at its end, and that of runs that were killed.

What this is: containers, images and keys, found by their mark and removed. What it is not: a judgement of sessions. The
invariant: another run's things are touched only when its mark is old and Redis has no sign of life from it.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from reactor.selftest.own import DEAD_AFTER, alive_key, is_old, mark_of, mark_of_image, mark_of_key

if TYPE_CHECKING:
    from reactor.selftest.bench import Bench
    from reactor.throwaway import PlainRedis

_ALL: Final = "selftest_*"


async def dead_runs(bench: Bench, redis: PlainRedis, *, age: timedelta = DEAD_AFTER) -> set[str]:
    """Return the marks of runs that were killed: older than `age`, and without a sign of life in this Redis."""
    marks = {mark_of(each) for each in (await bench.everything()).values()}
    marks |= {mark_of_image(tag) for tag in await bench.images()}
    marks |= {mark_of_key(name) for name in await redis.names(_ALL)}
    now = time.time()
    old = {mark for mark in marks if mark is not None and is_old(mark, now, age)}
    return {mark for mark in old if not await redis.send("EXISTS", alive_key(mark))}


async def clear(mark: str, bench: Bench, redis: PlainRedis) -> list[str]:
    """Remove everything of one run, and return what is still there after that, one line each. Twice is fine.

    Where the engine is away (`Unavailable`) the keys are deleted all the same.
    """
    try:
        for each in (await bench.everything()).values():
            if mark_of(each) == mark:
                await bench.runtime.remove(each.container_id, grace=timedelta(0))
        for tag in await bench.images():
            if mark_of_image(tag) == mark:
                await bench.drop_image(tag)
    finally:
        await redis.delete(await _keys(mark, redis))
    left = [f"container {each.name}" for each in (await bench.everything()).values() if mark_of(each) == mark]
    left += [f"image {tag}" for tag in await bench.images() if mark_of_image(tag) == mark]
    left += [f"key {name}" for name in await _keys(mark, redis)]
    return left


async def _keys(mark: str, redis: PlainRedis) -> list[str]:
    return [name for name in await redis.names(f"selftest_{mark}*") if mark_of_key(name) == mark]
