"""The engine's HTTP over its unix socket, by hand: for those who must not share a line of code with the product.

What this is: one request, or the endless answer of `/events`. What it is not: the product's Docker client, whose view
is what the laboratory checks. The invariant: an answer is returned whole or an `OSError` is raised.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

_LINE_LIMIT = 1 << 22


class Broken(OSError):
    """The engine broke an answer off."""


async def ask(socket: Path, method: str, path: str, *, timeout: float = 5.0) -> tuple[int, Any]:  # noqa: ASYNC109
    """Send a request without a body; returns the status and the JSON of the answer (None where there is none)."""
    async with asyncio.timeout(timeout):
        async with _opened(socket, method, path) as (status, chunks):
            body = b"".join([chunk async for chunk in chunks])
    return status, json.loads(body) if body.strip() else None


async def events(socket: Path, *, since_ns: int) -> AsyncIterator[dict[str, Any]]:
    """Yield every container event of the engine from `since_ns` (wall clock) on, until the stream breaks."""
    filters = quote(json.dumps({"type": ["container"]}))
    since = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
    async with _opened(socket, "GET", f"/events?filters={filters}&since={since}") as (status, chunks):
        if status != 200:
            message = f"/events answered {status}"
            raise Broken(message)
        rest = b""
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)


@asynccontextmanager
async def _opened(socket: Path, method: str, path: str) -> AsyncGenerator[tuple[int, AsyncIterator[bytes]]]:
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LINE_LIMIT)
    try:
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: engine\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        status = int((await _line(reader)).split()[1])
        headers: dict[str, str] = {}
        while line := (await _line(reader)).strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        yield status, _chunks(reader) if headers.get("transfer-encoding") == "chunked" else _rest(reader, headers)
    finally:
        writer.close()


async def _line(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise Broken("the engine hung up")
    return line.decode()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    try:
        while size := int(await _line(reader), 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
    except asyncio.IncompleteReadError as error:
        raise Broken("the engine hung up") from error


async def _rest(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    length = headers.get("content-length")
    try:
        yield await reader.read(-1) if length is None else await reader.readexactly(int(length))
    except asyncio.IncompleteReadError as error:
        raise Broken("the engine hung up") from error
