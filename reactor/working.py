"""The workers: each takes one session from the queue and carries its teardown through.

What this is: the hands, and what becomes of a session whose teardown failed. What it is not: the teardown. The
invariant: a failure costs time, never the session: its due score, or its claim's lease, brings it back.
"""

from __future__ import annotations

import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from reactor.errors import ForeignData, SessionLost, Unavailable
from reactor.registry import Record
from reactor.registry.verdicts import Grace, Mode
from reactor.session import State
from reactor.teardown import Ended, carry_out, end_exited, log_grace, tear_down

if TYPE_CHECKING:
    from reactor.crew import Crew
    from reactor.queueing import Hint, WorkQueue
    from reactor.session import ContainerId, SessionId

logger = logging.getLogger(__name__)

HANDS = 64
"""Sessions worked on at once. The engine's own limiter is smaller; the rest waits on stuck containers, not on it."""
SOON = 1.0
"""Seconds: what waits for a hand for no longer than this may be claimed before; a lease lasts 15 times that."""
ROUNDS = 4
"""How many sessions for each hand may be claimed at most, however fast their teardowns are."""
AGAIN = timedelta(seconds=3)
"""About how long after a failure a session is looked at again."""
AGAIN_HANDS = 16
"""Hands that may hold sessions whose last teardown failed: what is stuck must leave hands for what is not."""


class Worker:
    """Works off a queue; `work` runs in as many tasks as there are hands."""

    def __init__(self, crew: Crew, queue: WorkQueue) -> None:
        """Take what to work with."""
        self._crew = crew
        self._queue = queue
        self._idle = anyio.Event()
        self._freed = anyio.Event()
        self._draining = False
        self._took = SOON
        """Seconds that a teardown took lately."""
        self._failed: set[SessionId] = set()
        """Their last teardown failed."""
        self._held_again = 0
        self.later: dict[SessionId, Hint] = {}
        """Failed ones that found all of their hands taken."""

    def claimable(self, session_id: SessionId) -> bool:
        """Whether this one may be claimed before a hand takes it: not if its last teardown failed."""
        return session_id not in self._failed

    async def room(self) -> int:
        """Wait until some can be torn down soon, and return how many; nobody need look for what has ended before."""
        while (room := self._room()) <= 0:
            self._freed = anyio.Event()
            await self._freed.wait()
        return room

    def _room(self) -> int:
        rounds = max(1.0, min(ROUNDS, SOON / self._took))
        return int(HANDS * rounds) - self._queue.in_hand - len(self._queue)

    async def work(self) -> None:
        """Take one session after another, until cancelled; a claim in hand is then left to its lease."""
        while not self._draining or self._queue.claimed:
            session_id, hint = await self._queue.take()
            with self._queue.holding(session_id):
                await self._examine(session_id, hint)
            self._freed.set()
            if self._draining and self._queue.in_hand + self._queue.claimed == 0:
                self._idle.set()

    async def drained(self) -> None:
        """Take nothing new, and return when nothing is claimed or in hand any more."""
        self._draining = True
        if self._queue.in_hand or self._queue.claimed:
            await self._idle.wait()

    async def _examine(self, session_id: SessionId, hint: Hint) -> None:
        if session_id not in self._failed:
            await self._try(session_id, hint)
        elif self._held_again >= AGAIN_HANDS:
            self.later[session_id] = hint
            await self._postpone(session_id)
        else:
            self._held_again += 1
            try:
                await self._try(session_id, hint)
            finally:
                self._held_again -= 1
                self._let_one_in()

    def _let_one_in(self) -> None:
        if self.later:
            session_id = next(iter(self.later))
            hint = self.later.pop(session_id)
            self._queue.add(session_id, hint.detector, hint.died, deleted=hint.deleted)

    async def _try(self, session_id: SessionId, hint: Hint) -> None:
        try:
            await self._tear_down(session_id, hint)
            self._failed.discard(session_id)
        except Unavailable as error:
            self._failed.add(session_id)
            self._log(session_id, "the teardown is repeated: %s", error)
            await self._postpone(session_id)
        except SessionLost as error:
            self._failed.discard(session_id)
            self._log(session_id, "another one took the teardown over: %s", error)
        except ForeignData as error:
            self._failed.discard(session_id)
            self._log(session_id, "left alone: %s", error)

    async def _tear_down(self, session_id: SessionId, hint: Hint) -> None:
        ways = self._crew.ways
        if hint.claim is not None:
            began = anyio.current_time()
            await carry_out(ways, session_id, hint.claim)
            self._took += (anyio.current_time() - began - self._took) / HANDS
            return
        if hint.died is not None and await self._names(session_id, hint.died):
            container = await ways.runtime.inspect(hint.died)
            if container is None or not container.running:
                ended = await end_exited(ways, session_id, hint.died, detector=hint.detector)
                if isinstance(ended, Ended):
                    return
            else:
                await ways.registry.readdress(session_id, container)
        mode = Mode.CLAIM if hint.deleted is None else Mode.DELETED
        verdict = await tear_down(ways, session_id, detector=hint.detector, mode=mode, heard=hint.deleted)
        if isinstance(verdict, Grace):
            log_grace(session_id, verdict.left)

    async def _names(self, session_id: SessionId, container_id: ContainerId) -> bool:
        """Whether a session still runs in this container: most deaths are of those that we tore down ourselves."""
        found = (await self._crew.registry.records([session_id]))[session_id]
        return isinstance(found, Record) and found.state is State.RUNNING and found.container_id == container_id

    async def _postpone(self, session_id: SessionId) -> None:
        # Its score lies behind us: without a new one it would be looked at again at once, and again.
        delay = AGAIN * random.uniform(0.7, 1.3)  # noqa: S311 (jitter)
        try:
            await self._crew.registry.postpone(session_id, delay)
        except Unavailable as error:
            logger.debug("not postponed: %s", error, extra={"action": "postpone", "session": session_id})

    def _log(self, session_id: SessionId, text: str, error: Exception) -> None:
        logger.warning(text, error, extra={"action": "teardown", "session": session_id})
