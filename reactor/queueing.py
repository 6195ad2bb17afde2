"""The queue of sessions to examine or to tear down: one hand per session, many sessions at once.

What this is: a keyed queue; adding an id twice is adding it once, adding one that is in hand runs it once more
afterwards; those that are claimed already come first. What it is not: durable; what is lost with the process is found
again by its due score, or by the lease of its claim. The invariant: no session is ever in two hands of one process.
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
    from reactor.teardown import Claim


@dataclass(frozen=True, slots=True)
class Hint:
    """Why a session is to be examined; `died` names a container that the engine said has died.

    `deleted`: somebody was heard to delete the heartbeat key, while Redis had this database id. `claim`: it is over.
    """

    detector: Detector
    died: ContainerId | None = None
    deleted: DatabaseId | None = None
    claim: Claim | None = None


class WorkQueue:
    """Ids to examine, each with its latest hint."""

    def __init__(self) -> None:
        """Begin empty."""
        self._order: deque[SessionId] = deque()
        self._claimed: deque[SessionId] = deque()
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

    @property
    def claimed(self) -> int:
        """How many sessions wait that are claimed already."""
        return len(self._claimed)

    def add(
        self,
        session_id: SessionId,
        detector: Detector,
        died: ContainerId | None = None,
        *,
        deleted: DatabaseId | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Note that a session is to be examined, or torn down; never blocks, never fails."""
        known = self._hints.get(session_id)
        if session_id not in self._in_hand and (known is None or (claim is not None and known.claim is None)):
            (self._order if claim is None else self._claimed).append(session_id)
        known = known or Hint(detector)
        self._hints[session_id] = Hint(
            known.detector, died or known.died, deleted or known.deleted, claim or known.claim
        )
        self._more.set()

    async def take(self) -> tuple[SessionId, Hint]:
        """Wait for the next id and take it in hand; `done` gives it back. Cancelled, nothing is taken."""
        while (session_id := self._next()) is None:
            if self._more.is_set():  # an event that idle hands wait on must stay the one that `add` sets
                self._more = anyio.Event()
            await self._more.wait()
        self._in_hand.add(session_id)
        return session_id, self._hints.pop(session_id)

    def _next(self) -> SessionId | None:
        for waiting in (self._claimed, self._order):
            while waiting:
                session_id = waiting.popleft()
                if session_id in self._hints and session_id not in self._in_hand:  # one may stand in both
                    return session_id
        return None

    @contextmanager
    def holding(self, session_id: SessionId) -> Generator[None]:
        """Give the id back at the end of the body; if it was added meanwhile, it waits again."""
        try:
            yield
        finally:
            self._in_hand.discard(session_id)
            if (hint := self._hints.get(session_id)) is not None:
                (self._order if hint.claim is None else self._claimed).append(session_id)
                self._more.set()
