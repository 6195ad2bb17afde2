"""All faults, and what each means to the checkers.

What this is: a table. What it is not: how a fault is done. The invariant: names are unique and stay: they stand in
kept histories.
"""

from __future__ import annotations

from typing import Final

from faultlab.faults import engine_faults, key_faults, process_faults, pubsub_faults, redis_faults, wire_faults
from faultlab.faults.scene import Flag, Kind
from faultlab.faults.wire_faults import DRIP, ENGINE_DRIP, GONE, HOLE, SCRIPT_LOST, SLOW, lost

_LOSES: Final = (Flag.LOSES,)
_OUTAGE: Final = (Flag.LOSES, Flag.BLIND, Flag.DARK)
_DARK: Final = (Flag.BLIND, Flag.DARK)
_BLIND: Final = (Flag.BLIND,)
_QUIET: Final = (Flag.QUIET,)
_DEAF: Final = (Flag.QUIET, Flag.DEAF)
_DIES: Final = (Flag.DIES,)

CATALOGUE: Final = (
    Kind(name="reactor_killed", inject=process_faults.reactor_killed, seconds=(1, 8)),
    Kind(name="reactor_ended", inject=process_faults.reactor_ended, seconds=(0.5, 4)),
    Kind(name="reactor_frozen", inject=process_faults.reactor_frozen, seconds=(2, 13)),
    Kind(name="clients_killed", inject=process_faults.clients_killed, flags=_QUIET, seconds=(1, 6)),
    Kind(name="client_frozen", inject=process_faults.client_frozen, flags=_QUIET, seconds=(2, 13)),
    Kind(name="redis_killed", inject=redis_faults.killed, flags=_OUTAGE, seconds=(1, 9)),
    Kind(name="redis_restarted_empty", inject=redis_faults.restarted_empty, flags=_OUTAGE, seconds=(2, 4)),
    Kind(name="redis_rewound", inject=redis_faults.rewound, flags=_OUTAGE, seconds=(2, 4)),
    Kind(name="redis_flushed", inject=redis_faults.flushed, flags=_LOSES, seconds=(2, 3)),
    Kind(name="redis_frozen", inject=redis_faults.frozen, flags=_DARK, seconds=(1, 9)),
    Kind(name="redis_evicting", inject=redis_faults.evicting, flags=_LOSES, seconds=(1, 4)),
    Kind(name="redis_without_replicas", inject=redis_faults.without_replicas, flags=_DARK, seconds=(2, 9)),
    Kind(name="redis_lazy", inject=pubsub_faults.lazy, flags=_QUIET, seconds=(7, 10)),
    Kind(name="redis_connections_killed", inject=redis_faults.connections_killed, seconds=(2, 6)),
    Kind(name="subscribers_killed", inject=pubsub_faults.subscribers_killed, flags=_DEAF, seconds=(6, 9)),
    Kind(name="subscribers_overrun", inject=pubsub_faults.overrun, flags=_DEAF, seconds=(4, 7)),
    Kind(name="subscribers_half_open", inject=pubsub_faults.half_open, flags=_DEAF, seconds=(11, 18)),
    Kind(name="notifications_off", inject=pubsub_faults.notifications_off, flags=_DEAF, seconds=(11, 20)),
    Kind(name="events_forged", inject=pubsub_faults.forged, flags=_QUIET, seconds=(2, 3)),
    Kind(name="keys_immortal", inject=key_faults.immortal, flags=_QUIET, seconds=(3, 4)),
    Kind(name="mass_death", inject=key_faults.mass_death, seconds=(2, 3)),
    Kind(name="records_deleted", inject=key_faults.records_deleted, seconds=(3, 5)),
    Kind(name="redis_link_hole", inject=wire_faults.reactors_redis(HOLE), flags=_BLIND, seconds=(2, 9)),
    Kind(name="redis_link_slow", inject=wire_faults.reactors_redis(SLOW), seconds=(3, 7)),
    Kind(name="redis_link_drip", inject=wire_faults.reactors_redis(DRIP), seconds=(3, 7)),
    Kind(name="redis_link_gone", inject=wire_faults.reactors_redis(GONE), flags=_BLIND, seconds=(2, 9)),
    Kind(name="redis_link_one_hole", inject=wire_faults.one_reactors_redis(HOLE), seconds=(2, 9)),
    Kind(name="redis_reply_lost", inject=wire_faults.reactors_redis(SCRIPT_LOST), seconds=(3, 5)),
    Kind(name="clients_redis_hole", inject=wire_faults.clients_redis(HOLE), flags=_QUIET, seconds=(2, 9)),
    Kind(name="clients_redis_reply_lost", inject=wire_faults.clients_redis(SCRIPT_LOST), flags=_QUIET, seconds=(4, 6)),
    Kind(name="docker_link_hole", inject=wire_faults.reactors_docker(HOLE), seconds=(2, 9), needs_engine=True),
    Kind(name="docker_link_slow", inject=wire_faults.reactors_docker(SLOW), seconds=(3, 7), needs_engine=True),
    Kind(name="docker_link_drip", inject=wire_faults.reactors_docker(ENGINE_DRIP), seconds=(3, 7), needs_engine=True),
    Kind(name="docker_link_gone", inject=wire_faults.reactors_docker(GONE), seconds=(2, 9), needs_engine=True),
    Kind(name="clients_docker_hole", inject=wire_faults.clients_docker(HOLE), seconds=(2, 9), needs_engine=True),
    Kind(name="create_reply_lost", inject=lost("create"), seconds=(6, 9), needs_engine=True),
    Kind(name="start_reply_lost", inject=lost("start"), seconds=(6, 9), needs_engine=True),
    Kind(name="remove_reply_lost", inject=lost("remove"), seconds=(6, 9), needs_engine=True),
    Kind(name="dockerd_frozen", inject=engine_faults.dockerd_frozen, seconds=(2, 8), needs_engine=True),
    Kind(name="containerd_frozen", inject=engine_faults.containerd_frozen, seconds=(2, 8), needs_engine=True),
    Kind(name="dockerd_killed", inject=engine_faults.dockerd_killed, flags=_DIES, seconds=(0.5, 4), needs_engine=True),
    Kind(name="removal_stuck", inject=engine_faults.stuck, flags=_QUIET, seconds=(8, 11), needs_engine=True),
    Kind(name="docker_events_cut", inject=engine_faults.events_cut, flags=_QUIET, seconds=(5, 8), needs_engine=True),
    Kind(
        name="docker_events_silent",
        inject=engine_faults.events_silent,
        flags=_QUIET,
        seconds=(7, 10),
        needs_engine=True,
    ),
    Kind(name="operator_removes", inject=process_faults.operator_removes, flags=_QUIET, needs_engine=True),
    Kind(name="operator_kills", inject=process_faults.operator_kills, flags=_QUIET, needs_engine=True),
    Kind(name="operator_restarts", inject=process_faults.operator_restarts, flags=_QUIET, needs_engine=True),
    Kind(name="operator_pauses", inject=process_faults.operator_pauses, flags=_QUIET, needs_engine=True),
    Kind(name="orphan_planted", inject=process_faults.orphaned, flags=_QUIET, needs_engine=True),
)


def kinds(runtime: str) -> list[Kind]:
    """Return the faults that a runtime can have."""
    return [kind for kind in CATALOGUE if runtime == "docker" or not kind.needs_engine]
