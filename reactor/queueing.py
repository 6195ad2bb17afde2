"""The queue of sessions to examine: one hand per session, many sessions at once.

What this is: a keyed queue; adding an id twice is adding it once, adding one that is in hand runs it once more
afterwards. What it is not: durable; what is lost with the process is found again by its due score. The invariant: no
session is ever in two hands of one process.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Generator

    from reactor.session import ContainerId, DatabaseId, Detector, SessionId


@dataclass(frozen=True, slots=True)
class Hint:
    """Why a session is to be examined; `died` names a container that the engine said has died.

    `deleted`: somebody was heard to delete the heartbeat key, while Redis had this database id.
    """

    detector: Detector
    died: ContainerId | None = None
    deleted: DatabaseId | None = None


class WorkQueue:
    """Ids to examine, each with its latest hint."""

    def __init__(self) -> None:
        """Begin empty."""
        self._order: deque[SessionId] = deque()
        self._hints: dict[SessionId, Hint] = {}
        self._in_hand: set[SessionId] = set()
        self._more = anyio.Event()

    def __len__(self) -> int:
        """Return how many ids wait; those in hand do not count."""
        return len(self._hints)

    @property
    def in_hand(self) -> int:
        """How many sessions are being worked on."""
        return len(self._in_hand)

    def add(
        self,
        session_id: SessionId,
        detector: Detector,
        died: ContainerId | None = None,
        *,
        deleted: DatabaseId | None = None,
    ) -> None:
        """Note that a session is to be examined; never blocks, never fails."""
        known = self._hints.get(session_id)
        if known is None:
            if session_id not in self._in_hand:
                self._order.append(session_id)
            known = Hint(detector)
        self._hints[session_id] = Hint(known.detector, died or known.died, deleted or known.deleted)
        self._more.set()

    async def take(self) -> tuple[SessionId, Hint]:
        """Wait for the next id and take it in hand; `done` gives it back. Cancelled, nothing is taken."""
        while not self._order:
            if self._more.is_set():  # an event that idle hands wait on must stay the one that `add` sets
                self._more = anyio.Event()
            await self._more.wait()
        session_id = self._order.popleft()
        self._in_hand.add(session_id)
        return session_id, self._hints.pop(session_id)

    @contextmanager
    def holding(self, session_id: SessionId) -> Generator[None]:
        """Give the id back at the end of the body; if it was added meanwhile, it waits again."""
        try:
            yield
        finally:
            self._in_hand.discard(session_id)
            if session_id in self._hints:
                self._order.append(session_id)
                self._more.set()
