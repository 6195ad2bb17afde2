"""The stage on which a flow plays: who beats meanwhile, whose calls are counted, and which of them is spoiled.

What this is: what the flows (`flows_in`, `flows_out`, `flows_redis`) share. What it is not: a flow. The invariant: a
client that keeps a session beats on whatever else happens, also while it asks for the session again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import anyio

from faultlab.sim.loop import Life
from faultlab.sim.members import Member
from faultlab.sim.ports import Fault
from faultlab.sim.wire import NOWHERE
from faultlab.sim.world import World

TTL = 6.0


@dataclass(frozen=True, slots=True)
class Spoil:
    """Which fault is put on which call of the process that is looked at."""

    fault: Fault = Fault.NONE
    at: int = 0
    at_once: bool = False
    """Somebody else asks for the sessions as soon as it befell, not only after all has settled."""


@dataclass(slots=True)
class Stage:
    """One run of a flow."""

    world: World
    spoil: Spoil
    sessions: dict[str, None] = field(default_factory=dict[str, None])
    kept: dict[str, str] = field(default_factory=dict[str, str])
    """Sessions whose client goes on beating, with the container that it was given."""
    target: Member | None = None
    home: str = "h1"
    """Where those who come later start."""
    barred: bool = False
    """The sessions cannot be had for a reason that is no fault of the run's."""
    unwritten: bool = False
    """Redis stood still, and every reactor that saw it was killed before it wrote that down."""
    excused: int = 0
    """Kept sessions that were lost for that reason alone."""
    on_fired: Callable[[], object] = lambda: None
    served: float = 0.0
    """Seconds until a session was had by somebody who asked for it as soon as the fault befell."""

    async def reactor(self, host: str = "") -> Member:
        """Start a sidecar and wait for it."""
        member = self.world.reactor(host or self.home)
        await self.world.ready(member)
        return member

    async def app(self, host: str = "") -> Member:
        """Start an application and wait for it."""
        member = self.world.app(host or self.home)
        await self.world.ready(member)
        return member

    async def given(self, app: Member, session: str = "s1", *, keep: bool = False, ttl: float | None = None) -> str:
        """Acquire a session, where nothing is spoiled yet; return its container."""
        self.sessions[session] = None
        outcome = await self.world.acquire(app, session, ttl=ttl)
        assert outcome.session is not None, outcome
        assert outcome.session.container_id is not None
        if keep:
            self.keep(app, session, outcome.session.container_id)
        return outcome.session.container_id

    def keep(self, app: Member, session: str, box_id: str) -> None:
        """Let a client beat from here on, and acquire again when it hears 0."""
        self.kept[session] = box_id
        self.world.loop.create_task(self._keeping(app, session, box_id), context=NOWHERE.copy())

    def only_beats(self, session: str, box_id: str) -> None:
        """Let a client beat from here on that never asks for its session again: it relies on its heartbeats."""
        self.kept[session] = box_id

        async def beating() -> None:
            while session in self.kept:
                await anyio.sleep(TTL / 3)
                self.world.beat(session, TTL)

        self.world.loop.create_task(beating(), context=NOWHERE.copy())

    async def _keeping(self, app: Member, session: str, box_id: str) -> None:
        # A client goes on beating while its application asks for the session again.
        world, asking = self.world, asyncio.Lock()

        async def again() -> None:
            async with asking:
                member = app if app.alive else await self.app()
                outcome = await world.acquire(member, session)
            if session in self.kept and outcome.session is not None and outcome.session.container_id != box_id:
                self.lost(session, box_id)
                self.kept.pop(session)

        while session in self.kept:
            await anyio.sleep(TTL / 3)
            if session in self.kept and world.beat(session, TTL) == 0 and not asking.locked():
                world.loop.create_task(again(), context=NOWHERE.copy())

    def lost(self, session: str, box_id: str) -> None:
        """Judge that a client which keeps its session has lost its container."""
        if self.unwritten:
            self.excused += 1
            self.world.note(f"excused: {session} was lost to a standstill that nobody wrote down")
        else:
            self.world.observer.wrong("S1", f"{session}: its client kept it, and lost {box_id[:6]}")

    def look_at(self, member: Member) -> None:
        """Count this process's calls from here on, and spoil the chosen one."""
        self.target = member
        ports = self.world.ports
        ports.process, ports.counting = member.process, True
        ports.fault, ports.at, ports.on_fired = self.spoil.fault, self.spoil.at, self.on_fired

    async def until(self, true: Callable[[], bool], limit: float = 90) -> bool:
        """Wait for something to become true; False if it does not, or the process that is looked at died."""
        with anyio.move_on_after(limit):
            while not true():
                if self.target is not None and self.target.process.life is Life.DEAD:
                    return False
                await anyio.sleep(0.02)
            return True
        return False

    def gone(self, session: str = "s1") -> bool:
        """Whether a session has no container and no live record."""
        record = self.world.redis.store.data.get(f"mcp:session:{session}".encode())
        over = not isinstance(record, dict) or record[b"state"] == b"ended"
        return over and not any(
            box.labels.get("session-reactor.session") == session
            for engine in self.world.engines.values()
            for box in engine.boxes.values()
        )


Flow = Callable[[Stage], Coroutine[Any, Any, None]]
