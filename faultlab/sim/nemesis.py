"""What goes wrong in a soak: each fault with its beginning, its length and its end.

What this is: the faults, by name. What it is not: when they come (`soak`). The invariant: a fault that has ended left
nothing of itself behind but its consequences.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from random import Random

    from faultlab.sim.world import Member, World

Act = Callable[["Nemesis"], Coroutine[Any, Any, None]]


class Nemesis:
    """Does harm to one world."""

    def __init__(self, world: World, rng: Random) -> None:
        """Take whom to harm."""
        self.world = world
        self.rng = rng
        self.active = 0
        """Faults that go on now."""
        self.snapshot = world.redis.store.copy()

    def reactors(self) -> list[Member]:
        """Return the living sidecars."""
        return [m for m in self.world.members.values() if m.alive and m.process.name.startswith("reactor")]

    def apps(self) -> list[Member]:
        """Return the living applications."""
        return [m for m in self.world.members.values() if m.alive and m.process.name.startswith("app")]

    async def some_time(self, least: float, most: float) -> float:
        """Let a fault last."""
        length = self.rng.uniform(least, most)
        await anyio.sleep(length)
        return length

    async def strike(self, name: str) -> None:
        """Let one fault happen, from its beginning to its end."""
        self.world.note(f"fault {name}")
        self.active += 1
        try:
            await FAULTS[name](self)
        finally:
            self.active -= 1
            self.world.note(f"healed {name}")

    def box(self) -> str | None:
        """Return some running container."""
        running = [b.box_id for e in self.world.engines.values() for b in e.boxes.values() if b.running]
        return self.rng.choice(running) if running else None


# ---------------------------------------------------------------------- processes


async def kill_reactor(it: Nemesis) -> None:
    """P1: a sidecar is killed and started again."""
    victim = it.rng.choice(it.reactors())
    victim.kill()
    await it.some_time(0.1, 30)
    it.world.reactor(victim.host)


async def kill_app(it: Nemesis) -> None:
    """P1: an application is killed and started again."""
    victim = it.rng.choice(it.apps())
    victim.kill()
    await it.some_time(0.1, 10)
    it.world.app(victim.host)


async def drain_reactor(it: Nemesis) -> None:
    """P2: a sidecar is stopped in an orderly way and started again."""
    victim = it.rng.choice(it.reactors())
    victim.stop.set()
    with anyio.move_on_after(60):
        while victim.alive:
            await anyio.sleep(0.1)
    victim.kill()
    it.world.reactor(victim.host)


async def freeze_somebody(it: Nemesis) -> None:
    """P3: a process stands still, perhaps for longer than every lease."""
    victim = it.rng.choice(it.reactors() + it.apps())
    victim.process.freeze()
    await it.some_time(1, 60)
    victim.process.thaw()


async def cut_off_somebody(it: Nemesis) -> None:
    """P6, R19: a process does not reach Redis, and is not told."""
    victim = it.rng.choice(it.reactors() + it.apps())
    it.world.network.cut_off[victim.process.name] = None
    await it.some_time(1, 60)
    del it.world.network.cut_off[victim.process.name]
    it.world.network.cut_process(victim.process)


async def cut_connections(it: Nemesis) -> None:
    """R17: a process' connections are reset again and again."""
    victim = it.rng.choice(it.reactors() + it.apps())
    for _ in range(it.rng.randint(1, 20)):
        it.world.network.cut_process(victim.process)
        await it.some_time(0.1, 0.5)


async def slow_network(it: Nemesis) -> None:
    """R21: Redis answers late."""
    it.world.network.slow = it.rng.choice((10.0, 100.0, 1000.0, 5000.0))
    await it.some_time(5, 40)
    it.world.network.slow = 1.0


# ---------------------------------------------------------------------- Redis


async def redis_restarts(it: Nemesis) -> None:
    """R1, R3: Redis goes away, for longer than a TTL perhaps, and comes back with its data."""
    network, redis = it.world.network, it.world.redis
    network.stop()
    data = redis.store.copy()
    await it.some_time(0.2, 40)
    redis.restart(data)
    it.world.observer.lost_data("restart")
    network.down = False


async def redis_restarts_empty(it: Nemesis) -> None:
    """R2: Redis comes back with nothing."""
    it.world.network.stop()
    await it.some_time(0.2, 10)
    it.world.redis.restart([])
    it.world.observer.lost_data("empty restart")
    it.world.network.down = False


async def redis_restarts_older(it: Nemesis) -> None:
    """R28: Redis comes back with the data of some minutes ago."""
    it.world.network.stop()
    await it.some_time(0.2, 10)
    it.world.redis.restart(it.snapshot)
    it.world.observer.lost_data("older restart")
    it.world.network.down = False


async def redis_fails_over(it: Nemesis) -> None:
    """R28, R29: another primary takes over, without the last writes."""
    it.world.network.stop()
    lost = it.rng.randint(0, 12)
    it.world.redis.fail_over(lost)
    it.world.observer.lost_data(f"failover without {lost} writes")
    await it.some_time(0.1, 3)
    it.world.network.down = False


async def redis_is_flushed(it: Nemesis) -> None:
    """R4: FLUSHALL."""
    it.world.redis.direct(b"FLUSHALL")
    it.world.observer.lost_data("FLUSHALL")


async def redis_is_frozen(it: Nemesis) -> None:
    """R24: the server stands still, then finds what has ended before it hears its clients."""
    it.world.network.frozen = True
    await it.some_time(1, 30)
    it.world.observer.lost_data("frozen")
    it.world.redis.cycle()
    it.world.network.thaw()


async def redis_evicts(it: Nemesis) -> None:
    """R6: heartbeat keys are thrown out."""
    keys = [key for key in it.world.redis.store.expires if key.endswith(b":heartbeat")]
    it.world.observer.lost_data("eviction")
    it.world.redis.evict(it.rng.sample(keys, min(len(keys), it.rng.randint(1, 5))))


async def redis_refuses(it: Nemesis) -> None:
    """R7, R8, R9, R10, R11, R12: every write, or everything, is refused."""
    it.world.redis.mode = it.rng.choice(("MISCONF", "NOREPLICAS", "READONLY", "LOADING", "NOAUTH", "OOM"))
    it.world.note(it.world.redis.mode)
    await it.some_time(1, 40)
    it.world.redis.mode = ""
    it.world.observer.lost_data("refused writes")


async def clock_jumps(it: Nemesis) -> None:
    """R25, R26: the server's clock is set."""
    seconds = it.rng.choice((-3600.0, -60.0, -5.0, 5.0, 60.0, 3600.0))
    it.world.note(f"clock {seconds:+.0f}")
    it.world.observer.clock_was_set_back |= seconds < 0
    it.world.observer.lost_data("clock")
    it.world.clock.jump(seconds)


async def clock_stands(it: Nemesis) -> None:
    """The server's clock stands still, then catches up."""
    it.world.clock.stop()
    await it.some_time(3, 30)
    it.world.observer.lost_data("clock stood")
    it.world.clock.go_on(caught_up=True)


async def notifications_off(it: Nemesis) -> None:
    """R15: somebody switches the notifications off."""
    it.world.redis.flags = ""
    await it.some_time(10, 90)
    it.world.redis.flags = "KExge"


async def forged_events(it: Nemesis) -> None:
    """R35, R36: events that are not true, and garbage."""
    for _ in range(20):
        name = it.rng.choice((f"s{it.rng.randint(0, 9)}", "../..", "", "\x00"))
        channel = f"__keyspace@0__:mcp:session:{name}:heartbeat".encode()
        it.world.redis.publish(channel, it.rng.choice((b"expired", b"del", b"evicted", b"\xff")))
        await it.some_time(0, 0.5)


# ---------------------------------------------------------------------- engines


async def engine_crashes(it: Nemesis) -> None:
    """D1, D23, D24: the daemon is killed; its containers live on or die with it."""
    engine = it.rng.choice(list(it.world.engines.values()))
    engine.crash(containers_live=it.rng.random() < 0.5)
    await it.some_time(0.5, 40)
    engine.come_back()


async def engine_is_frozen(it: Nemesis) -> None:
    """D2, D3: the daemon stands still."""
    engine = it.rng.choice(list(it.world.engines.values()))
    engine.frozen = True
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
    engine.mute = it.rng.random() < 0.5
    engine.break_streams()
    await it.some_time(1, 30)
    engine.mute = False
    engine.break_streams()


async def cut_off_from_engine(it: Nemesis) -> None:
    """P7: a process does not reach the engine."""
    victim = it.rng.choice(it.reactors() + it.apps())
    it.world.lines[victim.host].cut_off[victim.process.name] = None
    await it.some_time(1, 60)
    del it.world.lines[victim.host].cut_off[victim.process.name]


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


FAULTS: dict[str, Act] = {
    act.__name__: act
    for act in (
        kill_reactor, kill_app, drain_reactor, freeze_somebody, cut_off_somebody, cut_connections, slow_network,
        redis_restarts, redis_restarts_empty, redis_restarts_older, redis_fails_over, redis_is_flushed,
        redis_is_frozen, redis_evicts, redis_refuses, clock_jumps, clock_stands, notifications_off, forged_events,
        engine_crashes, engine_is_frozen, engine_loses_replies, engine_is_slow, engine_stream, cut_off_from_engine,
        container_dies, operator_removes, operator_restarts, stuck_containers,
    )
}  # fmt: skip
