"""How old a container is whose generation lies ahead of Redis' clock.

What this is: a memory of when such containers were first seen. What it is not: a clock for the others; their age is
Redis' time since their generation. The invariant: nothing is remembered of a container that is gone, or whose
generation Redis' clock has reached.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reactor.runtime.protocol import Container
    from reactor.session import Generation


class Ages:
    """For one process, which looks again and again: who is ahead of a clock that was set back does not stay young."""

    def __init__(self) -> None:
        """Begin without having seen any."""
        self._since: dict[Generation, float] = {}

    def ahead(self, containers: Iterable[Container], now_ms: int) -> Mapping[Generation, timedelta]:
        """Return how long each generation beyond `now_ms` (Redis' clock) has been known here."""
        now = anyio.current_time()
        found = (c.labels.generation for c in containers if c.labels is not None)
        self._since = {g: self._since.get(g, now) for g in found if g // 1000 > now_ms}
        return {generation: timedelta(seconds=now - since) for generation, since in self._since.items()}

    def of(self, generation: Generation, now_ms: int) -> timedelta:
        """Return how old one is by Redis' clock, or how long it has been known here to be ahead of that."""
        self._since = {g: since for g, since in self._since.items() if g // 1000 > now_ms}
        if generation // 1000 <= now_ms:
            return timedelta(milliseconds=now_ms - generation // 1000)
        now = anyio.current_time()
        return timedelta(seconds=now - self._since.setdefault(generation, now))
