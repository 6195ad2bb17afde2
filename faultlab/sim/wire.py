"""The network between simulated processes and a simulated Redis, in the bytes that redis-py sends and reads.

What this is: connections with latency, and their faults: cut, lost request or reply, black hole, late delivery. What
it is not: TCP; bytes are whole and in order or do not come. The invariant: a request that reached the server is carried
out, whatever became of the one who sent it.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, cast

import hiredis

from faultlab.sim.connection import Session
from faultlab.sim.loop import PROCESS, Life, Process, SimLoop
from faultlab.sim.naming import label
from faultlab.sim.ports import STALE, Fault, Ports, leave
from faultlab.sim.redis import SimRedis
from faultlab.sim.replies import Refusal, Reply, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

NOWHERE = contextvars.Context()


def encode(reply: Reply) -> bytes:
    """Write a reply as RESP2."""
    if type(reply) is bytes:  # the most frequent
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    match reply:
        case None:
            return b"$-1\r\n"
        case Status(text):
            return b"+" + text + b"\r\n"
        case Refusal(text):
            return b"-" + text.replace("\n", " ").encode() + b"\r\n"
        case int():
            return b":%d\r\n" % reply
        case list():
            parts = cast("list[Reply]", reply)
            return b"*%d\r\n" % len(parts) + b"".join(encode(part) for part in parts)
        case _:
            message = f"no reply: {reply!r}"
            raise TypeError(message)


class Network:
    """All connections to one server. `cut_off` names processes whose bytes go nowhere, either way."""

    def __init__(self, loop: SimLoop, server: SimRedis, ports: Ports, rng: Random) -> None:
        """Connect everybody."""
        self.loop = loop
        self.server = server
        self.ports = ports
        self._rng = rng
        self.down = False
        self.frozen = False
        self.cut_off: dict[str, None] = {}
        self.slow = 1.0
        self.on_answer: Callable[[str], None] = lambda _process: None
        """Told of each answer that a process is about to hear."""
        self.links: dict[SimTransport, None] = {}
        self._waiting: list[tuple[SimTransport, list[list[bytes]], Fault]] = []

    def delay(self) -> float:
        """Return one way's time in seconds."""
        return self._rng.uniform(0.00005, 0.0004) * self.slow

    async def connect(self, host: str, port: int) -> SimTransport:
        """Open a connection for the process that asks; refused while the server is down."""
        del host, port
        process = PROCESS.get()
        await asyncio.sleep(self.delay())
        if process is not None and process.name in self.cut_off:
            await asyncio.sleep(3600)
        if self.down:
            raise ConnectionRefusedError(111, "Connection refused")
        link = SimTransport(self, process)
        self.links[link] = None
        self.server.sessions[link.session] = None
        return link

    def stop(self) -> None:
        """Let the server be gone: every connection is reset."""
        self.down = True
        self._waiting.clear()
        self.cut(list(self.links))

    def cut(self, links: list[SimTransport]) -> None:
        """Reset connections."""
        for link in links:
            link.reset()

    def cut_process(self, process: Process) -> None:
        """Reset all connections of a process."""
        self.cut([link for link in self.links if link.process is process])

    def forget(self) -> None:
        """Let go of every connection, at the end."""
        for link in self.links:
            link.closed = True
        self.links.clear()
        self._waiting.clear()

    def thaw(self) -> None:
        """Let a frozen server go on: it first finds what has ended, then what was asked meanwhile."""
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        for link, commands, fault in waiting:
            self.arrive(link, commands, fault)

    def send(self, link: SimTransport, commands: list[list[bytes]]) -> None:
        """Carry a request to the server, as far as it gets."""
        process = link.process
        fault = self.ports.call(process, "redis." + "+".join(dict.fromkeys(label(words) for words in commands)))
        extra = leave(process, fault, self.later)
        if extra is None:
            return
        delay = self.delay() + extra
        if fault is Fault.LOSE_REQUEST:
            self.later(delay, link.reset)
            return
        if process is not None and process.name in self.cut_off:
            return
        link.last = at = max(link.last + 1e-9, self.loop.time() + delay)
        self.later(at - self.loop.time(), self.arrive, link, commands, fault)

    def later(self, delay: float, call: Any, *args: Any) -> None:
        """Do something outside every process after a while."""
        self.loop.call_later(delay, call, *args, context=NOWHERE)

    def arrive(self, link: SimTransport, commands: list[list[bytes]], fault: Fault) -> None:
        """Let the server carry out a request and answer."""
        if self.down:
            return
        if self.frozen:
            self._waiting.append((link, commands, fault))
            return
        replies = [reply for words in commands for reply in self.server.execute(link.session, words)]
        if fault is Fault.REPEAT:
            replies = [reply for words in commands for reply in self.server.execute(link.session, words)]
        if fault in (Fault.LOSE_REPLY, Fault.LATE):
            link.reset()
            return
        self.answer(link, b"".join(encode(reply) for reply in replies), STALE if fault is Fault.STALE else 0)

    def answer(self, link: SimTransport, data: bytes, extra: float = 0) -> None:
        """Carry bytes to the one who holds the connection."""
        process = link.process
        if link.closed or (process is not None and (process.life is Life.DEAD or process.name in self.cut_off)):
            return
        if process is not None:
            self.on_answer(process.name)
        link.heard = at = max(link.heard + 1e-9, self.loop.time() + self.delay() + extra)
        self.loop.call_at(at, link.deliver, data, context=link.context)

    def push(self, link: SimTransport, message: Reply) -> None:
        """Carry what was not asked for."""
        data = encode(message)
        match self.ports.push(link.process, "redis." + message[-1].decode("latin-1")[:20]):
            case Fault.DROP_PUSH:
                return
            case Fault.REPEAT_PUSH:
                self.answer(link, data)
                self.later(STALE, self.answer, link, data)
            case _:
                self.answer(link, data)


class SimTransport(asyncio.Transport):
    """One connection as asyncio sees it."""

    def __init__(self, network: Network, process: Process | None) -> None:
        """Open it."""
        super().__init__()
        self._network = network
        self._protocol: Any = None
        self._reader = hiredis.Reader()
        self.process = process
        self.context = contextvars.copy_context()
        self.session = Session(self._push)
        self.closed = False
        self.last = self.heard = 0.0

    def _push(self, message: Reply) -> None:
        self._network.push(self, message)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; each write of redis-py holds whole commands."""
        if self.closed:
            return
        self._reader.feed(bytes(data))
        commands: list[list[bytes]] = []
        while (words := self._reader.gets()) is not False:
            commands.append(words)
        if commands:
            self._network.send(self, commands)

    def deliver(self, data: bytes) -> None:
        """Hand bytes to the protocol."""
        if not self.closed:
            self._protocol.data_received(data)

    def reset(self) -> None:
        """Break the connection; the process learns of it."""
        self._end(ConnectionResetError(104, "Connection reset by peer"))

    def close(self) -> None:
        """Close it from this side."""
        self._end(None)

    def abort(self) -> None:
        """Close it from this side."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.closed:
            return
        self.closed = True
        self._network.links.pop(self, None)
        self._network.server.sessions.pop(self.session, None)
        if self._protocol is not None:
            self._network.loop.call_soon(self._protocol.connection_lost, error, context=self.context)

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self.closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Take who reads."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who reads."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return nothing: there is no socket."""
        del name
        return default

    def get_write_buffer_size(self) -> int:
        """Return nothing: bytes are taken at once."""
        return 0
