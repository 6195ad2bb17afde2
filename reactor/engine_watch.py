"""What the engine says by itself: a container of ours died or was started again.

What this is: the detector on the engine's event stream. What it is not: a verdict; a death is looked at a second later,
so that a restart by hand keeps the session. The invariant: while `stands` is true, a death is examined within 2 s.
"""

from __future__ import annotations

import random
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import anyio

from reactor.errors import Unavailable
from reactor.session import Detector

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor.crew import Crew
    from reactor.queueing import WorkQueue
    from reactor.runtime.protocol import EngineEvent
    from reactor.trouble import Trouble

LOOK_AFTER = 1.0
"""Seconds between a death and the look at it."""
SETTLED_SECONDS = 10.0
"""A stream that stood for less counts as a failed try: the next one comes after a back-off."""


class EngineWatch:
    """Listens to one engine and enqueues the sessions whose container died."""

    def __init__(
        self, crew: Crew, queue: WorkQueue, on_gap: Callable[[], None], on_member: Callable[[], None] = lambda: None
    ) -> None:
        """Take where ids go, who is told that events may have been missed, and who of a death in a pool."""
        self._crew = crew
        self._queue = queue
        self._on_gap = on_gap
        self._on_member = on_member
        self._later: deque[tuple[float, EngineEvent]] = deque()
        self._more = anyio.Event()
        self.stands = False

    async def listen(self, trouble: Trouble) -> None:
        """Listen for ever; each time the stream stands again is a gap."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._enqueue_later)
            while True:
                await trouble.persist(partial(self._stream, trouble))

    async def _stream(self, trouble: Trouble) -> None:
        crew = self._crew
        stood: float | None = None
        try:
            events = crew.runtime.events(prefix=crew.registry.keys.prefix, deployment=crew.ways.deployment)
            async with events as stream:
                await crew.ways.confirm_engine()
                self.stands, stood = True, anyio.current_time()
                trouble.over()
                self._on_gap()
                async for event in stream:
                    self._later.append((anyio.current_time() + LOOK_AFTER, event))
                    self._more.set()
        except Unavailable:
            if stood is None:
                raise
        finally:
            self.stands = False
        settled = anyio.current_time() - stood >= SETTLED_SECONDS
        await anyio.sleep(random.uniform(0.1, 0.5))  # noqa: S311 (jitter)
        if not settled:
            raise Unavailable("the engine's event stream broke off")

    async def _enqueue_later(self) -> None:
        while True:
            while self._later:
                at, event = self._later[0]
                await anyio.sleep(max(0.0, at - anyio.current_time()))
                self._later.popleft()
                await self._enqueue(event)
            self._more = anyio.Event()
            await self._more.wait()

    async def _enqueue(self, event: EngineEvent) -> None:
        session_id = event.session_id
        if session_id is None and event.member is not None:
            try:
                session_id = await self._crew.registry.taken_by(event.member)
            except Unavailable:
                self._on_gap()  # whose it was is found by comparing everything
                return
        if session_id is not None:
            self._queue.add(session_id, Detector.ENGINE, event.container_id)
        elif not event.started:
            self._on_member()
