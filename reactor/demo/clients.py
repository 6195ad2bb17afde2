"""The users of the demo: one talks to the MCP server of a session, one keeps a session alive.

What this is: what an application does beside `acquire`. What it is not: part of the reactor; a heartbeat here is the
plain EXPIRE that any Redis client sends. The invariant: nothing here acquires, so nothing here revives a session.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from reactor.demo.workload import PORT
from reactor.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Generator

    from reactor.session import Session
    from reactor.throwaway import PlainRedis

CALL_LIMIT: Final = 15.0
CONNECT_LIMIT: Final = 2.0


async def call(session: Session, tool: str, **arguments: object) -> Any:
    """Call a tool of a session's MCP server, over its published address; raises `Unavailable`."""
    with _translated(session):
        url = await _url(session)
        # No proxy of the environment stands between this program and its own machine.
        async with (
            httpx2.AsyncClient(trust_env=False, timeout=CALL_LIMIT) as http,
            Client(streamable_http_client(url, http_client=http), read_timeout_seconds=CALL_LIMIT) as client,
        ):
            answer = await client.call_tool(tool, arguments)
    if answer.is_error or answer.structured_content is None:
        raise Unavailable(f"the MCP server of session {session.session_id} refuses {tool}: {answer.content}")
    return answer.structured_content["result"]


async def _url(session: Session) -> str:
    """Return the published address, or the container's own where that one leads nowhere (as from inside another)."""
    address = session.address
    if address is None:
        raise Unavailable(f"session {session.session_id} has no address")
    published = address.ports[f"{PORT}/tcp"]
    with anyio.move_on_after(CONNECT_LIMIT):
        with suppress(OSError):
            async with await anyio.connect_tcp(published.host, published.port):
                return f"http://{published.host}:{published.port}/mcp"
    return f"http://{address.ip}:{PORT}/mcp"


@contextmanager
def _translated(session: Session) -> Generator[None]:
    try:
        yield
    except Exception as error:
        # The client's own errors come in groups, from its task group, and are of half a dozen packages.
        leaf: BaseException = error
        while isinstance(leaf, BaseExceptionGroup):
            leaf = cast("BaseExceptionGroup[BaseException]", leaf).exceptions[0]
        raise Unavailable(f"the MCP server of session {session.session_id} does not answer: {leaf!r}") from error


class Heart:
    """Touches one session's key every second, until it is stopped. `answers` are what EXPIRE said."""

    def __init__(self, redis: PlainRedis, session: Session) -> None:
        """Take whose key it is; nothing is sent yet."""
        self._redis = redis
        self.key = session.heartbeat_key
        self.ttl = int(session.ttl.total_seconds())
        self.answers: list[int] = []
        self._stopped = False

    async def touch(self) -> int:
        """Send one EXPIRE and return its answer: 1, or 0 when the session is over."""
        answer = int(await self._redis.send("EXPIRE", self.key, self.ttl))
        self.answers.append(answer)
        return answer

    async def beat(self) -> None:
        """Touch the key every second."""
        while not self._stopped:
            with suppress(Unavailable):  # an outage of Redis never costs a living session its container: go on
                await self.touch()
            await anyio.sleep(self.ttl / 4)

    def stop(self) -> None:
        """Do not touch it again."""
        self._stopped = True
