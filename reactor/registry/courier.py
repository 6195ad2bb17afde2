"""Calls of scripts that are made at the same time travel together.

What this is: the wait of a call for others, for as long as one is under way anyway. What it is not: the sending, or a
repetition. The invariant: a call that waits for nobody goes at once; none waits longer than `PATIENCE`, however long
what is under way takes; a caller who is cancelled takes nobody else's answer with him.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from reactor.errors import ReactorError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from reactor.registry.parcels import Parcel

PATIENCE = 0.005
"""Seconds; far beyond a round trip to a Redis that is well."""


class Courier:
    """Brings parcels to Redis. For one event loop; safe for many tasks at once."""

    def __init__(self, send: Callable[[Sequence[Parcel]], Awaitable[list[Any]]]) -> None:
        """Take who sends: he returns an answer, or one of our errors, for each parcel, or raises for all."""
        self._send = send
        self._under_way = 0
        self._crowded = False
        """Whether several travelled together last time: then it is worth looking around before going."""
        self._waiting: list[tuple[Parcel, asyncio.Future[Any]]] = []
        self._timer: asyncio.Handle | None = None
        self._journeys: set[asyncio.Task[None]] = set()

    async def bring(self, parcel: Parcel) -> Any:
        """Return the answer to one call; raises what `send` raises. Cancelled before it left, it is never made."""
        if not self._under_way and not self._waiting and not self._crowded:
            return await self._alone(parcel)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((parcel, answer))
        if self._timer is None:
            self._timer = loop.call_later(PATIENCE, self._leave) if self._under_way else loop.call_soon(self._leave)
        return await answer

    async def _alone(self, parcel: Parcel) -> Any:
        self._under_way += 1
        try:
            answer = (await self._send([parcel]))[0]
        finally:
            self._arrived()
        if isinstance(answer, ReactorError):
            raise answer
        return answer

    def _leave(self) -> None:
        """Send all that wait, in a task of their own: whoever waits may be cancelled, the others go on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        going = [(parcel, answer) for parcel, answer in self._waiting if not answer.done()]
        self._waiting = []
        self._crowded = len(going) > 1
        if going:
            self._under_way += 1
            journey = asyncio.get_running_loop().create_task(self._travel(going))
            self._journeys.add(journey)
            journey.add_done_callback(self._journeys.discard)

    async def _travel(self, going: Sequence[tuple[Parcel, asyncio.Future[Any]]]) -> None:
        answers: list[Any] = [Unavailable("the connection to Redis was closed")] * len(going)
        try:
            answers = await self._send([parcel for parcel, _ in going])
        except Exception as error:  # noqa: BLE001 (each caller raises it)
            answers = [error] * len(going)
        finally:
            self._arrived()
            for (_, future), answer in zip(going, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, BaseException):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _arrived(self) -> None:
        self._under_way -= 1
        if self._waiting and not self._under_way:
            self._leave()

    async def aclose(self) -> None:
        """Give up what is under way: its callers hear `Unavailable`, its effect is unknown. Twice is fine."""
        journeys = list(self._journeys)
        for journey in journeys:
            journey.cancel()
        await asyncio.gather(*journeys, return_exceptions=True)
