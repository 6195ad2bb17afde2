"""Containers that look like a session's: one to be removed, the others never.

What this is: an orphan, and decoys with look-alike labels. What it is not: the judgement of the janitor. The invariant:
a decoy is known by its name to this program alone, so that nobody else removes it and nothing of it stays.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from reactor.errors import Unavailable
from reactor.keys import container_name
from reactor.runtime.protocol import ContainerSpec, Labels
from reactor.session import DatabaseId, Generation, SessionId, new_token

if TYPE_CHECKING:
    from reactor.selftest.bench import Bench
    from reactor.selftest.own import Own
    from reactor.session import ContainerId, HostName
    from reactor.throwaway import PlainRedis

_SESSION: Final = SessionId("decoy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoy:
    """One decoy, and all that was known of it when it was made."""

    container_id: ContainerId
    name: str
    fingerprint: object


async def plant_decoys(own: Own, bench: Bench, redis: PlainRedis, host: HostName) -> list[Decoy]:
    """Start them: one of another deployment, one whose prefix only begins alike, one without a label."""
    ours = await _labels(own, bench, redis, host, _SESSION)
    made: dict[str, ContainerId | None] = {}
    for kind, prefix, deployment in (("foreign", own.prefix, own.another), ("near", f"{own.prefix}0", own.deployment)):
        labels = replace(ours, prefix=prefix, deployment=deployment)
        made[own.decoy(kind)] = await _run(bench, own.decoy(kind), labels)
    made[own.decoy("bare")] = await bench.plant_bare(own)
    return [
        Decoy(container_id=container_id, name=name, fingerprint=await bench.fingerprint(container_id))
        for name, container_id in made.items()
        if container_id is not None
    ]


async def plant_orphan(own: Own, bench: Bench, redis: PlainRedis, host: HostName) -> ContainerId:
    """Start a container with this run's own labels that no record knows."""
    session_id = SessionId("orphan")
    labels = await _labels(own, bench, redis, host, session_id)
    return await _run(bench, container_name(own.prefix, own.deployment, session_id), labels)


async def changed(bench: Bench, decoys: list[Decoy]) -> list[str]:
    """Return what happened to the decoys, one line each; nothing should have."""
    found: list[str] = []
    for decoy in decoys:
        now = await bench.fingerprint(decoy.container_id)
        if now != decoy.fingerprint:
            what = "is gone" if now is None else "is not as it was"
            found.append(f"decoy {decoy.name} {what}")
    return found


async def _labels(own: Own, bench: Bench, redis: PlainRedis, host: HostName, session_id: SessionId) -> Labels:
    db = await redis.send("HGET", own.keys.meta, "db")
    if not db:
        raise Unavailable(f"{own.keys.meta} has no database id; does somebody delete keys in this Redis?")
    return Labels(
        prefix=own.prefix,
        deployment=own.deployment,
        host=host,
        db=DatabaseId(db),
        session=session_id,
        generation=Generation(time.time_ns() // 1000),
        template=bench.template.name,
        ttl=timedelta(seconds=2),
        token=new_token(),
    )


async def _run(bench: Bench, name: str, labels: Labels) -> ContainerId:
    container_id = await bench.runtime.create(ContainerSpec(name=name, labels=labels, template=bench.template))
    await bench.runtime.start(container_id)
    return container_id
