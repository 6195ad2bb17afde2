"""What can be wrong with a wire, and one connection through the proxy.

What this is: the nouns of `proxy`. What it is not: anything that runs. The invariant: a fault is a value; what it does
is written in one place, the proxy.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Way(StrEnum):
    """A direction through the proxy."""

    REQUESTS = "requests"
    """From the client to the server."""
    ANSWERS = "answers"
    """From the server to the client."""


@dataclass(frozen=True, slots=True)
class Pass:
    """No fault."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Each chunk waits `seconds`, and up to `jitter` seconds more; the order within a connection is kept."""

    seconds: float
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class BlackHole:
    """Connections are accepted and kept, and nothing comes through; what was withheld comes through after the fault."""


@dataclass(frozen=True, slots=True)
class OneWay:
    """Only one direction still works; the other is a black hole."""

    open: Way


@dataclass(frozen=True, slots=True)
class Refuse:
    """A new connection is closed at once; those that stand go on (`reset` ends them)."""


@dataclass(frozen=True, slots=True)
class Drip:
    """At most `size` bytes for each tick of `seconds`, in both directions."""

    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends at a request whose bytes match; after `times` cuts the fault is over.

    `applied`: the server got the request and has answered, and the answer is lost. Otherwise it never got it.
    """

    matching: bytes = b""
    times: int = 1
    applied: bool = True


Fault = Pass | Delay | BlackHole | OneWay | Refuse | Drip | Cut


@dataclass(eq=False, slots=True)
class Link:
    """One client's connection with the server's connection that belongs to it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    doomed: bool = False
    """Its request matched a cut: it ends at the answer."""
    label: str = ""
    """What it carries, where the proxy can read it: the path."""
    asked: bytes = b""
    """The first bytes of its requests."""
    begun: bytes = b""
    """The first bytes of the server's answer."""
    deserted: float | None = None
    """When the client hung up before the answer began (wall clock)."""
    silenced: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: answers are withheld until the connection is ended here, and it stays open."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        """End both connections at once, as a broken wire does."""
        self.closed.set()
        for writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            if raw is not None and raw.family != socket.AF_UNIX:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
