"""The engine's event stream, proved again and again while it stands.

What this is: starts and deaths of our containers, and a question every two seconds, over another connection, whether
the stream has told all that happened. What it is not: a delivery guarantee. The invariant: a stream that went silent
(half-open, a frozen engine, an event that was dropped) ends within seconds, and so is known for the gap that it is.
"""

from __future__ import annotations

import json
from collections import deque
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, cast

import anyio

from reactor.errors import Unavailable
from reactor.runtime.docker_answers import event_of
from reactor.runtime.docker_client import json_lines
from reactor.runtime.docker_errors import understood

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from reactor.runtime.docker_client import Answer, DockerClient, Json
    from reactor.runtime.protocol import EngineEvent

STREAM_SILENCE: Final = 600.0
"""Seconds without an event after which the stream is opened anew all the same."""
PROOF_EVERY = 2.0
PROOF_LIMIT = 5.0
"""Seconds that the engine may take to say what happened."""
_LAG: Final = 0.5
"""How old an event must be before the stream is blamed for not having told it."""
_OVERLAP: Final = 2
_REMEMBERED: Final = 4096

_Mark = tuple[object, object, object]


@asynccontextmanager
async def proved_events(client: DockerClient, wanted: Mapping[str, str]) -> AsyncGenerator[AsyncIterator[EngineEvent]]:
    """Listen to containers with these labels; the last two seconds before are told too.

    The body runs once the stream stands; the iterator ends when it breaks or is found to be silent.
    """
    labels = [f"{key}={value}" for key, value in wanted.items()]
    filters = {"filters": json.dumps({"label": labels, "type": ["container"], "event": ["start", "die"]})}
    proof = _Proof(client, filters)
    # The engine sends its headers just before it subscribes us. Asking for a moment ago closes that hole.
    since = await proof.begin()
    async with (
        client.lines("GET", "/events", params={**filters, **since}, silence=STREAM_SILENCE, proof=proof.hold) as lines,
        aclosing(_events(lines, proof, wanted)) as found,
    ):
        yield found


async def _events(lines: AsyncIterator[Json], proof: _Proof, wanted: Mapping[str, str]) -> AsyncGenerator[EngineEvent]:
    async for line in lines:
        proof.told(line)
        event = event_of(line, wanted)
        if event is not None:
            yield event


class _Proof:
    """Compares what the stream told with what the engine remembers (its last 256 events)."""

    def __init__(self, client: DockerClient, filters: Mapping[str, str]) -> None:
        self._client = client
        self._filters = filters
        self._told = deque[_Mark](maxlen=_REMEMBERED)
        self._clock = 0.0
        """The engine's time minus ours, to the second."""
        self._since = 0.0

    async def begin(self) -> dict[str, str]:
        """Read the engine's clock; returns from when the stream is to tell."""
        self._set_clock(await self._client.call("GET", "/_ping"))
        self._since = self._now()
        return {"since": str(int(self._since) - _OVERLAP)} if self._clock else {}

    def told(self, line: Json) -> None:
        """Note a line of the stream."""
        self._told.append(_mark(line))

    async def hold(self) -> None:
        """Return once the stream has kept something back, or the engine does not say."""
        while self._clock:
            await anyio.sleep(PROOF_EVERY)
            try:
                if not await self._holds():
                    return
            except Unavailable:
                return
        await anyio.sleep_forever()  # something between us and the engine drops its clock: no proof is to be had

    async def _holds(self) -> bool:
        until = self._now() - _LAG
        window = {"since": f"{min(self._since, until):.9f}", "until": f"{until:.9f}"}
        answer = await self._client.call(
            "GET", "/events", params={**self._filters, **window}, limit=PROOF_LIMIT, read=json_lines
        )
        self._since = until
        self._set_clock(answer)
        with understood(self._client.where):
            return all(_mark(line) in self._told for line in cast("list[Json]", answer.body))

    def _now(self) -> float:
        return anyio.current_time() + self._clock

    def _set_clock(self, answer: Answer) -> None:
        if not answer.date:
            return
        with understood(self._client.where):
            read = parsedate_to_datetime(answer.date).timestamp() - anyio.current_time()
        # The header is cut to the second: it is between one second behind and exact.
        if not self._clock or not 0 <= self._clock - read + 1 <= 2:  # noqa: PLR2004 (see above)
            self._clock = read


def _mark(line: Json) -> _Mark:
    return (str(line.get("Actor")), line.get("Action"), line.get("timeNano"))
