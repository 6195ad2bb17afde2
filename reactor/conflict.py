"""Who holds the name that a spawn needs, and what follows.

What this is: the look at the holder after the engine's 409. What it is not: the spawn. The invariant: never adopted by
name or generation alone; only a container with the spawn's own token is ours, one of another deployment is never
touched, and none is removed by a spawn that was not asked for again right before.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from reactor.errors import SpawnFailed
from reactor.session import ContainerId

if TYPE_CHECKING:
    from reactor.registry import Record
    from reactor.runtime.protocol import Container, ContainerSpec, Labels
    from reactor.teardown import Ways

_PAUSE_SECONDS = 0.05


class AgainError(Exception):
    """What was reserved is not ours any more, or not usable: reserve again."""


class RegisteredError(Exception):
    """The holder was a session's own container from before a data loss: it has its record again."""

    def __init__(self, record: Record) -> None:
        """Note the record."""
        super().__init__("registered")
        self.record = record


async def resolve(ways: Ways, spec: ContainerSpec, holder: ContainerId | None, limit: timedelta) -> ContainerId | None:
    """Return the holder if this very spawn made it (its reply was lost), None if the name may be tried again.

    Raises `RegisteredError`, `AgainError` (a newer spawn holds it), `SpawnFailed` for a container that is not ours, or
    `SessionLost` where the spawn is not ours any more; then nothing is removed.
    """
    found = None if holder is None else await ways.runtime.inspect(holder)
    if found is None:
        await anyio.sleep(_PAUSE_SECONDS)
        return None
    mine, theirs = spec.labels, found.labels
    if theirs is None or (theirs.prefix, theirs.deployment, theirs.session) != (
        mine.prefix,
        mine.deployment,
        mine.session,
    ):
        held = f"is held by a foreign container ({found.container_id[:12]})"
        message = f"the container name {spec.name} {held}; it is left alone"
        raise SpawnFailed(message)
    if theirs.token == mine.token:
        return found.container_id
    # What Redis is now decides: the record of an older spawn may be gone since this one was reserved.
    before = theirs.db != await ways.registry.bound_db()
    if not before and theirs.generation > mine.generation:
        raise AgainError
    if before or theirs.generation // 1000 <= ways.registry.evidence.evicted_ms:
        return await _from_before(ways, found, mine, theirs, limit)
    await _take_away(ways, found, mine)
    return None


async def _take_away(ways: Ways, found: Container, mine: Labels) -> None:
    # Asked right before, as in every removal: while we paused, a failover may have given the session back to the
    # holder's spawn.
    await ways.registry.renew(mine.session, mine.token, mine.db)
    await ways.runtime.remove(found.container_id, grace=timedelta(0))


async def _from_before(
    ways: Ways, found: Container, mine: Labels, theirs: Labels, limit: timedelta
) -> ContainerId | None:
    """Deal with one whose record Redis may have lost: one that runs is registered, a dead one removed when old."""
    if found.running:
        record = await ways.registry.register(found, theirs, instead_of=mine.token)
        if record is None:
            raise AgainError
        raise RegisteredError(record)
    # It may be a spawn that began before the loss and is about to start. Ages are told by Redis' clock alone.
    age_ms = await ways.registry.now_ms() - theirs.generation // 1000
    if timedelta(milliseconds=age_ms) > limit:
        await _take_away(ways, found, mine)
        return None
    await anyio.sleep(_PAUSE_SECONDS * 5)
    return None
