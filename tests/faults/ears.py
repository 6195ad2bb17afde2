"""A Redis of one's own with a reactor that listens to it, and what a test does to what it hears.

It is not a claim. It keeps this: the engine is in memory, so that nothing but Redis is at its worst.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest
import redis

from reactor import Reactor, SessionManager, Settings
from reactor.audit import follow_events
from reactor.session import SessionId
from tests.fakes.runtime import FakeRuntime
from tests.faults.rig import PATIENCE
from tests.services.redis import RedisServer
from tests.waiting import wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """A Redis of one's own, what listens to it, and how often it was reconciled."""

    client: redis.Redis
    server: RedisServer
    settings: Settings
    runtime: FakeRuntime
    caplog: pytest.LogCaptureFixture

    @asynccontextmanager
    async def both(self) -> AsyncGenerator[tuple[Reactor, SessionManager]]:
        """Run a reactor and an application; the body begins once the canary was heard."""
        runtime = self.runtime
        async with (
            Reactor(self.settings, runtime=runtime) as reactor,
            SessionManager(self.settings, runtime=runtime) as sessions,
        ):
            await wait_until(lambda: reactor.events.hearing is True, PATIENCE)
            yield reactor, sessions

    def holds(self, session_id: str) -> bool:
        """Whether the session's container runs."""
        return bool(self.runtime.running(SessionId(session_id)))

    def subscriptions(self) -> int:
        """How often somebody has subscribed to this Redis by pattern."""
        found = cast("dict[str, dict[str, int]]", self.client.info("commandstats"))
        return found.get("cmdstat_psubscribe", {}).get("calls", 0)

    def sweeps(self) -> int:
        """How many reconciles have been done."""
        return sum(record.msg == "reconcile done" for record in self.caplog.records)

    def end(self, session_id: str) -> None:
        """Delete a heartbeat key, as a client does that has finished."""
        self.client.delete(f"mcp:session:{session_id}:heartbeat")

    async def ended(self, session_id: str) -> dict[str, object]:
        """Wait for the one end of a session and return its audit entry."""
        await wait_until(lambda: not self.holds(session_id), PATIENCE, f"{session_id} is gone")
        found: list[dict[str, object]] = []

        async def told() -> bool:
            entries = [entry async for entry in follow_events(self.settings, session_id=SessionId(session_id))]
            found[:] = [dict(entry) for entry in entries if entry["event"] == "ended"]
            return bool(found)

        await wait_until(told, PATIENCE)
        assert len(found) == 1
        assert self.runtime.removed[SessionId(session_id)] == 1
        return found[0]

    def drop_subscribers(self) -> int:
        """Do what an operator does with CLIENT KILL; returns how many were hit."""
        return self.client.client_kill_filter(_type="pubsub")
