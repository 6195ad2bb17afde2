"""The processes of a world: what runs the product, and how it is asked to do something.

What this is: a member with its context, its life and its death; the plan of a world. What it is not: the world. The
invariant: whoever waits for a member hears of its death.
"""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio

from faultlab.sim.loop import PROCESS, Life, Process
from faultlab.sim.wire import NOWHERE
from reactor.errors import ReactorError
from reactor.session import Deployment, HostName, Session
from reactor.settings import Settings
from reactor.templates import Template

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from faultlab.sim.world import World
    from reactor.manager import SessionManager
    from reactor.supervisor import Reactor


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
    hands: int = 8
    """Workers of a reactor: idle ones cost time and change nothing."""

    def settings(self, host: str) -> Settings:
        """Return the settings of a process on a host."""
        template = Template(name="default", image="idle", ttl=timedelta(seconds=self.ttl), volumes=("/data",))
        return Settings(
            redis_url="redis://sim:6379", deployment=Deployment("sim"), host=HostName(host), ttl=template.ttl,
            janitor_every=timedelta(seconds=self.janitor_every), stop_grace=timedelta(seconds=self.stop_grace),
            acquire_timeout=timedelta(seconds=self.acquire_timeout), listen=None, templates={"default": template},
            max_lifetime=None if self.max_lifetime is None else timedelta(seconds=self.max_lifetime),
            grace=None if self.grace is None else timedelta(seconds=self.grace),
        )  # fmt: skip


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

        if self.process.life is Life.DEAD:
            return Outcome(died=True)
        self.process.on_death.append(lambda: settle(Outcome(died=True)))
        task = self.world.loop.create_task(body(), context=self.context.copy())
        task.add_done_callback(lambda ended: settle(Outcome(died=True, error=_failure(ended))), context=NOWHERE)
        with anyio.move_on_after(limit):
            return await done
        return Outcome(died=True)

    @property
    def starting(self) -> bool:
        """Whether it is still to be ready."""
        return self.alive and not self.ready.is_set() and not (self.task is not None and self.task.done())

    def kill(self) -> None:
        """SIGKILL."""
        self.world.note(f"kill {self.process.name}")
        self.process.kill()

    @property
    def at_work(self) -> bool:
        """Whether it has started, runs, and was not told to stop."""
        return self.process.life is Life.RUNS and self.ready.is_set() and not self.stop.is_set()

    @property
    def alive(self) -> bool:
        """Whether it runs or is frozen."""
        return self.process.life is not Life.DEAD


def _failure(task: asyncio.Task[Any]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
