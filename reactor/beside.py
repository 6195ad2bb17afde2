"""One task beside a body of code: a lease kept, a watch held, for exactly as long as the body runs.

What this is: a task group of one, without its exception group. What it is not: a place for work that may fail; the work
handles its own errors. The invariant: the body's error comes out as it was raised, and the work has ended before that.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine


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
