"""What befalls Redis, as scenes: with one session kept and one abandoned.

What this is: one coroutine per flow, as in `flows_in`; the reactor is looked at. What it is not: the judgement
afterwards (`sweep`). The invariant: the kept session keeps its container, the abandoned one goes after its grace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from faultlab.sim.outcomes import torn_down
from faultlab.sim.stage import TTL, Stage

if TYPE_CHECKING:
    from faultlab.sim.members import Member


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
    await torn_down(stage, session="abandoned")


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
    await torn_down(stage, session="abandoned", limit=120)


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
    await torn_down(stage, session="abandoned")


async def clock_stands(stage: Stage) -> None:
    """R25: the server's clock stands still for almost a TTL, then catches up: what was touched ends at once."""
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app, "kept", keep=True)
    await stage.given(app, "abandoned")
    await anyio.sleep(1)
    stage.look_at(reactor)
    written = stage.world.written(stage.home)
    stage.world.clock.stop()
    await anyio.sleep(TTL * 0.97)
    stage.world.observer.lost_data("clock")
    stage.world.clock.go_on(caught_up=True)
    await torn_down(stage, session="abandoned")
    _note_unwritten(stage, reactor, written)


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
    await torn_down(stage, session="abandoned")


async def redis_is_frozen(stage: Stage) -> None:
    """R24: Redis stands still for longer than a TTL."""
    world = stage.world
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app, "kept", keep=True)
    await stage.given(app, "abandoned")
    await anyio.sleep(1)
    stage.look_at(reactor)
    written = stage.world.written(stage.home)
    world.network.frozen = True
    await anyio.sleep(TTL * 1.5)
    world.observer.lost_data("frozen")
    world.redis.cycle()
    world.network.thaw()
    await torn_down(stage, session="abandoned")
    _note_unwritten(stage, reactor, written)


async def joins_after_an_outage(stage: Stage) -> None:
    """R24: a reactor reaches Redis in the moment in which it answers again; who lived through the silence is slower."""
    world = stage.world
    witness = await stage.reactor()
    app = await stage.app()
    stage.only_beats("kept", await stage.given(app, "kept"))
    await stage.given(app, "abandoned")
    await anyio.sleep(1)
    world.network.frozen = True
    await anyio.sleep(TTL * 1.5)
    newcomer = world.reactor(stage.home)
    stage.look_at(newcomer)
    await anyio.sleep(1)
    world.observer.lost_data("frozen")
    witness.process.freeze()
    world.redis.cycle()
    world.network.thaw()
    await anyio.sleep(0.3)
    witness.process.thaw()
    await torn_down(stage, session="abandoned")


def _note_unwritten(stage: Stage, reactor: Member, before: tuple[bytes, bytes]) -> None:
    # To the next reactor all has been well, where the one that saw the standstill was killed before it wrote it down.
    stage.unwritten = not reactor.alive and stage.world.written(stage.home) == before
