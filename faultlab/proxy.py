"""A bad wire: a proxy in front of Redis or an engine whose fault can be changed while it runs.

What this is: bytes between a client and a server, on TCP or unix sockets, delayed, withheld, dripped or cut as told.
What it is not: a reader of requests (`docker_proxy`), or a choice of faults (the laboratory). The invariant: `hits`
counts each time that a fault did something, so that a run can tell a fault that fired from one that never did.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from faultlab.proxy_faults import BlackHole, Cut, Delay, Drip, Fault, Link, OneWay, Pass, Refuse, Way

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["BlackHole", "Cut", "Delay", "Drip", "Fault", "FaultProxy", "Link", "OneWay", "Pass", "Refuse", "Way"]

CHUNK: Final = 65536
ASKED: Final = 4096
"""How much of a connection's first requests is kept, to know it by."""


class FaultProxy:
    """Listens at one address and connects each client to another; `async with` starts and ends it.

    `listen` and `upstream` are `unix:///path` or `tcp://host:port`; port 0 takes a free one, see `address`. It can be
    entered once, and belongs to one event loop.
    """

    def __init__(self, listen: str, upstream: str) -> None:
        """Note both addresses; nothing is opened yet."""
        self.address = listen
        self.hits: Counter[str] = Counter()
        """How often each fault did something, by the name of its class (`Reset` for `reset`)."""
        self.links: set[Link] = set()
        """The connections that stand now."""
        self.word = b""
        """Answers that hold this word are counted as `Word`."""
        self._upstream = upstream
        self._fault: Fault = Pass()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        path = _unix_path(self.address)
        if path is not None:
            self._server = await asyncio.start_unix_server(self._accept, path)
            return self
        host, port = _host_and_port(self.address)
        self._server = await asyncio.start_server(self._accept, host, port)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"tcp://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more and end every connection."""
        if self._server is not None:
            self._server.close()
        for link in list(self.links):
            link.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _forget(self.address)

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return _host_and_port(self.address)[1]

    @property
    def fault(self) -> Fault:
        """What is wrong with the wire now."""
        return self._fault

    def become(self, fault: Fault) -> None:
        """Change the fault, for connections that stand too; what a black hole withheld then comes through."""
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    def reset(self) -> int:
        """End all connections that stand (a TCP reset); returns how many. New ones are as the fault says."""
        links = list(self.links)
        for link in links:
            link.close()
        self.hits["Reset"] += len(links)
        return len(links)

    def hush(self, matching: bytes) -> int:
        """Withhold for ever all answers on the connections whose first requests match; returns how many these are.

        The client sees a half-open link: `hush(b"PSUBSCRIBE")` is the subscriber's alone.
        """
        links = [link for link in self.links if re.search(matching, link.asked)]
        for link in links:
            link.silenced.set()
        self.hits["Hush"] += len(links)
        return len(links)

    def drop_hushed(self) -> int:
        """End the connections that were hushed, as where a server or a router has found out; returns how many."""
        links = [link for link in self.links if link.silenced.is_set()]
        for link in links:
            link.close()
        return len(links)

    # ------------------------------------------------------------------ one connection

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (the server runs this in a task)
        self._tasks.add(task)
        try:
            if isinstance(self._fault, Refuse):
                self._hit()
            else:
                await self.serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side went away, or the proxy ends
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client to the server and move bytes until either is gone."""
        answers, server = await self.connect()
        link = Link(client=writer, server=server)
        await self.relay(link, reader, answers)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the server."""
        path = _unix_path(self._upstream)
        if path is not None:
            return await asyncio.open_unix_connection(path)
        return await asyncio.open_connection(*_host_and_port(self._upstream))

    async def relay(self, link: Link, requests: asyncio.StreamReader, answers: asyncio.StreamReader) -> None:
        """Move bytes both ways until the server's side has ended; then the link is closed."""
        self.links.add(link)
        asking = asyncio.create_task(self._pump(link, requests, link.server, Way.REQUESTS))
        try:
            await self._pump(link, answers, link.client, Way.ANSWERS)
            with suppress(OSError):
                await link.client.drain()
                link.client.close()
                await link.client.wait_closed()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            self.links.discard(link)
            link.close()

    async def _pump(self, link: Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Way) -> None:
        while True:
            data = await source.read(CHUNK)
            if way is Way.ANSWERS:
                link.begun = link.begun or data
                if self.word and self.word in data:
                    self.hits["Word"] += 1
            elif way is Way.REQUESTS and len(link.asked) < ASKED:
                link.asked += data
            if not await self._deliver(link, data, sink, way):
                link.close()
                return
            if not data:
                if way is Way.REQUESTS:
                    link.deserted = None if link.begun else time.time()
                if way is Way.REQUESTS and sink.can_write_eof():
                    sink.write_eof()
                return

    async def _deliver(self, link: Link, data: bytes, sink: asyncio.StreamWriter, way: Way) -> bool:
        """Hand a chunk (or, empty, the end) on as the fault says; False where the connection is to end."""
        if way is Way.ANSWERS and link.silenced.is_set():
            await link.closed.wait()
            return False
        while self._withheld(way):
            self._hit()
            await self._changed.wait()
        match self._fault:
            case Delay(seconds, jitter) if data:
                self._hit()
                await asyncio.sleep(seconds + random.uniform(0, jitter))
            case Drip(size, seconds) if data:
                for start in range(0, len(data), size):
                    self._hit()
                    sink.write(data[start : start + size])
                    await sink.drain()
                    await asyncio.sleep(seconds)
                return True
            case Cut() as cut if data and self._cuts(link, data, way, cut):
                return False
            case _:
                pass
        if data:
            sink.write(data)
            await sink.drain()
        return True

    def _withheld(self, way: Way) -> bool:
        return isinstance(self._fault, BlackHole) or (isinstance(self._fault, OneWay) and self._fault.open is not way)

    def _cuts(self, link: Link, data: bytes, way: Way, cut: Cut) -> bool:
        if way is Way.REQUESTS:
            if not re.search(cut.matching, data, re.DOTALL):
                return False
            link.doomed = cut.applied
            if cut.applied:
                return False
        elif not link.doomed:
            return False
        self._hit()
        self.become(Cut(cut.matching, cut.times - 1, cut.applied) if cut.times > 1 else Pass())
        return True

    def _hit(self) -> None:
        self.hits[type(self._fault).__name__] += 1


def _unix_path(address: str) -> str | None:
    return address.removeprefix("unix://") if address.startswith("unix://") else None


def _forget(address: str) -> None:
    path = _unix_path(address)
    if path is not None:
        Path(path).unlink(missing_ok=True)


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    return parts.hostname or "127.0.0.1", parts.port or 0
