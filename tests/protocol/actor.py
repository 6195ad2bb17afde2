"""Actors of a trace: each with its own connection to Redis and its own door to a shared engine in memory.

What this is: one process as a test drives it, by single verbs or by whole flows, and the hooks that set another actor's
steps into the middle of a flow. What it is not: a claim. It keeps this: a hook acts once, exactly where it was set.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio

from reactor.acquire import WayIn
from reactor.crew import Crew
from reactor.errors import Unavailable
from reactor.keys import container_name
from reactor.queueing import WorkQueue
from reactor.reconcile import Janitor
from reactor.registry import RedisLink, SessionRegistry
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
from reactor.spawn import Asked
from reactor.teardown import Ways, tear_down
from reactor.templates import Template
from reactor.working import Worker
from tests.fakes.runtime import FakeRuntime
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from reactor.plan import PlanLine
    from reactor.registry import Pulse, Record
    from reactor.registry.scripts import Script
    from reactor.registry.verdicts import Reservation, Verdict
    from reactor.teardown import Ended
    from tests.fakes.script import Verb

    Hook = Callable[[], Awaitable[object]]

S1 = SessionId("s-1")
HOST = HostName("h1")
TTL = timedelta(minutes=15)
NOW = timedelta(milliseconds=1)
"""A lease of which nothing is left once Redis' clock has moved."""


class HookedLink(RedisLink):
    """A connection on which a test can act right before or after the next run of a script, or lose its answer."""

    def __init__(self, url: str, pulse: Pulse | None = None) -> None:
        """Begin without hooks."""
        super().__init__(url, pulse)
        self._before: dict[Script, list[Hook]] = {}
        self._after: dict[Script, list[Hook]] = {}
        self.answered: list[Script] = []

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

    async def run(self, name: Script, keys: Sequence[str], args: Any) -> Any:
        """Run the script between its hooks."""
        for hook in self._before.pop(name, []):
            await hook()
        reply = await super().run(name, keys, args)
        self.answered.append(name)
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
        """Ask for the verdict; what was heard was heard just now."""
        if mode is Mode.DELETED:
            more.setdefault("heard", self.registry.evidence.db)
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

    async def worked_off(
        self, session_id: SessionId, detector: Detector, died: ContainerId | None = None, *, deleted: bool = False
    ) -> None:
        """Let a worker of this actor take one session from the queue and be done with it."""
        queue = WorkQueue()
        worker = Worker(self.crew, queue)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.work)
            queue.add(session_id, detector, died, deleted=self.registry.evidence.db if deleted else None)
            await wait_until(lambda: not queue and not queue.in_hand, what="the worker is done")
            tasks.cancel_scope.cancel()
