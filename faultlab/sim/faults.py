"""All faults of a soak by name.

What this is: the table that a soak draws from. What it is not: a fault. The invariant: a name stands for one fault.
"""

from __future__ import annotations

from faultlab.sim import harm, harm_redis
from faultlab.sim.nemesis import Act

FAULTS: dict[str, Act] = {
    act.__name__: act
    for act in (
        harm.kill_reactor,
        harm.kill_app,
        harm.drain_reactor,
        harm.freeze_somebody,
        harm.cut_off_somebody,
        harm.cut_connections,
        harm.slow_network,
        harm.engine_crashes,
        harm.engine_is_frozen,
        harm.engine_loses_replies,
        harm.engine_is_slow,
        harm.engine_stream,
        harm.cut_off_from_engine,
        harm.container_dies,
        harm.operator_removes,
        harm.operator_restarts,
        harm.stuck_containers,
        harm_redis.redis_restarts,
        harm_redis.redis_restarts_empty,
        harm_redis.redis_restarts_older,
        harm_redis.redis_fails_over,
        harm_redis.redis_is_flushed,
        harm_redis.redis_is_frozen,
        harm_redis.redis_evicts,
        harm_redis.redis_refuses,
        harm_redis.clock_jumps,
        harm_redis.clock_stands,
        harm_redis.notifications_off,
        harm_redis.forged_events,
    )
}
