"""A question that any healthy Redis answers at once, asked again and again on a connection of its own.

What this is: how a reactor learns within a second that Redis hangs, is gone, or that its clock was set. What it is not:
a verdict, or a health check of ours: time in which this process itself did not run is not counted. The invariant:
whatever hangs or fails is noted before the first answer after it is acted on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self, cast

import anyio

from reactor.errors import Unavailable
from reactor.observation import ClockReading
from reactor.registry.pulse import Lane
from reactor.registry.translation import redis_errors

if TYPE_CHECKING:
    from types import TracebackType

    from reactor.registry.evidence import Evidence
    from reactor.registry.link import RedisLink
    from reactor.registry.pulse import Pulse

PATIENCE: Final = 0.25
"""Seconds: an answer that takes longer is noted while it is awaited. The shortest TTL is 2 s."""


class Probe:
    """Asks Redis for its time. Use as an async context manager; entering sends nothing yet."""

    def __init__(self, link: RedisLink, evidence: Evidence, pulse: Pulse) -> None:
        """Take whom to ask and who is told."""
        self._where = link.where
        self._client = cast("Any", link.prober())
        self._evidence = evidence
        self._pulse = pulse

    async def __aenter__(self) -> Self:
        """Do nothing: the first question connects."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(1):
            await self._client.aclose()

    async def ask(self) -> None:
        """Ask once; raises `Unavailable`. Whoever waits long for the answer is noted while waiting."""
        answered = anyio.Event()
        failure: list[Unavailable] = []

        async def question() -> None:
            try:
                with self._pulse.lane(Lane.PROBE):
                    await self._read()
            except Unavailable as error:
                failure.append(error)
            answered.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(question)
            hung = 0.0
            while not answered.is_set():
                began = anyio.current_time()
                with anyio.move_on_after(PATIENCE):
                    await answered.wait()
                # A pause of our own makes us wake late: that is no time in which Redis was silent.
                if not answered.is_set() and anyio.current_time() - began < 2 * PATIENCE:
                    hung += PATIENCE
                    self._pulse.failed(Lane.PROBE, hung)
        if failure:
            raise failure[0]

    async def _read(self) -> None:
        evidence = self._evidence
        with redis_errors(self._where):
            asked = evidence.clock.now_ms()
            seconds, micros = await self._client.time()
            told = evidence.clock.now_ms()
        redis_ms = int(seconds) * 1000 + int(micros) // 1000
        evidence.read_clock(ClockReading(redis_ms=redis_ms, asked_ms=asked, told_ms=told, boot=evidence.clock.boot))
