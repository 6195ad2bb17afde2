"""The way in: an id becomes a running container, once, however many ask.

What this is: reserve, then live, wait or spawn (the spawn itself is `reactor.spawn`). What it is not: the lock, which
is the record in Redis. The invariant: a session is handed out only from an answer of `reserve` or `save`, never from
reading the record, and only after its container was seen running, by us or by a reactor that watches its engine.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

import anyio

from reactor.errors import AcquireTimeout, ImageMissing, ReactorError, SessionLost, SpawnFailed, Unavailable
from reactor.registry.verdicts import Failed, Live, Spawn, Wait
from reactor.session import Detector, Generation, Session, State, new_token
from reactor.spawn import AgainError, Asked, PullNeededError, Spawner, repeated
from reactor.teardown import end_exited, tear_down
from reactor.templates import format_duration

if TYPE_CHECKING:
    from reactor.registry import Record
    from reactor.registry.verdicts import Reservation
    from reactor.session import HostName
    from reactor.teardown import Ways
    from reactor.waiting import WakeUps

LOOK_LIMIT = timedelta(seconds=5)
"""How long the look at a session that lives is repeated while the engine does not answer."""
LET_GO_SECONDS = 2.0
"""How long a cancelled caller may take to let go of what it had just asked for."""
_ERRORS: dict[str, type[ReactorError]] = {"AcquireTimeout": AcquireTimeout, "ImageMissing": ImageMissing}


@dataclass(frozen=True, slots=True, kw_only=True)
class WayIn:
    """What an acquire works with; shared by all acquires of one process."""

    ways: Ways
    wakeups: WakeUps
    spawner: Spawner

    async def acquire(self, asked: Asked) -> Session:
        """Return the running session, made if need be.

        Concurrent callers, in any number of processes, get the same container or the same error. Raises
        `AcquireTimeout`, `SpawnFailed`, `ForeignData`, `Unavailable`. Cancelled, what was half made is removed; if even
        that fails, the spawn's lease ends within seconds and a reactor or the next acquire takes over.
        """
        with anyio.move_on_at(asked.deadline):
            return await self._until_had(asked)
        message = (
            f"session {asked.session_id} could not be had in time; another caller or host holds it, or the engine hangs"
        )
        raise AcquireTimeout(message)

    async def _until_had(self, asked: Asked) -> Session:
        waited: Generation | None = None
        while True:
            answer = await self._reserved(asked, waited)
            match answer:
                case Live(record, watched):
                    if (session := await self._handed_out(asked, record, watched=watched)) is not None:
                        return asked.compared(session)
                case Failed(error):
                    raise _rebuilt(error)
                case Wait(state, _, generation, _):
                    waited = generation if state is State.STARTING else waited
                    await self._wait(asked, answer)
                case Spawn():
                    if (session := await self._spawned(asked, answer)) is not None:
                        return session
                    asked = asked.once_more(new_token())
                case _:
                    assert_never(answer)

    async def _reserved(self, asked: Asked, waited: Generation | None) -> Reservation:
        registry = self.ways.registry
        try:
            return await registry.reserve(
                asked.session_id, asked.token, template=asked.template.name, ttl=asked.ttl, waited=waited
            )
        except anyio.get_cancelled_exc_class():
            # The grant may be on its way: let the id go, or the next caller waits for the spawn's lease.
            with anyio.CancelScope(shield=True), anyio.move_on_after(LET_GO_SECONDS), suppress(Unavailable):
                await registry.abort(asked.session_id, asked.token, "")
            raise

    async def _spawned(self, asked: Asked, reserved: Spawn) -> Session | None:
        try:
            return await self.spawner.spawn(asked, reserved)
        except PullNeededError:
            # The id was let go first: an image may take minutes, and no lock is held over that.
            await self.ways.runtime.pull(asked.template.image)
        except AgainError:
            await self.wakeups.wait(asked.session_id)
        return None

    async def _handed_out(self, asked: Asked, record: Record, *, watched: bool) -> Session | None:
        registry = self.ways.registry
        key = registry.keys.heartbeat(record.session_id)
        local = record.host == registry.host
        if not local and not await registry.is_watched(record.host):
            # Nobody can say whether its container runs: its reactor may be back in a moment, or never.
            await self._wait_for(asked, record.state, record.host)
            return None
        if watched or not local or record.container_id is None:
            return record.session(key, local=local, created=False)
        container_id = record.container_id
        container = await repeated(lambda: self.ways.runtime.inspect(container_id), LOOK_LIMIT)
        if container is not None and container.running:
            return record.session(key, local=True, created=False)
        with suppress(SessionLost):  # overtaken: the next reserve says what follows
            await end_exited(self.ways, record.session_id, record.container_id, detector=Detector.ENGINE)
        return None

    async def _wait(self, asked: Asked, wait: Wait) -> None:
        # Whoever can reach the engine may do a teardown: nobody else may be there to do it.
        mine = wait.host == self.ways.registry.host
        abandoned = wait.state is State.RUNNING or wait.lease_left.total_seconds() < 0
        if mine and abandoned:
            with suppress(SessionLost):
                await tear_down(self.ways, asked.session_id, detector=Detector.MANUAL)
            return
        await self._wait_for(asked, wait.state, wait.host)

    async def _wait_for(self, asked: Asked, state: State, host: HostName) -> None:
        if anyio.current_time() >= asked.soft_deadline:
            where, fix = "", ""
            if host != self.ways.registry.host:
                silent = not await self.ways.registry.is_watched(host)
                where = f" on host {host}{', which does not answer,' * silent}"
                fix = f", or free it with `reactor forget-host {host}` if that host never returns" * silent
            message = (
                f"session {asked.session_id} is still {state.value}{where} after {format_duration(asked.limit)}; "
                f"try again{fix}"
            )
            raise AcquireTimeout(message)
        with anyio.move_on_at(asked.soft_deadline):  # not beyond it: the last look says why
            await self.wakeups.wait(asked.session_id)


def _rebuilt(error: str) -> ReactorError:
    name, _, message = error.partition(": ")
    return _ERRORS.get(name, SpawnFailed)(message)
