"""Whether a world has settled: belief and engines agree.

What this is: the comparison that a janitor would make, over the truth. What it is not: a wait. The invariant: it reads
Redis as a client would, so a key that has ended is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faultlab.sim.boxes import Box
    from faultlab.sim.engine import SimEngine
    from faultlab.sim.world import World

LABEL = "session-reactor."


def disagreements(world: World) -> Iterator[str]:
    """Yield what belief and engines do not agree on."""
    named = set[str]()
    yield from _of_records(world, named)
    for engine in world.engines.values():
        yield from _of_engine(engine, named)


def _of_records(world: World, named: set[str]) -> Iterator[str]:
    store = world.redis.store
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
            box = world.engine(record[b"host"].decode()).boxes.get(box_id)
            if box is None or not box.running:
                yield f"{parsed[0]} has no running container"
            if store.look(key + b":heartbeat") is None:
                yield f"{parsed[0]} has no heartbeat"


def _of_engine(engine: SimEngine, named: set[str]) -> Iterator[str]:
    for box in engine.boxes.values():
        if is_ours(box) and box.box_id not in named:
            yield f"{box.box_id[:6]} is {box.status} and no record names it"
    for volume, box_id in engine.volumes.items():
        if box_id not in engine.boxes:
            yield f"volume {volume} is left"


def is_ours(box: Box) -> bool:
    """Whether a container is of the deployment that plays here."""
    return (box.labels.get(LABEL + "prefix"), box.labels.get(LABEL + "deployment")) == ("mcp", "sim")


def boxes_of(world: World, session: str) -> list[Box]:
    """Return a session's containers on all engines."""
    return [
        box
        for engine in world.engines.values()
        for box in engine.boxes.values()
        if is_ours(box) and box.labels.get(LABEL + "session") == session
    ]
