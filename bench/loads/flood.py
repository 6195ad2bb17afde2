"""Many commands a second at a steady pace, over plain sockets, with next to no cost of its own.

What this is: heartbeats by many connections, and the writes of others in the same Redis. What it is not: a search for
the most that Redis can do (`redis-benchmark`). The invariant: each tick sends what that tick owes, so the pace holds as
long as Redis and this process keep up; what was really sent is said at the end.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.talk import Message, job, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK_S = 0.01
KEYS = 100_000


def resp(*words: str) -> bytes:
    """Return one command as Redis reads it."""
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)])


def beats(head: str, count: int, ttl_s: int) -> Callable[[int], bytes]:
    """Return the heartbeats of a group, one after another."""
    made = [resp("EXPIRE", f"mcp:session:{head}{n:012d}:heartbeat", str(ttl_s)) for n in range(count)]
    return lambda n: made[n % count]


def writes(n: int) -> bytes:
    """Return a write that lasts."""
    return resp("SET", f"noise:{n % KEYS}", "x")


def ends(n: int) -> bytes:
    """Return a write that ends in a second."""
    return resp("SET", f"gone:{n}", "x", "PX", "1000")


class Flood:
    """Connections that take turns."""

    def __init__(self, url: str, connections: int) -> None:
        """Connect."""
        parts = urlsplit(url)
        self._links: list[socket.socket] = []
        for _ in range(connections):
            link = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379))
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links.append(link)
        self.sent = self.answered = 0

    def send(self, commands: list[bytes]) -> None:
        """Share commands out among the connections and read what was answered so far."""
        share = -(-len(commands) // len(self._links)) if commands else 1
        for link, start in zip(self._links, range(0, len(commands), share), strict=False):
            link.sendall(b"".join(commands[start : start + share]))
        self.sent += len(commands)
        self.drain(0.0)

    def drain(self, wait_s: float) -> None:
        """Read answers; each is one line."""
        while True:
            readable, _, _ = select.select(self._links, [], [], wait_s)
            if not readable:
                return
            for link in readable:
                part = link.recv(1 << 18)
                if not part:
                    message = "Redis hung up"
                    raise ConnectionError(message)
                self.answered += part.count(b"\n")

    def close(self) -> None:
        """Close the connections."""
        for link in self._links:
            link.close()


def _streams(work: Message) -> Iterator[tuple[Callable[[int], bytes], float]]:
    if work.get("beats"):
        yield beats(work["head"], int(work["count"]), int(work["ttl_s"])), float(work["beats"])
    if work.get("writes"):
        yield writes, float(work["writes"])
    if work.get("ends"):
        yield ends, float(work["ends"])


def main(work: Message) -> None:
    """Keep the pace until stdin ends; each question is answered with what was sent and answered so far."""
    flood = Flood(work["url"], int(work["connections"]))
    streams = list(_streams(work))
    owed, done = [0.0] * len(streams), [0] * len(streams)
    say(ok=True)
    last = tick = time.monotonic()
    while True:
        tick += TICK_S
        now = time.monotonic()
        commands: list[bytes] = []
        for index, (make, rate) in enumerate(streams):
            owed[index] += rate * (now - last)
            whole = int(owed[index])
            commands += [make(n) for n in range(done[index], done[index] + whole)]
            done[index] += whole
            owed[index] -= whole
        last = now
        flood.send(commands)
        readable, _, _ = select.select([sys.stdin], [], [], max(0.0, tick - time.monotonic()))
        tick = max(tick, time.monotonic() - TICK_S)
        if readable:
            line = sys.stdin.readline()
            if not line:
                break
            json.loads(line)
            say(sent=flood.sent, answered=flood.answered, at=time.monotonic())
    flood.close()


if __name__ == "__main__":
    main(job())
