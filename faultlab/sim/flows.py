"""All flows by name, and the world that each plays in.

What this is: the table that a sweep walks through. What it is not: a flow. The invariant: a name stands for one scene.
"""

from __future__ import annotations

from faultlab.sim import flows_hosts, flows_in, flows_out, flows_redis, flows_repair
from faultlab.sim.members import Plan
from faultlab.sim.stage import TTL, Flow

FLOWS: dict[str, Flow] = {
    flow.__name__: flow
    for flow in (
        flows_in.acquire_new,
        flows_in.acquire_alone,
        flows_in.acquire_live,
        flows_in.acquire_together,
        flows_in.acquire_revives,
        flows_in.acquire_after_dead_spawner,
        flows_in.acquire_after_loss,
        flows_in.acquire_after_death,
        flows_in.acquire_cannot_start,
        flows_out.expires,
        flows_out.expires_with_two_reactors,
        flows_out.lives_on,
        flows_out.ended_by_client,
        flows_out.terminated,
        flows_out.terminated_alone,
        flows_out.container_dies,
        flows_out.container_restarted,
        flows_out.reactor_starts,
        flows_out.reaches_its_hard_end,
        flows_out.drains,
        flows_redis.redis_restarts,
        flows_redis.redis_is_flushed,
        flows_redis.redis_fails_over,
        flows_redis.clock_is_set,
        flows_redis.clock_stands,
        flows_redis.heartbeat_is_evicted,
        flows_redis.redis_refuses_writes,
        flows_redis.redis_is_frozen,
        flows_redis.joins_after_an_outage,
        flows_hosts.host_is_forgotten,
        flows_hosts.host_is_renamed,
        flows_hosts.terminated_from_afar,
        flows_hosts.terminated_for_another_host,
        flows_repair.reconcile_is_braked,
        flows_repair.quarantine_is_resumed,
    )
}
TWO_HOSTS = ("host_is_forgotten", "terminated_from_afar", "terminated_for_another_host")


def plan_of(name: str, seed: int) -> Plan:
    """Return the world of a flow."""
    lifetime = TTL * 1.5 if name == "reaches_its_hard_end" else None
    hosts = ("h1", "h2") if name in TWO_HOSTS else ("h1",)
    return Plan(seed=seed, hosts=hosts, ttl=TTL, janitor_every=20, max_lifetime=lifetime)
