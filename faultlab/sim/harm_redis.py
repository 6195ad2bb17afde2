"""What goes wrong with Redis.

What this is: one coroutine per fault, from its beginning to its end. What it is not: when they come (`soak`). The
invariant: a fault that has ended left nothing of itself behind but its consequences.
"""

from __future__ import annotations

from faultlab.sim.nemesis import Nemesis


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
    it.world.observer.lost_data("older restart", older=True)
    it.world.network.down = False


async def redis_fails_over(it: Nemesis) -> None:
    """R28, R29: another primary takes over, without the last writes."""
    it.world.network.stop()
    lost = it.rng.randint(0, 12)
    it.world.redis.fail_over(lost)
    it.world.observer.lost_data(f"failover without {lost} writes", older=True)
    await it.some_time(0.1, 3)
    it.world.network.down = False


async def redis_is_flushed(it: Nemesis) -> None:
    """R4: FLUSHALL."""
    it.world.redis.direct(b"FLUSHALL")
    it.world.observer.lost_data("FLUSHALL")


async def redis_is_frozen(it: Nemesis) -> None:
    """R24: the server stands still, then finds what has ended before it hears its clients."""
    it.standstill()
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
    it.standstill()
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
    it.standstill()
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
    """R35, R36: events that are not true, of sessions that live above all, and garbage.

    No `del` while something else goes wrong: one of a key that ended in an outage passes for a client's own.
    """
    for _ in range(20):
        living = [session for session, boxes in it.world.observer.present.items() if boxes]
        name = it.rng.choice((*living, *living, "nobody", "../..", "", "\x00"))
        channel = f"__keyspace@0__:mcp:session:{name}:heartbeat".encode()
        deleted = b"del" if it.active == 1 else b"expired"
        it.world.redis.publish(channel, it.rng.choice((b"expired", deleted, b"evicted", b"\xff")))
        await it.some_time(0, 0.5)
