"""One task beside a body of code: a lease kept, a watch held, for exactly as long as the body runs.

What this is: a task group of one, without its exception group, and a cheaper one for bodies that are mostly short. What
it is not: a place for work that may fail; the work handles its own errors. The invariant: the body's error comes out as
it was raised, and the work has ended before that.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

CANCEL_AGAIN = 0.1
"""Seconds after which work that goes on in spite of its cancellation is cancelled once more."""


@asynccontextmanager
async def beside(work: Callable[[], Coroutine[None, None, None]]) -> AsyncGenerator[anyio.CancelScope]:
    """Run `work` while the body runs, and cancel it at the body's end.

    Yields the scope of both: cancelling it ends the body too, and the `async with` then goes on without an error.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        try:
            yield tasks.cancel_scope
        except Exception as error:  # noqa: BLE001 (raised again below, outside the task group that would wrap it)
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def beside_long(work: Callable[[], Coroutine[None, None, None]], after: float) -> AsyncGenerator[None]:
    """Run `work` while the body runs, if that takes longer than `after` seconds; nothing is made for a short one.

    The work is begun late, so it is for what only a long body needs. It is cancelled at the body's end.
    """
    loop = asyncio.get_running_loop()
    begun: list[asyncio.Task[None]] = []
    later = loop.call_later(after, lambda: begun.append(loop.create_task(work())))
    try:
        yield
    finally:
        later.cancel()
        # Until it has ended, whoever cancels us meanwhile: Python 3.11's `wait_for`, which redis-py sends with, forgets
        # a cancellation that comes together with its answer, and a lease kept by nobody's wish would never end.
        with anyio.CancelScope(shield=True):
            while begun and not begun[0].done():
                begun[0].cancel()
                await asyncio.wait(begun, timeout=CANCEL_AGAIN)
