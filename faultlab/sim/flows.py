"""The flows of the product as scenes: what is prepared, which process is looked at, what it does.

What this is: one coroutine per flow, with the calls of one process counted (and one of them spoiled) while it acts.
What it is not: the judgement afterwards (`sweep`). The invariant: a flow's preparation is the same whatever is spoiled,
so the n-th call of a run is the n-th call of every run with that seed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
import asyncio

import anyio

from faultlab.sim.loop import Life
from faultlab.sim.ports import Fault
from faultlab.sim.wire import NOWHERE
from faultlab.sim.world import Member, Outcome, Plan, World

TTL = 6.0


@dataclass(frozen=True, slots=True)
class Spoil:
    """Which fault is put on which call of the process that is looked at."""

    fault: Fault = Fault.NONE
    at: int = 0


@dataclass(slots=True)
class Stage:
    """One run of a flow."""

    world: World
    spoil: Spoil
    sessions: dict[str, None] = field(default_factory=dict[str, None])
    kept: dict[str, str] = field(default_factory=dict[str, str])
    """Sessions whose client goes on beating, with the container that it was given."""
    target: Member | None = None

    async def reactor(self, host: str = "h1") -> Member:
        """Start a sidecar and wait for it."""
        member = self.world.reactor(host)
        await self.world.ready(member)
        return member

    async def app(self, host: str = "h1") -> Member:
        """Start an application and wait for it."""
        member = self.world.app(host)
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

    async def _keeping(self, app: Member, session: str, box_id: str) -> None:
        # A client goes on beating while its application asks for the session again.
        world, asking = self.world, asyncio.Lock()

        async def again() -> None:
            async with asking:
                member = app if app.alive else await self.app()
                outcome = await world.acquire(member, session)
            if session in self.kept and outcome.session is not None and outcome.session.container_id != box_id:
                world.observer.wrong("S1", f"{session}: its client kept it, and lost {box_id[:6]}")
                self.kept.pop(session)

        while session in self.kept:
            await anyio.sleep(TTL / 3)
            if session in self.kept and world.beat(session, TTL) == 0 and not asking.locked():
                world.loop.create_task(again(), context=NOWHERE.copy())

    def look_at(self, member: Member) -> None:
        """Count this process's calls from here on, and spoil the chosen one."""
        self.target = member
        ports = self.world.ports
        ports.process, ports.counting = member.process, True
        ports.fault, ports.at = self.spoil.fault, self.spoil.at

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


async def acquire_new(stage: Stage) -> None:
    """The first acquire of a session, a reactor beside it."""
    await stage.reactor()
    app = await stage.app()
    stage.sessions["s1"] = None
    stage.look_at(app)
    await stage.world.acquire(app, "s1")


async def acquire_alone(stage: Stage) -> None:
    """The same without any reactor."""
    app = await stage.app()
    stage.sessions["s1"] = None
    stage.look_at(app)
    await stage.world.acquire(app, "s1")


async def acquire_live(stage: Stage) -> None:
    """An acquire of a session that another one has."""
    await stage.reactor()
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first, keep=True)
    stage.look_at(second)
    _same(stage, box_id, await stage.world.acquire(second, "s1"))


async def acquire_together(stage: Stage) -> None:
    """Two applications at the same moment."""
    await stage.reactor()
    first, second = await stage.app(), await stage.app()
    stage.sessions["s1"] = None
    stage.look_at(second)
    got: list[Outcome] = []

    async def one(app: Member) -> None:
        got.append(await stage.world.acquire(app, "s1"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, first)
        tasks.start_soon(one, second)


async def acquire_revives(stage: Stage) -> None:
    """An acquire after the heartbeat ended, before anybody noticed."""
    first, second = await stage.app(), await stage.app()
    await stage.given(first)
    await anyio.sleep(TTL + 0.5)
    stage.look_at(second)
    await stage.world.acquire(second, "s1")


async def acquire_after_dead_spawner(stage: Stage) -> None:
    """An acquire over what a spawner left that was killed between create and commit."""
    first, second = await stage.app(), await stage.app()
    stage.sessions["s1"] = None
    stage.world.loop.create_task(stage.world.acquire(first, "s1"), context=NOWHERE.copy())
    await stage.until(lambda: bool(stage.world.engines["h1"].boxes))
    first.kill()
    stage.look_at(second)
    await stage.world.acquire(second, "s1")


async def acquire_after_loss(stage: Stage) -> None:
    """R4: an acquire after Redis lost everything, while the container still runs."""
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first, keep=True)
    stage.world.redis.direct(b"FLUSHALL")
    stage.world.observer.lost_data("FLUSHALL")
    stage.look_at(second)
    _same(stage, box_id, await stage.world.acquire(second, "s1"))


async def acquire_after_death(stage: Stage) -> None:
    """An acquire of a session whose container died, with nobody watching the engine."""
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first)
    stage.world.observer.excuse("s1", "its container died")
    stage.world.engines["h1"].die(box_id)
    stage.look_at(second)
    await stage.world.acquire(second, "s1")


async def acquire_cannot_start(stage: Stage) -> None:
    """D12: an acquire whose container does not start."""
    await stage.reactor()
    app = await stage.app()
    stage.world.engines["h1"].start_error = "exec: no such file"
    stage.sessions["s1"] = None
    stage.look_at(app)
    await stage.world.acquire(app, "s1")
    stage.world.engines["h1"].start_error = ""


async def expires(stage: Stage) -> None:
    """The way out: a session's heartbeat ends."""
    reactor = await stage.reactor()
    await stage.given(await stage.app())
    await anyio.sleep(TTL - 1.2)
    stage.look_at(reactor)
    await stage.until(stage.gone)


async def expires_with_two_reactors(stage: Stage) -> None:
    """The same with two reactors on the host."""
    reactor = await stage.reactor()
    await stage.reactor()
    await stage.given(await stage.app())
    await anyio.sleep(TTL - 1.2)
    stage.look_at(reactor)
    await stage.until(stage.gone)


async def lives_on(stage: Stage) -> None:
    """A session that is kept while its reactor works."""
    reactor = await stage.reactor()
    await stage.given(await stage.app(), keep=True)
    await anyio.sleep(1)
    stage.look_at(reactor)
    await anyio.sleep(TTL * 1.5)


async def ended_by_client(stage: Stage) -> None:
    """B3: the client deletes its key."""
    reactor = await stage.reactor()
    await stage.given(await stage.app())
    await anyio.sleep(1)
    stage.look_at(reactor)
    stage.world.observer.excuse("s1", "DEL")
    stage.world.client("DEL", "mcp:session:s1:heartbeat")
    await stage.until(stage.gone)


async def terminated(stage: Stage) -> None:
    """A terminate by another application."""
    await stage.reactor()
    first, second = await stage.app(), await stage.app()
    await stage.given(first)
    stage.look_at(second)
    await stage.world.terminate(second, "s1")


async def terminated_alone(stage: Stage) -> None:
    """The same without any reactor."""
    first, second = await stage.app(), await stage.app()
    await stage.given(first)
    stage.look_at(second)
    await stage.world.terminate(second, "s1")


async def container_dies(stage: Stage) -> None:
    """D22: a container ends by itself while its client beats."""
    reactor = await stage.reactor()
    box_id = await stage.given(await stage.app())
    await anyio.sleep(0.5)
    stage.look_at(reactor)
    stage.world.observer.excuse("s1", "its container died")
    stage.world.engines["h1"].die(box_id)
    await stage.until(stage.gone)


async def container_restarted(stage: Stage) -> None:
    """D28: an operator restarts the container of a session that is kept."""
    reactor = await stage.reactor()
    box_id = await stage.given(await stage.app(), keep=True)
    await anyio.sleep(0.5)
    stage.look_at(reactor)
    stage.world.engines["h1"].restart_box(box_id)
    await anyio.sleep(4)


async def reactor_starts(stage: Stage) -> None:
    """L6: a reactor starts and finds an overdue session, a kept one, an orphan, a dead container and a lost one."""
    world = stage.world
    app = await stage.app()
    boxes = {name: await stage.given(app, name) for name in ("overdue", "orphan", "dead", "lost")}
    await stage.given(app, "kept", keep=True)
    engine = world.engines["h1"]
    for name in boxes:
        world.observer.excuse(name, "prepared")
    await anyio.sleep(TTL + 0.5)
    for name in ("dead", "lost"):
        world.redis.direct(b"SET", f"mcp:session:{name}:heartbeat".encode(), b"1", b"PX", b"100000")
    world.redis.direct(b"DEL", b"mcp:session:orphan", b"mcp:session:orphan:heartbeat")
    engine.die(boxes["dead"])
    engine.vanish(boxes["lost"])
    reactor = world.reactor()
    stage.look_at(reactor)
    await stage.until(lambda: all(stage.gone(name) for name in boxes))


async def redis_restarts(stage: Stage) -> None:
    """R1: Redis comes back as another process with all its data; one session is kept, one abandoned."""
    world = stage.world
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app, "kept", keep=True)
    await stage.given(app, "abandoned")
    await anyio.sleep(TTL - 2)
    data = world.redis.store.copy()
    stage.look_at(reactor)
    world.network.stop()
    await anyio.sleep(4)
    world.redis.restart(data)
    world.observer.lost_data("restart")
    world.network.down = False
    await stage.until(lambda: stage.gone("abandoned"))


async def redis_is_flushed(stage: Stage) -> None:
    """R4: FLUSHALL with one session kept and one abandoned."""
    world = stage.world
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app, "kept", keep=True)
    await stage.given(app, "abandoned")
    await anyio.sleep(1)
    stage.look_at(reactor)
    world.redis.direct(b"FLUSHALL")
    world.observer.lost_data("FLUSHALL")
    await stage.until(lambda: stage.gone("abandoned"), 120)


async def redis_fails_over(stage: Stage) -> None:
    """R28: a failover that loses the last writes, among them a commit."""
    world = stage.world
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app, "kept", keep=True)
    await anyio.sleep(0.1)
    stage.look_at(reactor)
    world.network.stop()
    world.redis.fail_over(6)
    world.observer.lost_data("failover")
    world.network.down = False
    await anyio.sleep(TTL * 3)


async def clock_is_set(stage: Stage) -> None:
    """R25: the server's clock goes an hour ahead: every key ends at once."""
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app, "kept", keep=True)
    await stage.given(app, "abandoned")
    await anyio.sleep(1)
    stage.look_at(reactor)
    stage.world.observer.lost_data("clock")
    stage.world.clock.jump(3600)
    await stage.until(lambda: stage.gone("abandoned"))


async def clock_stands(stage: Stage) -> None:
    """R25: the server's clock stands still for longer than a TTL, then catches up: every key ends at once."""
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app, "kept", keep=True)
    await stage.given(app, "abandoned")
    await anyio.sleep(1)
    stage.look_at(reactor)
    stage.world.clock.stop()
    await anyio.sleep(TTL * 1.1)
    stage.world.observer.lost_data("clock")
    stage.world.clock.go_on(caught_up=True)
    await stage.until(lambda: stage.gone("abandoned"))


async def heartbeat_is_evicted(stage: Stage) -> None:
    """R6: Redis throws a heartbeat key out."""
    reactor = await stage.reactor()
    await stage.given(await stage.app(), keep=True)
    await anyio.sleep(0.5)
    stage.look_at(reactor)
    stage.world.observer.lost_data("eviction")
    stage.world.redis.evict([b"mcp:session:s1:heartbeat"])
    await anyio.sleep(TTL)


async def redis_refuses_writes(stage: Stage) -> None:
    """R8: Redis refuses writes for longer than a TTL, heartbeats among them."""
    world = stage.world
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app, "kept", keep=True)
    await stage.given(app, "abandoned")
    await anyio.sleep(1)
    stage.look_at(reactor)
    world.redis.mode = "MISCONF"
    await anyio.sleep(TTL * 1.5)
    world.observer.lost_data("refused writes")
    world.redis.mode = ""
    await stage.until(lambda: stage.gone("abandoned"))


async def redis_is_frozen(stage: Stage) -> None:
    """R24: Redis stands still for longer than a TTL."""
    world = stage.world
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app, "kept", keep=True)
    await stage.given(app, "abandoned")
    await anyio.sleep(1)
    stage.look_at(reactor)
    world.network.frozen = True
    await anyio.sleep(TTL * 1.5)
    world.observer.lost_data("frozen")
    world.redis.cycle()
    world.network.thaw()
    await stage.until(lambda: stage.gone("abandoned"))


async def reaches_its_hard_end(stage: Stage) -> None:
    """A session that is kept beyond its max lifetime."""
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app)
    for _ in range(4):
        await anyio.sleep(TTL / 3)
        stage.world.beat("s1", TTL)
    stage.look_at(reactor)
    await stage.until(stage.gone)


async def drains(stage: Stage) -> None:
    """L10: a reactor is stopped in an orderly way while a session ends."""
    reactor = await stage.reactor()
    await stage.given(await stage.app())
    await anyio.sleep(TTL - 0.05)
    stage.look_at(reactor)
    await anyio.sleep(0.1)
    reactor.stop.set()
    if not await stage.until(lambda: not reactor.alive, 30):
        return
    stage.world.note("drained")


def _same(stage: Stage, box_id: str, outcome: Outcome) -> None:
    if outcome.session is not None and outcome.session.container_id != box_id:
        stage.world.observer.wrong("S1", f"an acquire of a living session gave another container than {box_id[:6]}")


FLOWS: dict[str, Flow] = {
    flow.__name__: flow
    for flow in (
        acquire_new, acquire_alone, acquire_live, acquire_together, acquire_revives, acquire_after_dead_spawner,
        acquire_after_loss, acquire_after_death, acquire_cannot_start, expires, expires_with_two_reactors, lives_on,
        ended_by_client, terminated, terminated_alone, container_dies, container_restarted, reactor_starts,
        redis_restarts, redis_is_flushed, redis_fails_over, clock_is_set, clock_stands,
        heartbeat_is_evicted, redis_refuses_writes, redis_is_frozen, reaches_its_hard_end, drains,
    )
}  # fmt: skip


def plan_of(name: str, seed: int) -> Plan:
    """Return the world of a flow."""
    lifetime = TTL * 1.5 if name == "reaches_its_hard_end" else None
    return Plan(seed=seed, ttl=TTL, janitor_every=20, max_lifetime=lifetime)
