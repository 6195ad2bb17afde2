"""The way out, as scenes: ends of every kind, and the start and stop of a reactor.

What this is: one coroutine per flow, as in `flows_in`. What it is not: the judgement afterwards (`sweep`). The
invariant: a session whose client keeps it is never the one that is to end.
"""

from __future__ import annotations

import anyio

from faultlab.sim.outcomes import put_to_an_end, torn_down
from faultlab.sim.ports import STALL, Fault
from faultlab.sim.stage import TTL, Stage

DRAINED = 6.0
"""Seconds of a drain: the stop grace (none here), five for claims in hand, and the way out."""


async def expires(stage: Stage) -> None:
    """The way out: a session's heartbeat ends."""
    reactor = await stage.reactor()
    await stage.given(await stage.app())
    await anyio.sleep(TTL - 1.2)
    stage.look_at(reactor)
    await torn_down(stage, "expired")


async def expires_with_two_reactors(stage: Stage) -> None:
    """The same with two reactors on the host."""
    reactor = await stage.reactor()
    await stage.reactor()
    await stage.given(await stage.app())
    await anyio.sleep(TTL - 1.2)
    stage.look_at(reactor)
    await torn_down(stage, "expired")


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
    await torn_down(stage, "ended_by_client", "expired")


async def terminated(stage: Stage) -> None:
    """A terminate by another application."""
    await stage.reactor()
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first)
    stage.look_at(second)
    await put_to_an_end(stage, second, box_id)


async def terminated_alone(stage: Stage) -> None:
    """The same without any reactor."""
    first, second = await stage.app(), await stage.app()
    box_id = await stage.given(first)
    stage.look_at(second)
    await put_to_an_end(stage, second, box_id)


async def container_dies(stage: Stage) -> None:
    """D22: a container ends by itself while its client beats."""
    reactor = await stage.reactor()
    box_id = await stage.given(await stage.app())
    await anyio.sleep(0.5)
    stage.look_at(reactor)
    stage.world.observer.excuse("s1", "its container died")
    stage.world.engines["h1"].die(box_id)
    # Whoever stands still for longer than a TTL may see the end of the heartbeat first.
    stalled = stage.spoil.fault in (Fault.STALL_BEFORE, Fault.STALL_AFTER)
    await torn_down(stage, "container_exited", *(("expired",) if stalled else ()))


async def container_restarted(stage: Stage) -> None:
    """D28: an operator restarts the container of a session that is kept."""
    reactor = await stage.reactor()
    box_id = await stage.given(await stage.app(), keep=True)
    await anyio.sleep(0.5)
    stage.look_at(reactor)
    stage.barred = True  # whoever asks while it does not run gets another one
    stage.world.engines["h1"].restart_box(box_id)
    await anyio.sleep(0.5)
    stage.barred = False
    await anyio.sleep(3.5)


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
    for name in boxes:
        await torn_down(stage, session=name)


async def reaches_its_hard_end(stage: Stage) -> None:
    """A session that is kept beyond its max lifetime."""
    reactor = await stage.reactor()
    app = await stage.app()
    await stage.given(app)
    for _ in range(4):
        await anyio.sleep(TTL / 3)
        stage.world.beat("s1", TTL)
    stage.look_at(reactor)
    await torn_down(stage, "max_lifetime", "expired")


async def drains(stage: Stage) -> None:
    """L10: a reactor is stopped in an orderly way while a session ends."""
    reactor = await stage.reactor()
    await stage.given(await stage.app())
    await anyio.sleep(TTL - 0.05)
    stage.look_at(reactor)
    await anyio.sleep(0.1)
    reactor.stop.set()
    limit = DRAINED + (STALL if stage.spoil.fault in (Fault.STALL_BEFORE, Fault.STALL_AFTER) else 0)
    with anyio.move_on_after(limit):
        while reactor.alive:  # noqa: ASYNC110 (virtual time costs nothing)
            await anyio.sleep(0.02)
    if reactor.alive:
        stage.world.observer.wrong("L10", f"a drain took longer than {limit:.0f} s")
