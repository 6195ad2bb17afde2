"""The clients of the selftest: they acquire, send EXPIRE, leave, and remember what Redis told them.

What this is: what any application does, with a memory. What it is not: the judge of it. The invariant: a deadline is
what Redis itself said in the same instant as its answer, so that no clock of this machine is needed to know it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import anyio

from reactor.errors import AcquireTimeout, Unavailable
from reactor.selftest.judge import Holding

if TYPE_CHECKING:
    from reactor.manager import SessionManager
    from reactor.session import Session
    from reactor.throwaway import PlainRedis

BEATS_PER_TTL: Final = 3
_SAMPLES: Final = 9


class RedisClock:
    """Redis' clock without asking each time; `error_ms` is how far off it may be."""

    def __init__(self, redis: PlainRedis) -> None:
        """Take whom to ask; not known before `learn`."""
        self._redis = redis
        self._offset_ms = 0.0
        self.error_ms = 0.0

    async def learn(self) -> None:
        """Ask some times, and believe the quickest answer."""
        best = float("inf")
        for _ in range(_SAMPLES):
            before = time.monotonic()
            seconds, micros = await self._redis.send("TIME")
            took = (time.monotonic() - before) * 1000
            if took < best:
                best = took
                self._offset_ms = int(seconds) * 1000 + int(micros) / 1000 - (before * 1000 + took / 2)
        self.error_ms = best / 2

    def now_ms(self) -> float:
        """Return what Redis' clock shows now."""
        return time.monotonic() * 1000 + self._offset_ms

    async def reach(self, at_ms: float) -> None:
        """Return when Redis' clock shows `at_ms`."""
        while (left := at_ms - self.now_ms()) > 0:  # noqa: ASYNC110 (a sleep may end early)
            await anyio.sleep(left / 1000)


class Client:
    """One client of one session. `holding` is the container that it was given last."""

    def __init__(self, sessions: SessionManager, redis: PlainRedis, session_id: str, template: str) -> None:
        """Take whom to ask; nothing is acquired yet."""
        self._sessions = sessions
        self._redis = redis
        self.session_id = session_id
        self._template = template
        self.session: Session | None = None
        self.holdings: list[Holding] = []
        self.left = False
        self.touched_ms = 0.0
        """When Redis last took an EXPIRE, on its clock."""
        self.served_ms = 0.0
        """When it last answered 1."""
        self.late = 0
        """How often its own machine was too busy to send a heartbeat before the deadline."""

    @property
    def holding(self) -> Holding:
        """The container that it was given last; acquire first."""
        return self.holdings[-1]

    async def acquire(self) -> None:
        """Acquire, note the container, and touch it once; raises as `SessionManager.acquire`."""
        session = await self._sessions.acquire(self.session_id, template=self._template)
        self.take(session)
        await self.touch()

    def take(self, session: Session) -> None:
        """Note what an acquire has answered."""
        self.session = session
        container_id = session.container_id
        if container_id is None:
            raise Unavailable(f"acquire of {self.session_id} answered without a container")
        if not self.holdings or self.holding.container_id != container_id:
            self.holdings.append(Holding(session_id=self.session_id, container_id=container_id))

    async def touch(self) -> bool:
        """Send one EXPIRE; False when the session is over."""
        held, session = self.holding, self.session
        if session is None:
            return False
        key, ttl = session.heartbeat_key, round(session.ttl.total_seconds())
        answer, deadline, now = await self._redis.send_together(
            ("EXPIRE", key, ttl), ("PEXPIRETIME", key), ("TIME",)
        )  # fmt: skip
        self.touched_ms = now_ms = int(now[0]) * 1000 + int(now[1]) / 1000
        if int(answer) == 1:
            held.deadline_ms = float(deadline)
            self.served_ms = now_ms
            return True
        self.late += now_ms > held.deadline_ms
        return False

    async def beat(self) -> None:
        """Touch it every third of its TTL until it is left; on 0 acquire again, as a client should."""
        assert self.session is not None  # noqa: S101 (whoever beats has acquired)
        pause = self.session.ttl.total_seconds() / BEATS_PER_TTL
        while not self.left:
            await anyio.sleep(pause)
            try:
                if not self.left and not await self.touch() and not self.left:
                    await self.acquire()
            except (Unavailable, AcquireTimeout):
                continue  # an outage never costs a living session its container: go on

    async def leave(self, *, timed: bool = False) -> None:
        """Touch it a last time, and never again; `timed`: the lag of its end counts."""
        self.left = True
        alive = await self.touch()
        self.holding.left, self.holding.timed = True, timed and alive

    async def end(self) -> None:
        """End it by DEL, as a client may."""
        self.left = self.holding.ended = True
        assert self.session is not None  # noqa: S101 (acquired before)
        await self._redis.send("DEL", self.session.heartbeat_key)
