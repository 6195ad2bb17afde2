"""One test's world: an engine behind a bad wire, a Redis, and who works with both.

What this is: the settings, and what is seen from outside of the product. What it is not: a fault. It keeps this: what
is said of the engine was asked of the engine itself, past the proxy.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import redis

from faultlab.docker_proxy import DockerProxy, Request
from reactor import Reactor, SessionManager, Settings
from reactor.registry import Record
from reactor.session import Session, SessionId
from tests.faults.engine import LastingEngine
from tests.waiting import wait_until

PATIENCE = 45.0
"""Seconds that a test waits for what must come: far more than it takes, for a loaded machine."""
CREATE = "/containers/create"
START = "/containers/[0-9a-f]+/start"
REMOVE = "/containers/[0-9a-f]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """See the module; `settings` lead through the proxy."""

    engine: LastingEngine
    proxy: DockerProxy
    client: redis.Redis
    settings: Settings

    @asynccontextmanager
    async def both(self) -> AsyncGenerator[tuple[Reactor, SessionManager]]:
        """Run a reactor and an application; where the body fails, what it had hurt is healed, or they would not end."""
        async with Reactor(self.settings) as reactor, SessionManager(self.settings) as sessions:
            try:
                yield reactor, sessions
            except BaseException:
                self.proxy.heal()
                self.engine.thaw()
                raise

    def end(self, session_id: str) -> None:
        """Do what a client does that has finished: delete its heartbeat key."""
        self.client.delete(f"mcp:session:{session_id}:heartbeat")

    def beat(self, session_id: str, seconds: int = 300) -> bool:
        """Do what any client does."""
        return bool(self.client.expire(f"mcp:session:{session_id}:heartbeat", seconds))

    def state(self, session_id: str) -> str:
        """Return the state in the record, empty without one."""
        found = cast("bytes | None", self.client.hget(f"mcp:session:{session_id}", "state"))
        return (found or b"").decode()

    @property
    def watched(self) -> bool:
        """Whether acquires are told that this host's engine is watched."""
        until = cast("bytes | None", self.client.hget(f"mcp:host:{self.settings.host}:seen", "watched_until"))
        seconds, micros = self.client.time()
        return int(until or 0) > seconds * 1000 + micros // 1000

    def entries(self, session_id: str) -> list[dict[str, str]]:
        """Return the audit entries of a session, oldest first."""
        raw = cast("list[tuple[bytes, dict[bytes, bytes]]]", self.client.xrange("mcp:events"))
        texts = [{name.decode(): value.decode() for name, value in entry.items()} for _, entry in raw]
        return [entry for entry in texts if entry.get("session_id") == session_id]

    def story(self, session_id: str) -> list[str]:
        """Return the events of a session, each end with its reason."""
        return [
            " ".join(filter(None, (entry["event"], entry.get("reason") if entry["event"] == "ended" else None)))
            for entry in self.entries(session_id)
        ]

    def removals(self, session: Session) -> list[Request]:
        """Return the requests to remove a session's container, as far as the engine carried them out."""
        path = f"/containers/{session.container_id}"
        return [one for one in self.proxy.log if one.method == "DELETE" and one.path == path and one.status == 204]

    async def runs(self, session: Session) -> bool:
        """Whether the session's container has a process now."""
        found = await self.engine.container(session.container_id or "")
        return found is not None and found["State"]["Running"]

    async def gone(self, session: Session) -> None:
        """Wait until the engine has no such container and the session is written down as ended."""

        async def is_gone() -> bool:
            there = await self.engine.container(session.container_id or "")
            return there is None and self.state(session.session_id) in ("ended", "")

        await wait_until(
            is_gone, PATIENCE, f"{session.session_id} is gone; its story: {self.story(session.session_id)}"
        )

    async def record(self, reactor: Reactor, session_id: str) -> Record:
        """Return the record as the reactor reads it."""
        found = (await reactor.crew.registry.records([SessionId(session_id)]))[SessionId(session_id)]
        assert isinstance(found, Record)
        return found
