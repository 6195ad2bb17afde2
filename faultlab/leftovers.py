"""What is still there after everything has ended: containers, processes and keys of ours.

What this is: one look, past every proxy. What it is not: a removal. The invariant: what lasts by design (the meta
hash, hosts, events, `seen`, the engine's binding, tombstones with a TTL) is not reported.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from faultlab.observer.process_truth import ProcessTruth
from faultlab.observer.processes import Scanner
from faultlab.parts import PREFIX
from faultlab.wire import ask

if TYPE_CHECKING:
    from faultlab.world import World

LABEL = "session-reactor."
_LASTING = re.compile(rf"{PREFIX}:(hosts|events|meta|host:[^:]+:(seen|engine))")


async def leftovers(world: World) -> tuple[list[str], list[str], list[str]]:
    """Return the containers of the deployment, those of them that have a process, and keys that should be gone."""
    containers = await containers_of(world)
    scanner = Scanner(world.writer)
    scanner.look()
    processes = [container for container in containers if scanner.runs(container)]
    return containers, processes, await _keys(world)


async def containers_of(world: World) -> list[str]:
    """Return the containers of the deployment, in any state."""
    ours = {f"{LABEL}prefix": PREFIX, f"{LABEL}deployment": world.deployment}
    found: list[str] = []
    for host in world.hosts:
        if host.engine is None:
            found += ProcessTruth(host.name, host.state, ours, world.writer, Scanner(world.writer)).ours()
            continue
        status, listed = await ask(host.engine.socket, "GET", "/containers/json?all=1", timeout=20)
        if status != 200:
            message = f"the engine of {host.name} answered {status}"
            raise OSError(message)
        found += [one["Id"] for one in listed if ours.items() <= (one.get("Labels") or {}).items()]
    return [container for container in found if container not in world.decoys.containers]


async def _keys(world: World) -> list[str]:
    found: list[str] = []
    for name in sorted(cast("list[str]", await world.admin.keys(f"{PREFIX}:*"))):
        if _LASTING.fullmatch(name) or await world.admin.ttl(name) > 0:
            continue
        if name.endswith(":due"):
            found += [f"{name} -> {one}" for one in await world.admin.zrange(name, 0, 4)]
        else:
            found.append(name)
    return found
