"""A reactor, its clients, and a Redis of their own that may fail.

It is not a claim; the reactor is the library's, the engine is in memory.
It keeps this: clients beat as the contract says, through any error, until they are told to stop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from reactor import Reactor, SessionManager, Settings
from reactor.errors import AcquireTimeout, Unavailable
from reactor.keys import Keys
from reactor.session import HostName, SessionId
from reactor.templates import Template
from tests.fakes.runtime import FakeRuntime
from tests.services.redis import Flavour, RedisServer, private_redis
from tests.waiting import wait_until

PATIENCE = 60.0
"""Seconds that a test waits for what must come: far more than it takes, for a loaded machine."""
TTL = timedelta(seconds=3)


@dataclass(slots=True, kw_only=True)
class Stage:
    """One Redis, one engine, and who uses both; `answers` holds what each client was told, `given` its containers."""

    server: RedisServer
    runtime: FakeRuntime
    settings: Settings
    tasks: anyio.abc.TaskGroup
    keys: Keys = field(default_factory=lambda: Keys("mcp"))
    answers: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    given: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    @property
    def client(self) -> Any:
        """A plain client, for one question."""
        return redis.Redis.from_url(
            self.server.url, decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )

    def seen(self) -> dict[str, str]:
        """Return what the host has written down."""
        with self.client as client:
            return client.hgetall(self.keys.seen(HostName("fake-host")))

    def events(self, name: str) -> list[dict[str, str]]:
        """Return the audit entries of one kind."""
        with self.client as client:
            entries = client.xrange(self.keys.events)
        return [fields for _, fields in entries if fields["event"] == name]

    def doubts(self) -> list[str]:
        """Return the kinds of quarantine that were begun, in order; none where Redis does not say."""
        try:
            return [entry["reason"].partition(":")[0] for entry in self.events("quarantine")]
        except redis.RedisError:
            return []

    def held(self) -> set[str]:
        """Return the sessions that have a container."""
        labels = [held.container.labels for held in self.runtime.held.values()]
        return {str(label.session) for label in labels if label is not None}

    def removed(self) -> set[str]:
        """Return the sessions of which a container was ever removed."""
        return {str(session_id) for session_id, times in self.runtime.removed.items() if times}

    @asynccontextmanager
    async def both(self) -> AsyncGenerator[tuple[Reactor, SessionManager]]:
        """Run a reactor and an application."""
        async with (
            Reactor(self.settings, runtime=self.runtime) as reactor,
            SessionManager(self.settings, runtime=self.runtime) as sessions,
        ):
            yield reactor, sessions

    async def acquire(self, sessions: SessionManager, session_id: str) -> None:
        """Do what a client does at its start, and when it is told that its session is over; through any error."""
        while True:
            try:
                session = await sessions.acquire(session_id)
            except (Unavailable, AcquireTimeout):
                await anyio.sleep(TTL.total_seconds() / 15)
                continue
            self.given.setdefault(session_id, set()).add(str(session.container_id))
            return

    @contextmanager
    def beating(self, *session_ids: str, again: SessionManager | None = None) -> Generator[None]:
        """Let a client of each session beat at exactly a third of the TTL while the body runs.

        With `again`, one that is told 0 acquires its session again.
        """
        scope = anyio.CancelScope()

        async def beat_all() -> None:
            with scope:
                async with anyio.create_task_group() as tasks:
                    for session_id in session_ids:
                        tasks.start_soon(self._beat, session_id, again)

        self.tasks.start_soon(beat_all)
        try:
            yield
        finally:
            scope.cancel()

    async def _beat(self, session_id: str, again: SessionManager | None) -> None:
        told = self.answers.setdefault(session_id, [])
        key = self.keys.heartbeat(SessionId(session_id))
        period = TTL.total_seconds() / 3
        client: Any = redis.asyncio.Redis.from_url(
            self.server.url, socket_timeout=period, socket_connect_timeout=period
        )
        at = anyio.current_time()
        try:
            while True:
                try:
                    told.append(int(await client.pexpire(key, TTL)))
                except redis.RedisError:
                    await anyio.sleep(period / 5)  # keep trying
                    continue
                if not told[-1] and again is not None:
                    await self.acquire(again, session_id)
                at = max(at + period, anyio.current_time() + period / 2)
                await anyio.sleep_until(at)
        finally:
            with anyio.CancelScope(shield=True):
                await client.aclose()

    async def lasts(self, times: float = 1.5) -> None:
        """Let the fault last for so many TTLs, by the clock of this machine."""
        until = anyio.current_time() + times * TTL.total_seconds()
        await wait_until(lambda: anyio.current_time() >= until, PATIENCE, "the fault has lasted")

    async def doubted(self, kind: str) -> None:
        """Wait until a quarantine of this kind was begun."""
        await wait_until(lambda: kind in self.doubts(), PATIENCE, f"a quarantine {kind}")

    async def only(self, *session_ids: str) -> None:
        """Wait until only these sessions have a container."""
        await wait_until(lambda: self.held() == set(session_ids), PATIENCE, f"only {session_ids} are left")


@asynccontextmanager
async def stage(
    options: Mapping[str, str] | None = None,
    flavour: Flavour = Flavour.REDIS,
    server: RedisServer | None = None,
    **settings: Any,
) -> AsyncGenerator[Stage]:
    """Set a stage with a Redis of its own (or with a given one); `settings` as in `Settings`."""
    template = Template(name="default", image="any", ttl=TTL)
    async with anyio.create_task_group() as tasks:
        with private_redis(flavour, options) as own:
            used = server or own
            chosen = Settings(
                redis_url=used.url, listen=None, stop_grace=timedelta(0), templates={"default": template}, **settings
            )
            yield Stage(server=used, runtime=FakeRuntime(), settings=chosen, tasks=tasks)
            tasks.cancel_scope.cancel()
