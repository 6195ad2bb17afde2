"""A bad wire in front of a Docker engine, which knows one request from another.

What this is: `FaultProxy`, with rules that lose, hold, invent or cut the answer to chosen requests, and a record of all
that would change something. What it is not: an engine. The invariant: each request is one connection to the engine, so
that an answer ends where the engine ended it, and a rule acts on nothing but the request that it matched.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from faultlab.proxy import CHUNK, FaultProxy, Link

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

_VERSION: Final = re.compile(r"^/v\d+\.\d+(?=/)")
_READS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class LoseRequest:
    """The connection ends and the engine never hears of the request."""


@dataclass(frozen=True, slots=True)
class LoseReply:
    """The engine does all of it and answers; the connection ends without a byte of that."""


@dataclass(frozen=True, slots=True)
class Say:
    """An invented answer; `applied`: the engine does what was asked all the same."""

    status: int
    message: str = "the fault proxy says so"
    applied: bool = False


@dataclass(frozen=True, slots=True)
class Truncate:
    """The answer ends after so many bytes (the head counts)."""

    size: int


@dataclass(frozen=True, slots=True)
class Late:
    """The request reaches the engine only after so many seconds, also where the client has gone meanwhile."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Stops the request until `Rule.release`: before the engine hears of it or, `applied`, with the answer in hand."""

    applied: bool = False


Act = LoseRequest | LoseReply | Say | Truncate | Late | Hold


@dataclass(eq=False, slots=True)
class Rule:
    """What happens to requests; method and path (without `/v1.NN` and the query) are matched whole, as expressions.

    `times`: how many requests it is about, None for all. `seen`: set at the first hit. `path` may name a container.
    """

    act: Act
    method: str = ".*"
    path: str = ".*"
    times: int | None = 1
    hits: int = 0
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def takes(self, method: str, path: str) -> bool:
        """Whether it is about this request; if so that counts."""
        spent = self.times is not None and self.hits >= self.times
        if spent or not re.fullmatch(self.method, method) or not re.fullmatch(self.path, path):
            return False
        self.hits += 1
        self.seen.set()
        return True

    def release(self) -> None:
        """Let what it holds go on, and hold nothing more."""
        self._released.set()

    async def until_released(self) -> None:
        """Wait for `release`."""
        await self._released.wait()


@dataclass(slots=True, kw_only=True)
class Request:
    """One request as it came; `at` and `done` are the wall clock in seconds.

    `status` is what the engine answered (None: nothing), `done` when it was over for the client, who may not have
    waited for that (`deserted`).
    """

    at: float
    method: str
    path: str
    query: str
    status: int | None = None
    done: float | None = None
    deserted: bool = False


class DockerProxy(FaultProxy):
    """A `FaultProxy` in front of an engine. Its faults work here too; `rules` are asked in order, the first one acts.

    `log` holds each request that changes something (not GET, not HEAD), in the order in which they came; `on_request`
    is called with each of them before the engine hears of it.
    """

    def __init__(self, listen: str, upstream: str, *, on_request: Callable[[Request], None] | None = None) -> None:
        """Note both addresses; nothing is opened yet."""
        super().__init__(listen, upstream)
        self.rules: list[Rule] = []
        self.log: list[Request] = []
        self._on_request = on_request

    def add(self, act: Act, method: str = ".*", path: str = ".*", times: int | None = 1) -> Rule:
        """Add a rule at the end and return it."""
        rule = Rule(act, method, path, times)
        self.rules.append(rule)
        return rule

    def heal(self) -> None:
        """Forget all rules and let go of what they hold."""
        rules, self.rules = self.rules, []
        for rule in rules:
            rule.release()

    def cut(self, path: str) -> int:
        """End the answers under way whose path matches (an event stream: `/events`); returns how many."""
        return sum(1 for link in self._under_way(path) if self._end(link, "Cut"))

    def silence(self, path: str) -> int:
        """Withhold for ever what would still come on the answers under way; returns how many there are."""
        links = self._under_way(path)
        for link in links:
            link.silenced.set()
        self.hits["Silence"] += len(links)
        return len(links)

    def _under_way(self, path: str) -> list[Link]:
        return [link for link in self.links if re.fullmatch(path, link.label)]

    def _end(self, link: Link, fault: str) -> bool:
        link.close()
        self.hits[fault] += 1
        return True

    # ------------------------------------------------------------------ one request

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request, ask the rules, and relay it."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        path, _, query = target.partition("?")
        path = _VERSION.sub("", path)
        request = Request(at=time.time(), method=method, path=path, query=query)
        if method not in _READS:
            self.log.append(request)
            if self._on_request is not None:
                self._on_request(request)
        rule = next((rule for rule in self.rules if rule.takes(method, path)), None)
        if rule is not None:
            self.hits[type(rule.act).__name__] += 1
        try:
            await self._carry(_Exchange(request=request, head=_one_request(head), rule=rule), reader, writer)
        finally:
            request.done = request.done or time.time()

    async def _carry(self, exchange: _Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rule = exchange.rule
        match rule.act if rule is not None else None:
            case LoseRequest():
                return
            case Say(status, message, applied):
                if applied:
                    await self._whole_answer(exchange, reader)
                writer.write(_reply(status, message))
                await writer.drain()
            case LoseReply():
                await self._whole_answer(exchange, reader)
            case Truncate(size):
                writer.write((await self._whole_answer(exchange, reader))[:size])
                await writer.drain()
            case Hold(applied) if rule is not None:
                if not applied:
                    await rule.until_released()
                answer = await self._whole_answer(exchange, reader)
                await rule.until_released()
                writer.write(answer)
                await writer.drain()
            case Late(seconds):
                await asyncio.sleep(seconds)
                writer.write(await self._whole_answer(exchange, reader))
                await writer.drain()
            case _:
                await self._relay_request(exchange, reader, writer)
        writer.close()
        await writer.wait_closed()

    async def _relay_request(
        self, exchange: _Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answers, server = await self.connect()
        link = Link(client=writer, server=server, label=exchange.request.path)
        server.write(exchange.head)
        try:
            await self.relay(link, reader, answers)
        finally:
            exchange.request.status = _status(link.begun)
            exchange.request.done, exchange.request.deserted = link.deserted, link.deserted is not None

    async def _whole_answer(self, exchange: _Exchange, reader: asyncio.StreamReader) -> bytes:
        """Let the engine do it, whatever the client does meanwhile, and return all that it answered."""
        answers, server = await self.connect()
        try:
            server.write(exchange.head + await reader.readexactly(_length(exchange.head)))
            await server.drain()
            pieces = [piece async for piece in _pieces(answers)]
        finally:
            server.transport.abort()
        answer = b"".join(pieces)
        exchange.request.status = _status(answer)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    request: Request
    head: bytes
    rule: Rule | None


async def _pieces(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    while piece := await reader.read(CHUNK):
        yield piece


def _one_request(head: bytes) -> bytes:
    """Return the head with `Connection: close`; one that asks for another protocol (attach, exec) stays as it is."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if any(line.lower().startswith(b"upgrade:") for line in lines):
        return head
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close"]) + b"\r\n\r\n"


def _length(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


def _status(answer: bytes) -> int | None:
    found = re.match(rb"HTTP/1\.\d (\d{3})", answer)
    return int(found[1]) if found else None


def _reply(status: int, message: str) -> bytes:
    body = json.dumps({"message": message}).encode()
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
