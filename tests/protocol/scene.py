"""A stage for traces: one real Redis, one engine in memory, and what a test sees of both from outside.

What this is: who is on stage, what a client does, and the passing of time. What it is not: a claim. It keeps this:
nothing here sleeps or depends on how fast it runs; time passes only where a lease or key was made short and Redis'
clock says that it is over.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import anyio
import redis

from reactor.acquire import WayIn
from reactor.crew import Crew
from reactor.keys import Keys
from reactor.registry import Evidence, SessionRegistry, Terms
from reactor.session import (
    ContainerId,
    Deployment,
    HostName,
    SessionId,
)
from reactor.settings import Settings
from reactor.spawn import Spawner
from reactor.teardown import Ways
from reactor.templates import Template
from reactor.waiting import WakeUps
from tests.fakes.runtime import FakeRuntime
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services.redis import RedisServer


from tests.protocol.actor import HOST, S1, Actor, Door, HookedLink


class Scene:
    """One Redis, one engine, and what a test looks at from outside."""

    def __init__(self, server: RedisServer) -> None:
        """Begin with nobody on stage."""
        self.server = server
        self.keys = Keys("mcp")
        self.engine = FakeRuntime()
        self.redis: Any = redis.Redis.from_url(server.url, decode_responses=True)
        self.tidy = True
        """Whether the keys are checked at the end; off where a test leaves them broken on purpose."""
        self._stack = AsyncExitStack()

    async def actor(
        self, *, host: str = HOST, engine: FakeRuntime | None = None, limit: timedelta | None = None, **terms: Any
    ) -> Actor:
        """Put a process on stage, connected and bound; `terms` as in `Terms`."""
        actor = self.stranger(host=host, engine=engine, limit=limit, **terms)
        await actor.registry.evidence.witness()
        return actor

    def stranger(
        self,
        *,
        host: str = HOST,
        engine: FakeRuntime | None = None,
        limit: timedelta | None = None,
        link: HookedLink | None = None,
        **terms: Any,
    ) -> Actor:
        """Return a process that has not looked at Redis yet."""
        link = link or HookedLink(self.server.url)
        self._stack.push_async_callback(link.aclose)
        runtime = Door(engine or self.engine)
        deployment = Deployment("test")
        evidence = Evidence(link, self.keys, HostName(host), deployment)
        registry = SessionRegistry(link, self.keys, evidence, host=HostName(host), runtime="fake", terms=Terms(**terms))
        settings = Settings(
            acquire_timeout=timedelta(seconds=20) if limit is None else limit,
            templates={"default": Template(name="default", image="idle")},
        )
        ways = Ways(
            registry=registry, runtime=runtime, deployment=deployment, engine=runtime.identity, stop_grace=timedelta(0)
        )
        crew = Crew(settings=settings, ways=ways)
        # The template is known to stay: its first container is not watched for a moment.
        spawner = Spawner(ways=ways, proved={"default"})
        way_in = WayIn(ways=ways, wakeups=WakeUps(registry, self._tasks), spawner=spawner)
        return Actor(link=link, registry=registry, runtime=runtime, crew=crew, way_in=way_in)

    # ------------------------------------------------------------------ what a client does

    def beat(self, session_id: SessionId = S1) -> int:
        """Send the client's EXPIRE; return Redis' answer."""
        return self.redis.expire(self.keys.heartbeat(session_id), 900)

    def end_by_hand(self, session_id: SessionId = S1) -> None:
        """Send the client's DEL."""
        self.redis.delete(self.keys.heartbeat(session_id))

    async def run_out(self, session_id: SessionId = S1) -> None:
        """Let the heartbeat key's TTL end."""
        self.redis.pexpire(self.keys.heartbeat(session_id), 1)
        await wait_until(lambda: not self.has_key(session_id), what="the heartbeat key ran out")

    def overdue(self, session_id: SessionId = S1) -> None:
        """Make it as after its deadline: the key is gone, and by now nobody expects it."""
        self.redis.delete(self.keys.heartbeat(session_id))
        self.redis.hset(self.keys.record(session_id), "deadline", self.now_ms() - 1)

    # ------------------------------------------------------------------ what Redis holds

    def record(self, session_id: SessionId = S1) -> dict[str, str]:
        """Return the record's fields."""
        return self.redis.hgetall(self.keys.record(session_id))

    def state(self, session_id: SessionId = S1) -> str | None:
        """Return the record's state."""
        return self.redis.hget(self.keys.record(session_id), "state")

    def has_key(self, session_id: SessionId = S1) -> bool:
        """Whether there is a heartbeat key."""
        return bool(self.redis.exists(self.keys.heartbeat(session_id)))

    def score(self, session_id: SessionId = S1, host: HostName = HOST) -> float | None:
        """Return when the session is looked at again."""
        return self.redis.zscore(self.keys.due(host), session_id)

    def now_ms(self) -> int:
        """Return Redis' clock."""
        seconds, micros = self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def lease_over(self, session_id: SessionId = S1) -> None:
        """Wait until the lease that stands in the record is over."""
        ends = int(self.redis.hget(self.keys.record(session_id), "lease_until"))
        await wait_until(lambda: self.now_ms() > ends, what="the lease is over")

    def pass_lease(self, session_id: SessionId = S1) -> None:
        """Let the lease be over at once, as when its holder paused for longer than it."""
        self.redis.hset(self.keys.record(session_id), "lease_until", self.now_ms() - 1)

    def snapshot(self, session_id: SessionId = S1) -> Callable[[], None]:
        """Return a failover: called, it takes the session's keys back to what they are now."""
        names = (self.keys.record(session_id), self.keys.heartbeat(session_id), self.keys.due(HOST))
        with redis.Redis.from_url(self.server.url) as client:
            raw: Any = client
            kept = {name: (raw.dump(name), max(0, raw.pttl(name))) for name in names}

        def rewind() -> None:
            with redis.Redis.from_url(self.server.url) as client:
                raw: Any = client
                for name, (value, left) in kept.items():
                    raw.delete(name)
                    if value is not None:
                        raw.restore(name, left, value)

        return rewind

    def events(self, *names: str) -> list[dict[str, str]]:
        """Return the audit entries, of these kinds only if any are named."""
        entries = [fields for _, fields in self.redis.xrange(self.keys.events)]
        return [entry for entry in entries if not names or entry["event"] in names]

    def flush(self) -> None:
        """Let Redis lose everything."""
        self.redis.flushall()

    # ------------------------------------------------------------------ what the engine holds

    def running(self, session_id: SessionId = S1) -> list[ContainerId]:
        """Return the session's running containers."""
        return [container.container_id for container in self.engine.running(session_id)]

    def check_keys(self) -> None:
        """Fail for a key that would stay for ever, or a live record that would not."""
        if not self.tidy:
            self.flush()
        for name in self.redis.scan_iter():
            parsed = self.keys.parse_session_key(name)
            ends = name.startswith(f"{self.keys.prefix}:canary:")
            ends = ends or (parsed is not None and (parsed[1] or self.redis.hget(name, "state") == "ended"))
            assert (self.redis.ttl(name) != -1) is ends, f"{name} has a wrong TTL"

    async def __aenter__(self) -> Self:
        """Open what actors share."""
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(self._tasks.cancel_scope.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._stack.aclose()
        self.redis.close()
