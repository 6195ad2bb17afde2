"""A world: one Redis, some engines, and processes that run the product's own code.

What this is: the stage, who is on it, what can be done to it, and whether it has settled. What it is not: a scenario
(`flows`, `soak`). The invariant: everything that happens in it comes from its seed.
"""

from __future__ import annotations

import gc
import hashlib
from collections import deque
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from faultlab.sim.clock import EPOCH_US, ServerClock, Virtual
from faultlab.sim.closing import Connections, take_down
from faultlab.sim.docker import EngineLine
from faultlab.sim.engine import SimEngine
from faultlab.sim.loop import SimLoop
from faultlab.sim.members import Member, Outcome, Plan
from faultlab.sim.observer import Observer
from faultlab.sim.ports import Ports
from faultlab.sim.redis import SimRedis
from faultlab.sim.replies import Refusal, Reply
from faultlab.sim.settling import disagreements
from faultlab.sim.wire import NOWHERE, Network
from reactor import supervisor
from reactor.errors import ReactorError
from reactor.manager import SessionManager
from reactor.session import HostName, SessionId
from reactor.supervisor import Reactor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
TRACE = 4000
"""Lines kept for a person; the digest covers all."""


class World:
    """Use `World.run(plan, scenario)`."""

    def __init__(self, plan: Plan) -> None:
        """Build it; nothing runs yet."""
        self.plan = plan
        self.rng = Random(f"world/{plan.seed}")
        self.loop = SimLoop(Random(f"order/{plan.seed}"))
        self.connections = Connections()
        more = ((supervisor, "HANDS", plan.hands), self.connections.patch())
        self._virtual = Virtual(self.loop, plan.seed, *more)
        self.ports = Ports()
        self.clock = ServerClock(self.loop)
        self.redis = SimRedis(self.clock, Random(f"redis/{plan.seed}"), undo=plan.undo)
        self.network = Network(self.loop, self.redis, self.ports, Random(f"network/{plan.seed}"))
        self.loop.network = self.network
        self._digest = hashlib.sha256()
        self.trace: deque[str] = deque(maxlen=TRACE)
        self.observer = Observer(self.loop.time, self.redis, self.note)
        self.redis.on_step = self._stepped
        self.network.on_answer = self._answered
        self.ports.watchers.append(self._called)
        self.engines: dict[str, SimEngine] = {}
        self.lines: dict[str, EngineLine] = {}
        self.names: dict[str, str] = {}
        """Host names that an engine was given later, and which engine that is."""
        for host in plan.hosts:
            self._add_engine(host)
        self.members: dict[str, Member] = {}
        self._count = 0
        self._cycle()

    def _add_engine(self, host: str) -> None:
        engine = SimEngine(host, self.loop, Random(f"engine/{host}/{self.plan.seed}"), self.wall)
        engine.on_change = lambda what, box: self.observer.engine_changed(host, what, box)
        self.engines[host] = engine
        self.lines[host] = EngineLine(engine, self.ports, Random(f"line/{host}/{self.plan.seed}"))

    def engine(self, host: str) -> SimEngine:
        """Return the engine behind a host name; one that it bears now counts as well as the one that it began with."""
        return self.engines[self.names.get(host, host)]

    def line(self, host: str) -> EngineLine:
        """Return the way to the engine behind a host name."""
        return self.lines[self.names.get(host, host)]

    def wall(self) -> float:
        """Return the wall clock of every host."""
        return EPOCH_US / 1e6 + self.loop.time()

    def now(self) -> float:
        """Return virtual seconds."""
        return self.loop.time()

    def note(self, text: str) -> None:
        """Add a line to the history."""
        line = f"{self.loop.time():.6f} {text}"
        self._digest.update(line.encode())
        self.trace.append(line)

    @property
    def digest(self) -> str:
        """Return the fingerprint of the whole history."""
        return self._digest.hexdigest()[:16]

    def _stepped(self, name: str) -> None:
        if self.redis.store.changed:
            self.observer.step(name)

    def _answered(self, process: str) -> None:
        if self.redis.mode in ("", "OOM"):  # a full Redis still runs scripts that free memory: a claim is heard of
            self.observer.heard[process] = self.loop.time()

    def _called(self, process: str, label: str) -> None:
        self.note(f"{process} {label}")
        self.observer.request(process, label)

    def _cycle(self) -> None:
        # Active expiry: ten times a second, a handful of keys.
        if not (self.network.down or self.network.frozen):
            self.redis.cycle()
        self.loop.call_later(0.1, self._cycle, context=NOWHERE)

    # ------------------------------------------------------------------ who is on stage

    def _member(self, kind: str, host: str) -> Member:
        self._count += 1
        member = Member(self, f"{kind}{self._count}", host)
        self.members[member.process.name] = member
        return member

    def app(self, host: str = "h1") -> Member:
        """Start an application with a session manager."""
        member = self._member("app", host)

        async def body() -> None:
            while True:
                try:
                    async with SessionManager(self.plan.settings(host), runtime=self.line(host).runtime()) as manager:
                        member.manager = manager
                        member.ready.set()
                        await anyio.sleep_forever()
                except ReactorError:
                    await anyio.sleep(1)

        member.start(body)
        return member

    def reactor(self, host: str = "h1") -> Member:
        """Start a sidecar; one that cannot start tries again, as a supervisor of services would have it."""
        member = self._member("reactor", host)

        async def body() -> None:
            while True:
                try:
                    async with Reactor(self.plan.settings(host), runtime=self.line(host).runtime()) as reactor:
                        member.reactor = reactor
                        member.ready.set()
                        await member.stop.wait()
                    member.process.kill()
                except ReactorError:
                    await anyio.sleep(1)
                else:
                    return

        member.start(body)
        return member

    async def ready(self, member: Member, limit: float = 120) -> bool:
        """Wait until a process has started; False if it died or did not."""
        with anyio.move_on_after(limit):
            while member.starting:  # noqa: ASYNC110 (virtual time costs nothing)
                await anyio.sleep(0.05)
        return member.ready.is_set() and member.alive

    # ------------------------------------------------------------------ what clients do

    async def acquire(self, app: Member, session: str, *, ttl: float | None = None, limit: float = 60) -> Outcome:
        """Let an application acquire a session; judge what it is told."""
        if not await self.ready(app, limit):
            return Outcome(died=True)
        called = self.now()
        manager = app.manager
        assert manager is not None
        asked = None if ttl is None else timedelta(seconds=ttl)
        outcome = await app.ask(lambda: manager.acquire(session, ttl=asked), limit)
        if (got := outcome.session) is not None:
            self.note(f"{app.process.name} got {session} {(got.container_id or '')[:6]}")
            self.observer.answered(session, got.generation, got.container_id or "", called)
        else:
            self.note(f"{app.process.name} did not get {session}: {outcome.error or 'no answer'}")
        return outcome

    async def terminate(self, app: Member, session: str, limit: float = 60) -> Outcome:
        """Let an application end a session."""
        if not await self.ready(app, limit):
            return Outcome(died=True)
        self.observer.excuse(session, "terminated")
        manager = app.manager
        assert manager is not None
        return await app.ask(lambda: manager.terminate(session), limit)

    def client(self, *words: bytes | str | int) -> Reply:
        """Send a client's own command; None while Redis cannot be reached."""
        if self.network.down or self.network.frozen:
            return None
        raw = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        reply = self.redis.direct(*raw)
        self.note(f"client {b' '.join(raw).decode()} -> {reply}")
        return None if isinstance(reply, Refusal) else reply

    def beat(self, session: str, ttl: float | None = None) -> Reply:
        """Send a heartbeat: 1 alive, 0 over, None no answer."""
        return self.client("EXPIRE", self.observer.keys.heartbeat(SessionId(session)), int(ttl or self.plan.ttl))

    def written(self, host: str) -> tuple[bytes, bytes]:
        """Return the doubts that were last written down for a host: its quarantine and its outage."""
        seen = self.redis.store.data.get(self.observer.keys.seen(HostName(host)).encode())
        return (seen.get(b"quarantine", b""), seen.get(b"outage", b"")) if isinstance(seen, dict) else (b"", b"")

    # ------------------------------------------------------------------ whether it has settled

    def unsettled(self) -> list[str]:
        """Return what belief and engines do not agree on."""
        return list(disagreements(self))

    async def settle(self, limit: float) -> float | None:
        """Wait until belief and engines agree; return how long that took, None if they did not within `limit`."""
        began = self.now()
        while self.now() - began < limit:
            if not self.unsettled():
                return self.now() - began
            await anyio.sleep(0.25)
        return None

    # ------------------------------------------------------------------ running

    @classmethod
    def run(cls, plan: Plan, scenario: Callable[[World], Coroutine[Any, Any, T]]) -> tuple[World, T]:
        """Build a world, let a scenario play in it, take it down."""
        collecting = gc.isenabled()
        gc.disable()
        gc.freeze()  # what was there before is not looked at when this world is let go of
        world = cls(plan)
        try:
            result = world.go_on(scenario(world))
            world.check_failures()
            return world, result
        finally:
            world.close()
            gc.unfreeze()
            if collecting:
                gc.enable()

    def go_on(self, scene: Coroutine[Any, Any, T]) -> T:
        """Let the world go on until a scene in it has ended; the clocks are virtual meanwhile."""
        with self._virtual:
            return self.loop.run_until_complete(scene)

    def check_failures(self) -> None:
        """Note what no task caught: a defect of the product or of the simulation."""
        for failure in self.loop.failures:
            error = failure.get("exception")
            self.observer.wrong("BUG", f"{failure.get('message')}: {error!r}")
        for member in self.members.values():
            task = member.task
            if task is not None and task.done() and not task.cancelled() and task.exception() is not None:
                self.observer.wrong("BUG", f"{member.process.name} ended with {task.exception()!r}")

    def close(self) -> None:
        """Let go of every task without running any of it further."""
        take_down(self)
