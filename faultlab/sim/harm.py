"""What goes wrong with processes, engines and containers.

What this is: one coroutine per fault, from its beginning to its end. What it is not: when they come (`soak`). The
invariant: a fault that has ended left nothing of itself behind but its consequences.
"""

from __future__ import annotations

import anyio

from faultlab.sim.nemesis import Nemesis


async def kill_reactor(it: Nemesis) -> None:
    """P1: a sidecar is killed and started again."""
    victim = it.one_of(it.reactors())
    if victim is None:
        return
    victim.kill()
    await it.some_time(0.1, 30)
    it.world.reactor(victim.host)


async def kill_app(it: Nemesis) -> None:
    """P1: an application is killed and started again."""
    victim = it.one_of(it.apps())
    if victim is None:
        return
    victim.kill()
    await it.some_time(0.1, 10)
    it.world.app(victim.host)


async def drain_reactor(it: Nemesis) -> None:
    """P2: a sidecar is stopped in an orderly way and started again."""
    victim = it.one_of(it.reactors())
    if victim is None:
        return
    victim.stop.set()
    with anyio.move_on_after(60):
        while victim.alive:  # noqa: ASYNC110 (virtual time costs nothing)
            await anyio.sleep(0.1)
    victim.kill()
    it.world.reactor(victim.host)


async def freeze_somebody(it: Nemesis) -> None:
    """P3: a process stands still, perhaps for longer than every lease."""
    victim = it.somebody()
    if victim is None:
        return
    victim.process.freeze()
    await it.some_time(1, 60)
    victim.process.thaw()


async def cut_off_somebody(it: Nemesis) -> None:
    """P6, R19: a process does not reach Redis, and is not told."""
    victim = it.somebody()
    if victim is None:
        return
    it.world.network.cut_off[victim.process.name] = None
    await it.some_time(1, 60)
    it.world.network.cut_off.pop(victim.process.name, None)  # two faults may have met in one process
    it.world.network.cut_process(victim.process)


async def cut_connections(it: Nemesis) -> None:
    """R17: a process' connections are reset again and again."""
    victim = it.somebody()
    if victim is None:
        return
    for _ in range(it.rng.randint(1, 20)):
        it.world.network.cut_process(victim.process)
        await it.some_time(0.1, 0.5)


async def slow_network(it: Nemesis) -> None:
    """R21: Redis answers late."""
    it.world.network.slow = it.rng.choice((10.0, 100.0, 1000.0, 5000.0))
    await it.some_time(5, 40)
    it.world.network.slow = 1.0


async def engine_crashes(it: Nemesis) -> None:
    """D1, D23, D24: the daemon is killed; its containers live on or die with it."""
    engine = it.rng.choice(list(it.world.engines.values()))
    engine.crash(containers_live=it.rng.random() < 0.5)
    await it.some_time(0.5, 40)
    engine.come_back()


async def engine_is_frozen(it: Nemesis) -> None:
    """D2, D3: the daemon stands still."""
    engine = it.rng.choice(list(it.world.engines.values()))
    engine.freeze()
    await it.some_time(1, 60)
    engine.thaw()


async def engine_loses_replies(it: Nemesis) -> None:
    """D8, D31: answers are lost after the work was done."""
    line = it.rng.choice(list(it.world.lines.values()))
    line.lose_replies = it.rng.choice((0.1, 0.5, 0.9))
    await it.some_time(5, 30)
    line.lose_replies = 0.0


async def engine_is_slow(it: Nemesis) -> None:
    """D9: everything takes long."""
    engine = it.rng.choice(list(it.world.engines.values()))
    kept = engine.pace.create, engine.pace.start, engine.pace.remove
    engine.pace.create = engine.pace.start = engine.pace.remove = (1.0, 12.0)
    await it.some_time(5, 40)
    engine.pace.create, engine.pace.start, engine.pace.remove = kept


async def engine_stream(it: Nemesis) -> None:
    """D25: the event stream is cut, or says nothing."""
    engine = it.rng.choice(list(it.world.engines.values()))
    engine.events.silent = it.rng.random() < 0.5
    engine.events.cut()
    await it.some_time(1, 30)
    engine.events.silent = engine.frozen
    engine.events.cut()


async def cut_off_from_engine(it: Nemesis) -> None:
    """P7: a process does not reach the engine."""
    victim = it.somebody()
    if victim is None:
        return
    it.world.line(victim.host).cut_off[victim.process.name] = None
    await it.some_time(1, 60)
    it.world.line(victim.host).cut_off.pop(victim.process.name, None)


async def container_dies(it: Nemesis) -> None:
    """D22: a container ends by itself."""
    box_id = it.box()
    for engine in it.world.engines.values():
        engine.die(box_id or "")


async def operator_removes(it: Nemesis) -> None:
    """D27: somebody removes a container by hand."""
    box_id = it.box()
    for engine in it.world.engines.values():
        engine.vanish(box_id or "")


async def operator_restarts(it: Nemesis) -> None:
    """D28: somebody restarts a container by hand."""
    box_id = it.box()
    for engine in it.world.engines.values():
        engine.restart_box(box_id or "")


async def stuck_containers(it: Nemesis) -> None:
    """D4, D5, D6: containers that cannot be removed for a while, one of them listed as running."""
    boxes = [box for engine in it.world.engines.values() for box in engine.boxes.values()]
    chosen = it.rng.sample(boxes, min(len(boxes), 3))
    for box in chosen:
        box.stuck = it.rng.random() < 0.5
        box.hangs = box.shown_running = not box.stuck
    await it.some_time(5, 60)
    for box in chosen:
        box.stuck = box.hangs = box.shown_running = False
