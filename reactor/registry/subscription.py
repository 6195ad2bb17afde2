"""One subscription to Redis, with its gaps made visible.

What this is: a pub/sub connection that tells when it stands, when it was interrupted, and when it went silent. What it
is not: a delivery guarantee; pub/sub has none, so every confirmation is reported as a gap, to be followed by a look at
the truth. The invariant: a half-open link is noticed within `SILENCE_SECONDS` by its missing PONG, since neither Redis
nor TCP would say.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, cast

import anyio

from reactor.errors import Unavailable
from reactor.registry.translation import redis_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reactor.registry.link import RedisLink

PING_SECONDS = 5.0
SILENCE_SECONDS = 15.0
SETTLED_SECONDS = 10.0
"""A connection that stood for less counts as a failed try: the next one comes after a back-off."""
_CONFIRMATIONS = frozenset({b"subscribe", b"psubscribe"})


class Subscription:
    """Channels and patterns of one Redis; `run` it in a task of its own, again and again."""

    def __init__(
        self,
        link: RedisLink,
        *,
        channels: Sequence[str],
        patterns: Sequence[str],
        on_message: Callable[[bytes, bytes], None],
        on_gap: Callable[[], None],
    ) -> None:
        """Take what to listen to. Both callbacks must be quick; they run between two reads."""
        self._link = link
        self._channels = channels
        self._patterns = patterns
        self._on_message = on_message
        self._on_gap = on_gap
        self._heard = 0.0

    async def run(self) -> None:
        """Listen until the connection breaks.

        Returns after a connection that stood for a while has broken (having waited a moment, with jitter); raises
        `Unavailable` when it never stood or not for long. `on_gap` is called for each confirmation, so at
        least once per connection.
        """
        stood: float | None = None

        def gap() -> None:
            nonlocal stood
            stood = anyio.current_time()
            self._on_gap()

        client = self._link.subscriber()
        pubsub = cast("Any", client.pubsub(ignore_subscribe_messages=False))
        try:
            with redis_errors(self._link.where):
                if self._channels:
                    await pubsub.subscribe(*self._channels)
                if self._patterns:
                    await pubsub.psubscribe(*self._patterns)
                await self._read(pubsub, gap)
        except Unavailable:
            if stood is None:
                raise
            settled = anyio.current_time() - stood >= SETTLED_SECONDS
            await anyio.sleep(random.uniform(0.05, 0.25))  # noqa: S311 (jitter)
            if not settled:
                raise
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await pubsub.aclose()
                await client.aclose()

    async def _read(self, pubsub: Any, gap: Callable[[], None]) -> None:
        self._heard = anyio.current_time()
        while True:
            with anyio.move_on_after(PING_SECONDS):
                await self._listen(pubsub.connection, gap)
            if anyio.current_time() - self._heard > SILENCE_SECONDS:
                silent = f"Redis at {self._link.where} has not answered a PING for {SILENCE_SECONDS:.0f} s"
                raise Unavailable(silent)
            await pubsub.ping()

    async def _listen(self, connection: Any, gap: Callable[[], None]) -> None:
        """Take messages as they come from the parser, until cancelled: the connection goes on."""
        # A client's own layers, and a time limit for each message, cost more than all that is done with a heartbeat.
        while True:
            kind, *more = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            self._heard = anyio.current_time()
            if kind == b"pmessage":
                self._on_message(more[1], more[2])
            elif kind == b"message":
                self._on_message(more[0], more[1])
            elif kind in _CONFIRMATIONS:
                gap()
