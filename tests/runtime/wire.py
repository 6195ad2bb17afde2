"""A socket that speaks HTTP as a test says: a stub of an engine, or a bad wire in front of the real one.

What this is: one request per connection, answered by a function. What it is not: an engine. It keeps this: an answer of
None closes the connection without a byte, as a cut wire does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; `target` is its path with the query."""

    method: str
    target: str
    raw: bytes


Answer = Callable[[Request], Awaitable[bytes | None]]


def reply(status: int, body: object = None, *, content_type: str = "application/json") -> bytes:
    """Return a whole HTTP answer; a body of bytes is sent as it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + content


def says(message: str, status: int) -> bytes:
    """Return a refusal as an engine words it."""
    return reply(status, {"message": message})


@asynccontextmanager
async def serve(path: Path, answer: Answer) -> AsyncGenerator[str]:
    """Serve at a unix socket; gives its address as DOCKER_HOST takes it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
            length = next((int(line[15:]) for line in raw.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
            raw += await reader.readexactly(length)
            method, target, _ = raw.split(b"\r\n", 1)[0].decode().split(" ")
            said = await answer(Request(method=method, target=target, raw=raw))
            if said is not None:
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(handle, path)
    try:
        yield f"unix://{path}"
    finally:
        server.close()


async def forward(engine: Engine, request: Request) -> bytes:
    """Send a request on to the real engine and return its whole answer."""
    assert engine.host.startswith("unix://"), "the tests use an engine on a socket"
    reader, writer = await asyncio.open_unix_connection(engine.host.removeprefix("unix://"))
    try:
        writer.write(request.raw.replace(b"Connection: keep-alive", b"Connection: close"))
        return await reader.read()
    finally:
        writer.close()


def stub(answer: Callable[[Request], bytes | None]) -> Answer:
    """Return an answer that tells its version like a real engine, and leaves the rest to the function."""

    async def answering(request: Request) -> bytes | None:
        if request.target == "/version":
            return reply(200, {"ApiVersion": "1.41"})
        if request.target == "/v1.41/info":
            return reply(200, {"Name": "stub", "ID": "1", "DockerRootDir": "/", "ServerVersion": "1"})
        return answer(request)

    return answering
