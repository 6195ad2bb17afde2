"""A world: one Redis, some engines, and processes that run the product's own code.

What this is: the stage, who is on it, what can be done to it, and whether it has settled. What it is not: a scenario
(`flows`, `soak`). The invariant: everything that happens in it comes from its seed.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import hashlib
import sys
import warnings
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from faultlab.sim.clock import EPOCH_US, ServerClock, virtual
from faultlab.sim.commands import Refusal, Reply
from faultlab.sim.docker import EngineLine
from faultlab.sim.engine import Box, SimEngine
from faultlab.sim.loop import PROCESS, Process, SimLoop
from faultlab.sim.observer import Observer
from faultlab.sim.ports import Ports
from faultlab.sim.redis import SimRedis
from faultlab.sim.wire import NOWHERE, Network
from reactor.errors import ReactorError
from reactor.manager import SessionManager
from reactor.session import Deployment, HostName, Session
from reactor.settings import Settings
from reactor.supervisor import Reactor
from reactor.templates import Template

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

T = TypeVar("T")
TRACE = 4000
"""Lines kept for a person; the digest covers all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call that a process was asked to make."""

    value: Any = None
    error: BaseException | None = None
    died: bool = False
    """The process ended, or did not answer in time."""

    @property
    def session(self) -> Session | None:
        """What an acquire returned."""
        return self.value if isinstance(self.value, Session) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a world is built."""

    seed: int
    hosts: tuple[str, ...] = ("h1",)
    ttl: float = 10.0
    janitor_every: float = 60.0
    stop_grace: float = 0.0
    acquire_timeout: float = 20.0
    max_lifetime: float | None = None
    grace: float | None = None
    undo: bool = True
    hands: int = 64


class Member:
    """A process with the product in it."""

    def __init__(self, world: World, name: str, host: str) -> None:
        """Begin a process; nothing runs in it yet."""
        self.world = world
        self.host = host
        self.process = Process(name, world.loop)
        self.process.on_death.append(lambda: world.network.cut_process(self.process))
        self.context = contextvars.Context()
        self.context.run(PROCESS.set, self.process)
        self.ready = asyncio.Event()
        self.stop = asyncio.Event()
        """Set: a sidecar drains and its process ends."""
        self.manager: SessionManager | None = None
        self.reactor: Reactor | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run something in the process."""
        self.task = self.world.loop.create_task(body(), context=self.context.copy())

    async def ask(self, work: Callable[[], Awaitable[object]], limit: float = 120.0) -> Outcome:
        """Let the process do something and return what became of it; a dead or silent process is an outcome too."""
        done: asyncio.Future[Outcome] = self.world.loop.create_future()

        def settle(outcome: Outcome) -> None:
            if not done.done():
                done.set_result(outcome)

        async def body() -> None:
            try:
                value = await work()
            except (ReactorError, ExceptionGroup) as error:
                settle(Outcome(error=error))
            else:
                settle(Outcome(value=value))

        if self.process.life.value == "dead":
            return Outcome(died=True)
        self.process.on_death.append(lambda: settle(Outcome(died=True)))
        task = self.world.loop.create_task(body(), context=self.context.copy())
        task.add_done_callback(lambda ended: settle(Outcome(died=True, error=_failure(ended))), context=NOWHERE)
        with anyio.move_on_after(limit):
            return await done
        return Outcome(died=True)

    def kill(self) -> None:
        """SIGKILL."""
        self.world.note(f"kill {self.process.name}")
        self.process.kill()

    @property
    def alive(self) -> bool:
        """Whether it runs or is frozen."""
        return self.process.life.value != "dead"


def _failure(task: asyncio.Task[Any]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


class World:
    """Use `World.run(plan, scenario)`."""

    def __init__(self, plan: Plan) -> None:
        """Build it; nothing runs yet."""
        self.plan = plan
        self.rng = Random(f"world/{plan.seed}")
        self.loop = SimLoop(Random(f"order/{plan.seed}"))
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
        for host in plan.hosts:
            self._add_engine(host)
        self.members: dict[str, Member] = {}
        self._count = 0
        self._cycle()

    def _add_engine(self, host: str) -> None:
        engine = SimEngine(host, self.loop, Random(f"engine/{host}/{self.plan.seed}"), self.wall)
        engine.on_change = lambda what, box: self.observer.engine_changed(host, what, box, engine.boxes)
        self.engines[host] = engine
        self.lines[host] = EngineLine(engine, self.ports, Random(f"line/{host}/{self.plan.seed}"))

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
        if not self.redis.mode:
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

    def settings(self, host: str) -> Settings:
        """Return the settings of a process on a host."""
        plan = self.plan
        template = Template(name="default", image="idle", ttl=timedelta(seconds=plan.ttl))
        return Settings(
            redis_url="redis://sim:6379", deployment=Deployment("sim"), host=HostName(host), ttl=template.ttl,
            janitor_every=timedelta(seconds=plan.janitor_every), stop_grace=timedelta(seconds=plan.stop_grace),
            acquire_timeout=timedelta(seconds=plan.acquire_timeout), listen=None, templates={"default": template},
            max_lifetime=None if plan.max_lifetime is None else timedelta(seconds=plan.max_lifetime),
            grace=None if plan.grace is None else timedelta(seconds=plan.grace),
        )  # fmt: skip

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
                    async with SessionManager(self.settings(host), runtime=self.lines[host].runtime()) as manager:
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
                    async with Reactor(self.settings(host), runtime=self.lines[host].runtime()) as reactor:
                        member.reactor = reactor
                        member.ready.set()
                        await member.stop.wait()
                    member.process.kill()
                    return
                except ReactorError:
                    await anyio.sleep(1)

        member.start(body)
        return member

    async def ready(self, member: Member, limit: float = 120) -> bool:
        """Wait until a process has started; False if it died or did not."""
        with anyio.move_on_after(limit):
            while member.alive and not member.ready.is_set() and not (member.task and member.task.done()):
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
        return self.client("EXPIRE", self.observer.keys.heartbeat(session), int(ttl or self.plan.ttl))

    # ------------------------------------------------------------------ whether it has settled

    def unsettled(self) -> Iterator[str]:
        """Yield what belief and engines do not agree on."""
        store, named = self.redis.store, set[str]()
        for key in list(store.data):
            parsed = self.observer.keys.parse_session_key(key.decode("latin-1"))
            record = store.look(key)
            if parsed is None or parsed[1] or not isinstance(record, dict):
                continue
            state = record[b"state"].decode()
            if state in ("starting", "ending"):
                yield f"{parsed[0]} is {state}"
            elif state == "running":
                box_id = record[b"container_id"].decode()
                named.add(box_id)
                box = self.engines[record[b"host"].decode()].boxes.get(box_id)
                if box is None or not box.running:
                    yield f"{parsed[0]} has no running container"
                if store.look(key + b":heartbeat") is None:
                    yield f"{parsed[0]} has no heartbeat"
        for engine in self.engines.values():
            for box in engine.boxes.values():
                if box.box_id not in named:
                    yield f"{box.box_id[:6]} is {box.status} and no record names it"

    async def settle(self, limit: float) -> float | None:
        """Wait until belief and engines agree; return how long that took, None if they did not within `limit`."""
        began = self.now()
        while self.now() - began < limit:
            if not any(True for _ in self.unsettled()):
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
            with virtual(world.loop, plan.seed):
                result = world.loop.run_until_complete(scenario(world))
            world.check_failures()
            return world, result
        finally:
            world.close()
            gc.unfreeze()
            if collecting:
                gc.enable()

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
        loop = self.loop
        loop.network = None
        tasks = [task for task in loop.tasks if not task.done()]
        hook = sys.unraisablehook
        sys.unraisablehook = lambda _unraisable: None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for task in tasks:
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                loop.tasks.clear()
                self.members.clear()
                loop.close()
                del tasks
                self.network.links.clear()
                self.redis.sessions.clear()
                for engine in self.engines.values():
                    engine.listeners.clear()
                loop._ready.clear()  # type: ignore[attr-defined]
                loop.forget_timers()
                gc.collect()
        finally:
            sys.unraisablehook = hook


def boxes_of(world: World, session: str) -> list[Box]:
    """Return a session's containers on all engines."""
    return [
        box
        for engine in world.engines.values()
        for box in engine.boxes.values()
        if box.labels.get("session-reactor.session") == session
    ]
