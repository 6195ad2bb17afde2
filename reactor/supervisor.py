"""The sidecar: one task group of detectors, workers and the janitor, and an orderly end.

What this is: the start order, the stop order, and who restarts what. What it is not: any decision about a session. The
invariant: subscribed before the first sweep, so that nothing ends unseen in between; on the way out no claim is dropped
that could have been finished within the grace.
"""

from __future__ import annotations

import logging
import os
import signal
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Self

import anyio

from reactor import expiry
from reactor.crew import open_crew
from reactor.engine_watch import EngineWatch
from reactor.errors import ReactorError, Unavailable
from reactor.health import listen_on, serve_health
from reactor.plan import Action
from reactor.pool import PoolKeeper
from reactor.quarantine import GAP_MS
from reactor.queueing import WorkQueue
from reactor.reconcile import DONE_WORDS, BrakeEngaged, Janitor
from reactor.registry import Pulse
from reactor.retry import start_policy
from reactor.trouble import Trouble
from reactor.working import HANDS, Worker

if TYPE_CHECKING:
    import socket
    from datetime import timedelta
    from types import TracebackType

    from anyio.abc import TaskGroup

    from reactor.plan import PlanLine
    from reactor.runtime.protocol import Runtime
    from reactor.settings import Settings

logger = logging.getLogger(__name__)

OTHERS_SPEAK = 1.0
"""Seconds: twice the longest pause between two questions of a reactor whose Redis does not answer."""
DRAIN_MARGIN = 5.0
"""Seconds beyond the stop grace that a drain may take."""


class Reactor:
    """The sidecar as a library: `async with Reactor(settings): ...` tears down what ends while the body runs."""

    def __init__(self, settings: Settings, *, runtime: Runtime | None = None) -> None:
        """Take settings; nothing is opened yet. A given `runtime` is used instead of the configured one."""
        self.settings = settings
        self.queue = WorkQueue()
        self._pulse = Pulse()
        self._given = runtime
        self._stack = AsyncExitStack()
        self._sweep = anyio.Event()
        self._swept = anyio.Event()
        self._compared = False
        """Whether belief and engine were compared since the last gap; before that nobody may rely on our watch."""
        self.started = False
        self.troubles: dict[str, str] = {}
        """What a detector or the janitor last stumbled over, by its name; empty while all is well."""

    async def __aenter__(self) -> Self:
        """Connect and start; returns once the first reconcile is done or has failed.

        Raises `Unavailable`, `PermissionRefused`, `ConfigError` when it cannot start; later outages are survived.
        """
        async with AsyncExitStack() as stack:
            crew = open_crew(self.settings, runtime=self._given, pulse=self._pulse)
            self.crew = await stack.enter_async_context(crew)
            listening = None if self.settings.listen is None else stack.enter_context(listen_on(self.settings.listen))
            self.crew.registry.evidence.on_change = self.sweep
            self._log_start()
            await self._let_others_speak()
            self.janitor = Janitor(self.crew, settings=self.settings)
            self.worker = Worker(self.crew, self.queue)
            self.deadlines = expiry.Deadlines(self.crew.registry, self.queue.add, self.worker)
            self.events = expiry.Events(self.crew.registry, self.queue.add, deadlines=self.deadlines, on_gap=self.sweep)
            self.pool = PoolKeeper(self.crew, self.settings.pooled, self.settings.acquire_timeout)
            self.engine_watch = EngineWatch(self.crew, self.queue, self.sweep, self.pool.look_soon)
            workers = await stack.enter_async_context(anyio.create_task_group())
            self._workers = workers
            detectors = await stack.enter_async_context(anyio.create_task_group())
            self._detectors = detectors
            for _ in range(HANDS):
                workers.start_soon(self.worker.work)
            self._start_detectors(detectors, listening)
            self.sweep()
            await self._swept.wait()
            detectors.start_soon(self.pool.keep, Trouble("pool", self.troubles))
            self._stack = stack.pop_all()
        self.started = True
        logger.info("ready", extra={"action": "ready", "troubles": len(self.troubles)})
        return self

    async def _let_others_speak(self) -> None:
        # Nobody looked for a while: perhaps nobody was there, perhaps Redis answered nobody. Whoever lived through that
        # writes it down as soon as he is answered again, and a newcomer who claims before that would not know of it.
        if (self.crew.registry.evidence.unwatched_ms or 0) > GAP_MS:
            await anyio.sleep(OTHERS_SPEAK)

    def _start_detectors(self, tasks: TaskGroup, listening: socket.socket | None) -> None:
        registry = self.crew.registry
        presence = expiry.Presence(
            registry,
            watched=lambda: self.engine_watch.stands and self._compared,
            hearing=lambda: self.events.hearing,
        )
        tasks.start_soon(self.events.listen, Trouble("events", self.troubles))
        tasks.start_soon(self.events.prove, Trouble("canary", self.troubles))
        tasks.start_soon(self.deadlines.watch, Trouble("deadlines", self.troubles))
        tasks.start_soon(self.engine_watch.listen, Trouble("engine", self.troubles))
        tasks.start_soon(presence.tell, Trouble("evidence", self.troubles))
        tasks.start_soon(expiry.keep_asking, registry, self._pulse, Trouble("probe", self.troubles))
        tasks.start_soon(self._keep_reconciled)
        if listening is not None:
            tasks.start_soon(serve_health, listening, self.readiness)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Drain: no new work, claims in hand are finished within stop grace + 5 s, the rest is left to their leases.

        An error of the body is raised as it is, without a drain; one of a background task as an exception group.
        """
        self._detectors.cancel_scope.cancel()
        limit = self.settings.stop_grace.total_seconds() + DRAIN_MARGIN
        if error is None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(limit):
                await self.worker.drained()
                with suppress(Unavailable):
                    await self.pool.drain()
        self._workers.cancel_scope.cancel()
        if isinstance(error, Exception):
            await self._stack.aclose()  # kept from the task groups, which would wrap it
            return None
        handled = await self._stack.__aexit__(kind, error, trace)
        logger.info("stopped", extra={"action": "stopped"})
        return handled

    def sweep(self) -> None:
        """Ask for a reconcile now; several requests before it begins are one."""
        self._compared = False
        self._sweep.set()

    def readiness(self) -> dict[str, object]:
        """Return what `/readyz` says: ready while the engine is watched and no part is in trouble.

        Missing notifications do not make it unready: deadlines are kept without them.
        """
        checks: dict[str, object] = {
            "ready": self.engine_watch.stands and not self.troubles,
            "engine_watched": self.engine_watch.stands,
            "notifications": {True: "heard", False: "not heard", None: "unknown"}[self.events.hearing],
            "queue": len(self.queue),
            "in_hand": self.queue.in_hand,
        }
        if self.troubles:
            checks["troubles"] = dict(self.troubles)
        return checks

    async def _keep_reconciled(self) -> None:
        every = self.settings.janitor_every.total_seconds() or None
        pause = every
        while True:
            with anyio.move_on_after(pause):
                await self._sweep.wait()
            self._sweep = anyio.Event()
            settled = await self._reconcile()
            self._swept.set()
            # What was too young to judge, or could not be done, is looked at again once it has come of age.
            pause = every if settled else self.settings.acquire_timeout.total_seconds()

    async def _reconcile(self) -> bool:
        """Reconcile once; False where something was left for later."""
        trouble = Trouble("janitor", self.troubles)
        drift, settled = 0, True
        try:
            async for line, outcome in self.janitor.run():
                drift += line.is_drift
                settled = settled and line.action is not Action.WAIT and (outcome in DONE_WORDS or not line.is_drift)
                if line.is_drift:
                    self._log_line(line, outcome)
        except (Unavailable, BrakeEngaged) as error:
            trouble.failed(error)
            return False
        trouble.over()
        self._compared = not self._sweep.is_set()
        logger.debug("reconcile done", extra={"action": "reconcile", "drift": drift})
        return settled

    def _log_line(self, line: PlanLine, outcome: str) -> None:
        fields = {"kind": line.kind.value, "session": line.session_id, "reason": line.reason, "outcome": outcome}
        logger.info("reconciled", extra={"action": line.action.value, **fields})

    def _log_start(self) -> None:
        crew = self.crew
        logger.info(
            "started",
            extra={
                "action": "started",
                "host": crew.registry.host,
                "deployment": crew.ways.deployment,
                "prefix": crew.registry.keys.prefix,
                "runtime": crew.runtime.name,
                "engine": crew.engine.version,
                "redis": crew.registry.link.where,
            },
        )


async def run_until_signalled(
    settings: Settings, wait: timedelta | None = None, *, runtime: Runtime | None = None
) -> int:
    """Run the sidecar until SIGTERM or SIGINT, drain, and return 0.

    SIGHUP and SIGUSR1 reconcile now. A second SIGTERM or SIGINT ends the process with 128 + its number, and a drain
    that the engine holds up beyond stop grace + 5 s ends it with 0: claims in hand are left to their leases then.
    Raises as `Reactor.__aenter__` does; with `wait` it keeps trying that long first. A given `runtime` is used instead
    of the configured one, and stays open.
    """
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals:
        stop = anyio.Event()
        reactor = Reactor(settings, runtime=runtime)

        async def receive(tasks: TaskGroup) -> None:
            async for number in signals:
                if number in (signal.SIGHUP, signal.SIGUSR1):
                    reactor.sweep()
                elif stop.is_set():
                    _quit(128 + number)
                elif reactor.started:
                    logger.info("draining", extra={"action": "draining", "signal": signal.Signals(number).name})
                    stop.set()
                    tasks.start_soon(_quit_late, settings)
                else:
                    stop.set()
                    tasks.cancel_scope.cancel()

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive, tasks)
                await _serve(reactor, stop, wait)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            named = group.subgroup(ReactorError)
            if named is None:
                raise
            raise _first(named) from group
    return 0


def _first(group: BaseExceptionGroup[ReactorError]) -> ReactorError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _quit_late(settings: Settings) -> None:
    await anyio.sleep(settings.stop_grace.total_seconds() + DRAIN_MARGIN + 0.5)
    _quit(0)


def _quit(code: int) -> None:
    # A thread that waits for the engine cannot be cancelled; whoever asks for the end now must not wait for it either.
    logger.warning("quitting, claims in hand are left to their leases", extra={"action": "quit"})
    logging.shutdown()
    os._exit(code)


async def _serve(reactor: Reactor, stop: anyio.Event, wait: timedelta | None) -> None:
    async with AsyncExitStack() as stack:
        if wait is None:
            await stack.enter_async_context(reactor)
        else:
            async for attempt in start_policy(wait):
                with attempt:
                    await stack.enter_async_context(reactor)
        await stop.wait()
