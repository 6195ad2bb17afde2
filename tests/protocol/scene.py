"""A stage for traces: actors with their own connection to one real Redis and their own door to one engine in memory.

What this is: what makes a trace a straight line: an actor's next step is called by the test, or set into the middle of
another actor's flow by a hook. What it is not: a claim. It keeps this: nothing here sleeps or depends on how fast it
runs; time passes only where a lease or key was made short and Redis' clock says that it is over.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import anyio
import redis

from reactor.acquire import WayIn
from reactor.crew import Crew
from reactor.errors import Unavailable
from reactor.keys import Keys, container_name
from reactor.reconcile import Janitor
from reactor.registry import Evidence, RedisLink, SessionRegistry, Terms
from reactor.registry.verdicts import Claimed, Mode, Spawn
from reactor.runtime.protocol import ContainerSpec, Labels
from reactor.session import (
    ContainerId,
    DatabaseId,
    Deployment,
    Detector,
    EndReason,
    Generation,
    HostName,
    Session,
    SessionId,
    Token,
    new_token,
)
from reactor.settings import Settings
from reactor.spawn import Asked, Spawner
from reactor.teardown import Ways, tear_down
from reactor.templates import Template
from reactor.waiting import WakeUps
from tests.fakes.runtime import FakeRuntime
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

    from reactor.plan import PlanLine
    from reactor.registry import Record
    from reactor.registry.scripts import Script
    from reactor.registry.verdicts import Reservation, Verdict
    from reactor.teardown import Ended
    from tests.fakes.script import Verb
    from tests.services.redis import RedisServer

    Hook = Callable[[], Awaitable[object]]

S1 = SessionId("s-1")
HOST = HostName("h1")
TTL = timedelta(minutes=15)
NOW = timedelta(milliseconds=1)
"""A lease of which nothing is left once Redis' clock has moved."""


class HookedLink(RedisLink):
    """A connection on which a test can act right before or after the next run of a script, or lose its answer."""

    def __init__(self, url: str) -> None:
        """Begin without hooks."""
        super().__init__(url)
        self._before: dict[Script, list[Hook]] = {}
        self._after: dict[Script, list[Hook]] = {}
        self.sent: list[Script] = []

    def before(self, name: Script, hook: Hook) -> None:
        """Do this once, when the script is about to be sent."""
        self._before.setdefault(name, []).append(hook)

    def after(self, name: Script, hook: Hook) -> None:
        """Do this once, when the script had its effect and its answer is on the way."""
        self._after.setdefault(name, []).append(hook)

    def lose(self, name: Script) -> None:
        """Lose the answer of the script's next run; it had its effect."""

        async def lost() -> None:
            raise Unavailable("the answer was lost")

        self.after(name, lost)

    async def run(self, name: Script, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Run the script between its hooks."""
        self.sent.append(name)
        for hook in self._before.pop(name, []):
            await hook()
        reply = await super().run(name, keys, args)
        for hook in self._after.pop(name, []):
            await hook()
        return reply


class Door(FakeRuntime):
    """One actor's way to a shared engine: the containers are everybody's, the hooks, gates and calls its own."""

    def __init__(self, engine: FakeRuntime) -> None:
        """Share what the engine holds."""
        super().__init__()
        self.identity, self.images, self.registry = engine.identity, engine.images, engine.registry
        self.held, self.created, self.started, self.removed = (
            engine.held,
            engine.created,
            engine.started,
            engine.removed,
        )
        self._listeners = engine._listeners
        self._hooks: dict[tuple[Verb, bool], list[Hook]] = {}

    def hook(self, verb: Verb, hook: Hook, *, after_effect: bool = False) -> None:
        """Do this once, in the middle of the verb's next call."""
        self._hooks.setdefault((verb, after_effect), []).append(hook)

    async def before(self, verb: Verb, subject: str = "") -> None:
        """Act before the effect."""
        await super().before(verb, subject)
        for hook in self._hooks.pop((verb, False), []):
            await hook()

    async def after(self, verb: Verb) -> None:
        """Act after the effect."""
        for hook in self._hooks.pop((verb, True), []):
            await hook()
        await super().after(verb)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One process: an acquirer, a reactor, or both."""

    link: HookedLink
    registry: SessionRegistry
    runtime: Door
    crew: Crew
    way_in: WayIn

    @property
    def ways(self) -> Ways:
        """What teardowns of this actor work with."""
        return self.crew.ways

    @property
    def janitor(self) -> Janitor:
        """A janitor with this actor's connections."""
        return Janitor(self.crew, settings=self.crew.settings)

    async def reserve(
        self, token: Token, session_id: SessionId = S1, *, ttl: timedelta = TTL, waited: Generation | None = None
    ) -> Reservation:
        """Take the first step of an acquire."""
        return await self.registry.reserve(session_id, token, template="default", ttl=ttl, waited=waited)

    async def reserved(self, token: Token, session_id: SessionId = S1, *, ttl: timedelta = TTL) -> Spawn:
        """Reserve, where that must be granted."""
        answer = await self.reserve(token, session_id, ttl=ttl)
        assert isinstance(answer, Spawn)
        return answer

    async def create(self, token: Token, reserved: Spawn, session_id: SessionId = S1) -> ContainerId:
        """Make the container of a granted spawn."""
        return await self.runtime.create(self.spec(token, reserved.generation, reserved.db, session_id))

    def spec(
        self,
        token: Token,
        generation: Generation,
        db: DatabaseId,
        session_id: SessionId = S1,
        deployment: Deployment | None = None,
    ) -> ContainerSpec:
        """Return what a spawn of this actor would create."""
        owner = deployment or self.ways.deployment
        labels = Labels(
            prefix=self.registry.keys.prefix, deployment=owner, host=self.registry.host, db=db, session=session_id,
            generation=generation, template="default", ttl=TTL, token=token,
        )  # fmt: skip
        name = container_name(self.registry.keys.prefix, owner, session_id)
        return ContainerSpec(name=name, labels=labels, template=self.crew.settings.template())

    async def save(
        self, token: Token, reserved: Spawn, container_id: ContainerId, session_id: SessionId = S1
    ) -> Record:
        """Commit a spawn."""
        return await self.registry.save(session_id, token, container_id=container_id, db=reserved.db, address=None)

    async def spawn(self, session_id: SessionId = S1, *, ttl: timedelta = TTL) -> tuple[Token, Spawn, ContainerId]:
        """Take every step of a spawn, one by one; return its token, grant and container."""
        token = new_token()
        reserved = await self.reserved(token, session_id, ttl=ttl)
        container_id = await self.create(token, reserved, session_id)
        await self.registry.renew(session_id, token, reserved.db)
        await self.runtime.start(container_id)
        await self.save(token, reserved, container_id, session_id)
        return token, reserved, container_id

    def asked(
        self, session_id: SessionId = S1, *, template: Template | None = None, ttl: timedelta = TTL, limit: float = 20
    ) -> Asked:
        """Return one caller's wish."""
        return Asked(
            session_id=session_id, token=new_token(), template=template or self.crew.settings.template(), ttl=ttl,
            limit=timedelta(seconds=limit), deadline=anyio.current_time() + limit,
        )  # fmt: skip

    async def acquire(
        self, session_id: SessionId = S1, *, template: Template | None = None, ttl: timedelta = TTL, limit: float = 20
    ) -> Session:
        """Go the whole way in."""
        return await self.way_in.acquire(self.asked(session_id, template=template, ttl=ttl, limit=limit))

    async def examine(self, mode: Mode, token: Token, session_id: SessionId = S1, **more: Any) -> Verdict:
        """Ask for the verdict."""
        return await self.registry.examine(session_id, mode, token, detector=Detector.MANUAL, **more)

    async def claimed(
        self, token: Token, session_id: SessionId = S1, *, mode: Mode = Mode.CLAIM, **more: Any
    ) -> Claimed:
        """Claim, where that must succeed."""
        verdict = await self.examine(mode, token, session_id, **more)
        assert isinstance(verdict, Claimed)
        return verdict

    async def tear_down(self, session_id: SessionId = S1, **more: Any) -> Verdict | Ended:
        """Go the whole way out."""
        return await tear_down(self.ways, session_id, detector=Detector.DEADLINE, **more)

    async def terminate(self, session_id: SessionId = S1) -> Verdict | Ended:
        """Go the whole way out, asked by a person."""
        return await self.tear_down(session_id, mode=Mode.END, reason=EndReason.TERMINATED)

    async def reconcile(self, *, force: bool = False) -> list[tuple[PlanLine, str]]:
        """Plan and carry out."""
        return [pair async for pair in self.janitor.run(force=force)]


class Scene:
    """One Redis, one engine, and what a test looks at from outside."""

    def __init__(self, server: RedisServer, tasks: TaskGroup) -> None:
        """Begin with nobody on stage."""
        self.server = server
        self.keys = Keys("mcp")
        self.engine = FakeRuntime()
        self.redis: Any = redis.Redis.from_url(server.url, decode_responses=True)
        self.tidy = True
        """Whether the keys are checked at the end; off where a test leaves them broken on purpose."""
        self._tasks = tasks
        self._stack = AsyncExitStack()

    async def actor(
        self, *, host: str = HOST, engine: FakeRuntime | None = None, limit: timedelta | None = None, **terms: Any
    ) -> Actor:
        """Put a process on stage, connected and bound; `terms` as in `Terms`."""
        actor = self.stranger(host=host, engine=engine, limit=limit, **terms)
        await actor.registry.evidence.witness()
        return actor

    def stranger(
        self, *, host: str = HOST, engine: FakeRuntime | None = None, limit: timedelta | None = None, **terms: Any
    ) -> Actor:
        """Return a process that has not looked at Redis yet."""
        link = HookedLink(self.server.url)
        self._stack.push_async_callback(link.aclose)
        runtime = Door(engine or self.engine)
        deployment = Deployment("test")
        evidence = Evidence(link, self.keys, HostName(host), deployment)
        registry = SessionRegistry(
            link, self.keys, evidence, host=HostName(host), runtime="fake", terms=Terms(**terms)
        )
        settings = Settings(
            acquire_timeout=limit or timedelta(seconds=20), templates={"default": Template(name="default", image="idle")}
        )
        ways = Ways(registry=registry, runtime=runtime, deployment=deployment, stop_grace=timedelta(0))
        crew = Crew(settings=settings, ways=ways, engine=runtime.identity)
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
        for name in self.redis.scan_iter() if self.tidy else ():
            parsed = self.keys.parse_session_key(name)
            ends = parsed is not None and (parsed[1] or self.redis.hget(name, "state") == "ended")
            assert (self.redis.ttl(name) != -1) is ends, f"{name} has a wrong TTL"

    async def __aenter__(self) -> Self:
        """Open nothing; actors connect."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._stack.aclose()
        self.redis.close()
