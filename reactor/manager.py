"""Sessions as an application uses them: acquire, hold, get, terminate.

What this is: the public face of the way in and the way out. What it is not: the sidecar, which tears down what was
left. The invariant: leaving a manager never ends a session; sessions live by their heartbeat alone.
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

import anyio

from reactor.acquire import WayIn
from reactor.beside import beside
from reactor.crew import Crew, open_crew, open_reader
from reactor.errors import AcquireTimeout, SessionLost, Unavailable
from reactor.registry import Reader, Record
from reactor.registry.verdicts import Foreign, Gone, Mode
from reactor.session import Detector, EndReason, Session, SessionId, State, new_token, parse_session_id
from reactor.settings import Settings
from reactor.spawn import Asked, Spawner
from reactor.teardown import Ended, tear_down
from reactor.waiting import WakeUps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import timedelta
    from types import TracebackType

    from reactor.runtime.protocol import Runtime

BEATS_PER_TTL = 3
"""A held session is touched this often, so that one lost beat, or two, cost nothing."""


class SessionManager:
    """Sessions of one Redis and one engine. Use as an async context manager; safe for many tasks at once."""

    def __init__(self, settings: Settings, *, engine: bool = True, runtime: Runtime | None = None) -> None:
        """Take settings; nothing is opened yet. `engine=False`: only get, list and heartbeat, without an engine.

        `runtime` is used instead of the configured one, and stays open.
        """
        self.settings = settings
        self._with_engine = engine
        self._given = runtime
        self._stack = AsyncExitStack()
        self._reader: Reader | None = None
        self._crew: Crew | None = None
        self._way_in: WayIn | None = None

    @classmethod
    def from_env(cls) -> Self:
        """Return a manager for the settings of the environment and `reactor.toml`; raises `ConfigError`."""
        return cls(Settings.load())

    @classmethod
    def from_settings(cls, settings: Settings, *, engine: bool = True) -> Self:
        """Return a manager for given settings."""
        return cls(settings, engine=engine)

    async def __aenter__(self) -> Self:
        """Connect; raises `Unavailable`, `PermissionRefused`, `ConfigError`."""
        async with AsyncExitStack() as stack:
            if self._with_engine:
                self._crew = crew = await stack.enter_async_context(open_crew(self.settings, runtime=self._given))
                self._reader = crew.registry
                tasks = await stack.enter_async_context(anyio.create_task_group())
                stack.callback(tasks.cancel_scope.cancel)
                spawner = Spawner(ways=crew.ways)
                self._way_in = WayIn(ways=crew.ways, wakeups=WakeUps(crew.registry, tasks), spawner=spawner)
            else:
                self._reader = await stack.enter_async_context(open_reader(self.settings))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections; sessions go on."""
        await self._stack.aclose()

    async def acquire(self, session_id: str, *, template: str | None = None, ttl: timedelta | None = None) -> Session:
        """Return the session's running container, made if need be, with its heartbeat refreshed.

        An existing session keeps its template and TTL; `Session.warning` says where that differs from what was asked.
        Calling it twice, or from many processes at once, gives the same container. Raises `InvalidSessionId`,
        `UsageError` (unknown template, TTL out of range), `SpawnFailed`, `AcquireTimeout`, `Unavailable`. Cancelled, it
        leaves nothing half-made that would last.
        """
        crew, way_in = self._opened()
        parsed = parse_session_id(session_id)
        chosen = self.settings.template(template)
        asked = Asked(
            session_id=parsed,
            token=new_token(),
            template=chosen,
            ttl=chosen.ttl_for(ttl),
            limit=self.settings.acquire_timeout,
            deadline=anyio.current_time() + self.settings.acquire_timeout.total_seconds(),
            named=template is not None,
            timed=ttl is not None,
        )
        if (problem := crew.runtime.problems(chosen)) is not None:
            from reactor.errors import ConfigError  # noqa: PLC0415

            raise ConfigError(problem)
        return await way_in.acquire(asked)

    @asynccontextmanager
    async def hold(
        self, session_id: str, *, template: str | None = None, ttl: timedelta | None = None, end: bool = False
    ) -> AsyncGenerator[Session]:
        """Acquire a session and keep it alive while the body runs.

        The body is cancelled, and `SessionLost` raised, when the session ends meanwhile; an outage of Redis alone does
        not end it. Leaving the body leaves the session to its TTL; with `end` it is terminated.
        """
        session = await self.acquire(session_id, template=template, ttl=ttl)
        lost = False

        async def beat() -> None:
            nonlocal lost
            period = session.ttl.total_seconds() / BEATS_PER_TTL
            while True:
                await anyio.sleep(period * random.uniform(0.7, 0.95))  # noqa: S311 (jitter)
                try:
                    if await self.heartbeat(session.session_id):
                        continue
                except Unavailable:
                    continue
                lost = True
                scope.cancel()

        async with beside(beat) as scope:
            yield session
        if lost:
            message = f"session {session.session_id} ended while it was held"
            raise SessionLost(message)
        if end:
            await self.terminate(session.session_id)

    async def heartbeat(self, session_id: str) -> bool:
        """Touch the session once; False means that it is over. Any Redis client can do the same with EXPIRE."""
        return await self._read().heartbeat(parse_session_id(session_id))

    async def get(self, session_id: str) -> Session:
        """Return a session without refreshing it; raises `SessionNotFound`."""
        return self._shown(await self._read().get(parse_session_id(session_id)))

    async def sessions(self) -> AsyncGenerator[Session]:
        """Yield every session that is not over, without refreshing any. Records of another schema are left out."""
        seen: set[SessionId] = set()
        async for batch in self._read().scan():
            for session_id, found in batch.items():
                if isinstance(found, Record) and found.state is not State.ENDED and session_id not in seen:
                    seen.add(session_id)
                    yield self._shown(found)

    async def terminate(self, session_id: str) -> None:
        """End a session now; returns when its container is gone.

        Raises `SessionNotFound`, `AcquireTimeout` where another host owns it and does not answer, `Unavailable`.
        Calling it twice is fine: both wait for the same end.
        """
        crew, way_in = self._opened()
        meant = await crew.registry.get(parse_session_id(session_id))
        with anyio.move_on_after(self.settings.acquire_timeout.total_seconds()):
            while not await self._ended(crew, meant):
                await way_in.wakeups.wait(meant.session_id)
            return
        raise AcquireTimeout(await self._not_ended(crew, meant))

    async def _not_ended(self, crew: Crew, meant: Record) -> str:
        late = f"session {meant.session_id} has not ended in time"
        if meant.host == crew.registry.host or await crew.registry.is_watched(meant.host):
            return f"{late}: the engine of host {meant.host} hangs, or it is busy; it is tried again there"
        return (
            f"{late}: its host {meant.host} does not answer; it ends there once a reactor runs again; if that never "
            f"happens: `reactor forget-host {meant.host}`"
        )

    async def _ended(self, crew: Crew, meant: Record) -> bool:
        session_id = meant.session_id
        now = (await crew.registry.records([session_id]))[session_id]
        if isinstance(now, Record) and (now.generation != meant.generation or now.state is State.ENDED):
            return True  # what was meant has ended; somebody may have acquired the session again
        try:
            verdict = await tear_down(
                crew.ways,
                session_id,
                detector=Detector.MANUAL,
                mode=Mode.END,
                reason=EndReason.TERMINATED,
                expected=now.container_id if isinstance(now, Record) else None,
                generation=meant.generation,
            )
        except SessionLost:
            return False  # our claim's lease ended while we paused, and another one goes on with it
        match verdict:
            case Ended() | Gone():
                return True
            case Foreign(host):
                return not await crew.registry.request_end(session_id, host, meant.generation)
            case _:
                return False

    def _shown(self, record: Record) -> Session:
        reader = self._read()
        local = self._crew is not None and record.host == self._crew.registry.host
        # Without an engine the caller's own host is not known; on a single machine the address is what one asks for.
        return record.session(reader.keys.heartbeat(record.session_id), local=local or self._crew is None)

    def _read(self) -> Reader:
        if self._reader is None:
            message = "the session manager is not open: use `async with`"
            raise RuntimeError(message)
        return self._reader

    def _opened(self) -> tuple[Crew, WayIn]:
        if self._crew is None or self._way_in is None:
            message = "the session manager is not open, or was opened without an engine: use `async with`"
            raise RuntimeError(message)
        return self._crew, self._way_in
