"""Whether a world has settled: belief and engines agree.

What this is: the comparison that a janitor would make, over the truth. What it is not: a wait. The invariant: it reads
Redis as a client would, so a key that has ended is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faultlab.sim.boxes import Box
    from faultlab.sim.world import World


def disagreements(world: World) -> Iterator[str]:
    """Yield what belief and engines do not agree on."""
    store, named = world.redis.store, set[str]()
    for key in list(store.data):
        parsed = world.observer.keys.parse_session_key(key.decode("latin-1"))
        record = store.look(key)
        if parsed is None or parsed[1] or not isinstance(record, dict):
            continue
        state = record[b"state"].decode()
        if state in ("starting", "ending"):
            yield f"{parsed[0]} is {state}"
        elif state == "running":
            box_id = record[b"container_id"].decode()
            named.add(box_id)
            box = world.engines[record[b"host"].decode()].boxes.get(box_id)
            if box is None or not box.running:
                yield f"{parsed[0]} has no running container"
            if store.look(key + b":heartbeat") is None:
                yield f"{parsed[0]} has no heartbeat"
    for engine in world.engines.values():
        for box in engine.boxes.values():
            if box.box_id not in named:
                yield f"{box.box_id[:6]} is {box.status} and no record names it"


def boxes_of(world: World, session: str) -> list[Box]:
    """Return a session's containers on all engines."""
    return [
        box
        for engine in world.engines.values()
        for box in engine.boxes.values()
        if box.labels.get("session-reactor.session") == session
    ]
