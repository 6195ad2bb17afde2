"""An event loop with virtual time, and processes that can be frozen and killed inside it.

What this is: asyncio without a clock and without a selector. When nothing is ready, time jumps to the next timer; the
order in which ready tasks run is drawn from a seeded generator. What it is not: a place for threads, sockets or
signals; asking for one is an error. The invariant: everything that runs belongs to the process in whose context it was
scheduled; a frozen process runs nothing until it is thawed, a dead one never again, not even its `finally` blocks.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar
from enum import Enum
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from faultlab.sim.wire import Network, SimTransport

TICK = 10e-6
"""What one round of the loop costs. Without it two tasks that wake each other would hold time still."""
SPIN_LIMIT = 2_000_000
"""Rounds without a jump of time after which the run is a livelock."""


class Life(Enum):
    """What a process does."""

    RUNS = "runs"
    FROZEN = "frozen"
    DEAD = "dead"


class Process:
    """Whatever runs in one context: a reactor, an application, a client."""

    def __init__(self, name: str, loop: SimLoop) -> None:
        """Begin to run."""
        self.name = name
        self.life = Life.RUNS
        self._loop = loop
        self._held: list[asyncio.Handle] = []
        self.on_death: list[Callable[[], None]] = []

    def hold(self, handle: asyncio.Handle) -> None:
        """Keep what is not to run now; of a dead process for ever, so that nothing of it is ever finalised early."""
        self._held.append(handle)

    def forget(self) -> None:
        """Let go of what was held."""
        self._held.clear()
        self.on_death.clear()

    def freeze(self) -> None:
        """Stop it where it stands (SIGSTOP); its connections stay open and its time goes on."""
        if self.life is Life.RUNS:
            self.life = Life.FROZEN

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        if self.life is Life.FROZEN:
            self.life = Life.RUNS
            held, self._held = self._held, []
            self._loop.put_back(held)

    def kill(self) -> None:
        """End it at once (SIGKILL): nothing of it runs any more, its connections are reset."""
        if self.life is Life.DEAD:
            return
        self.life = Life.DEAD
        for act in self.on_death:
            act()


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class DeadlockError(RuntimeError):
    """Nothing is ready and no timer runs: the world has stopped."""


class LivelockError(RuntimeError):
    """Time does not go on: tasks keep waking each other."""


class SimLoop(asyncio.BaseEventLoop):
    """Runs on virtual seconds; `time()` begins at 1000 so that differences, not values, count."""

    def __init__(self, rng: Random) -> None:
        """Begin at the same moment each time."""
        super().__init__()
        self._now = 1000.0
        self._rng = rng
        self._spin = 0
        self._timers: list[tuple[float, int, Any]] = []
        self._asked = 0
        self._crowd = 400
        """How many timers there may be before the cancelled ones are thrown out."""
        self._waited = False
        """Whether the last round did nothing but try a cancellation again."""
        self.network: Network | None = None
        self.tasks: dict[asyncio.Task[Any], Process | None] = {}
        self.failures: list[dict[str, Any]] = []
        self.set_exception_handler(self._note_failure)
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now

    def skip(self, seconds: float) -> None:
        """Let time pass while nothing runs."""
        self._now += seconds

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, *, context: Context | None = None, **more: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context, **more)
        self.tasks[task] = PROCESS.get() if context is None else context.get(PROCESS)
        task.add_done_callback(self._forget, context=_BARE)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)

    def _note_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self.failures.append(context)

    def forget(self) -> None:
        """Let go of all that was to run, at the end."""
        self._timers.clear()
        self._ready.clear()  # type: ignore[attr-defined]
        self.failures.clear()

    def put_back(self, handles: list[asyncio.Handle]) -> None:
        """Make held handles ready again."""
        self._ready.extend(handles)  # type: ignore[attr-defined]

    def _run_once(self) -> None:
        mine: Any = self
        ready: Any = mine._ready
        self._due_timers(ready)
        if not ready:
            self._jump()
        self._spin += 1
        if self._spin > SPIN_LIMIT:
            message = f"time stands at {self._now:.6f}"
            raise LivelockError(message)
        batch: list[Any] = [*ready]
        ready.clear()
        self._pass_waiting(batch)
        if len(batch) > 1:
            self._shuffle(batch)
        for handle in batch:
            if handle._cancelled:
                continue
            process: Process | None = handle._context.get(PROCESS)
            if process is not None and process.life is not Life.RUNS:
                process.hold(handle)
                continue
            handle._run()
        self._now += TICK

    def _pass_waiting(self, batch: list[Any]) -> None:
        # anyio tries a cancellation again in every round until the last task is gone. A round in which nothing else
        # happens changes nothing, so time may go on to where something does.
        waiting = _again(batch[0]) and all(_again(handle) for handle in batch) if batch else True
        if waiting and self._waited:
            soonest = self._timers[0][0] if self._timers else self._now
            self._now = max(self._now, min(soonest, self._now + 0.05))
        self._waited = waiting

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        """Run something at a moment; those of one moment run in the order in which they were asked for."""
        handle: Any = asyncio.TimerHandle(when, callback, args, self, context)
        self._asked += 1
        heappush(self._timers, (when, self._asked, handle))
        return handle

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run something after a while."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _due_timers(self, ready: Any) -> None:
        timers, now = self._timers, self._now
        while timers and (timers[0][2]._cancelled or timers[0][0] <= now):
            handle = heappop(timers)[2]
            if not handle._cancelled:
                ready.append(handle)
        if len(timers) > self._crowd:
            self._timers = [entry for entry in timers if not entry[2]._cancelled]
            heapify(self._timers)
            self._crowd = max(400, 2 * len(self._timers))

    def _jump(self) -> None:
        if not self._timers:
            raise DeadlockError
        self._now = max(self._now, self._timers[0][0])
        self._due_timers(self._ready)  # type: ignore[attr-defined]
        self._spin = 0

    def _shuffle(self, batch: list[Any]) -> None:
        # Only steps of tasks change places: whatever else is ready (bytes that arrive, callbacks) keeps its order.
        places = [i for i, handle in enumerate(batch) if isinstance(_owner(handle), asyncio.Task)]
        if len(places) > 1:
            steps = [batch[i] for i in places]
            self._rng.shuffle(steps)
            for place, step in zip(places, steps, strict=True):
                batch[place] = step

    # What a simulated process may not do, and how it connects.

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        """Connect to a simulated server."""
        del more
        if self.network is None:
            raise ConnectionRefusedError("no network")
        transport: SimTransport = await self.network.connect(str(host), int(port))
        protocol = protocol_factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return transport, protocol

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:
        """Refuse: threads have no place in virtual time."""
        del executor, args
        message = f"a thread was asked for: {func}"
        raise RuntimeError(message)

    def _timer_handle_cancelled(self, handle: object) -> None:
        """Do nothing: cancelled timers are passed over."""

    def _write_to_self(self) -> None:
        """Do nothing: nobody calls from another thread."""

    def _process_events(self, event_list: object) -> None:
        """Do nothing: there is no selector."""


def _again(handle: Any) -> bool:
    return getattr(handle._callback, "__name__", "") == "_deliver_cancellation"


def _owner(handle: Any) -> object:
    return getattr(handle._callback, "__self__", None)


_BARE = Context()
