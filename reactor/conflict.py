"""Who holds the name that a spawn needs, and what follows.

What this is: the look at the holder after the engine's 409. What it is not: the spawn. The invariant: never adopted by
name or generation alone; only a container with the spawn's own token is ours, one of another deployment is never
touched, and none is removed by a spawn that was not asked for again right before.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from reactor.errors import SpawnFailed
from reactor.registry import Doomed
from reactor.session import ContainerId

if TYPE_CHECKING:
    from reactor.registry import Record
    from reactor.runtime.protocol import Container, Labels, Member
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


async def resolve(
    ways: Ways, name: str, mine: Labels, holder: ContainerId | None, limit: timedelta
) -> ContainerId | None:
    """Return the holder of `name` if this very spawn made it (its reply was lost), None if the name may be tried again.

    Raises `RegisteredError`, `AgainError` (a newer spawn holds it), `SpawnFailed` for a container that is not ours, or
    `SessionLost` where the spawn is not ours any more; then nothing is removed.
    """
    found = None if holder is None else await ways.runtime.inspect(holder)
    if found is None:
        await anyio.sleep(_PAUSE_SECONDS)
        return None
    theirs, member = found.labels, found.member
    if member is not None and (member.prefix, member.deployment) == (mine.prefix, mine.deployment):
        return await _held_by_member(ways, found, member, mine)
    if theirs is None or (theirs.prefix, theirs.deployment, theirs.session) != (
        mine.prefix,
        mine.deployment,
        mine.session,
    ):
        held = f"is held by a foreign container ({found.container_id[:12]})"
        message = f"the container name {name} {held}; it is left alone"
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


async def _held_by_member(ways: Ways, found: Container, member: Member, mine: Labels) -> None:
    """Deal with a container of the pool that bears this session's name, which is all that says whose it is.

    Where its record may be lost, it is registered as what this spawn made. Else some spawn renamed it and was
    overtaken: a record that names a container is followed by another one only when that container is gone.
    """
    registry = ways.registry
    before = member.db != await registry.bound_db() or member.made_us // 1000 <= registry.evidence.evicted_ms
    if before and found.running:
        labels = replace(mine, template=member.template, ttl=member.ttl, db=member.db)
        with suppress(Doomed):
            record = await registry.register(found, labels, instead_of=mine.token, member=member)
            if record is None:
                raise AgainError
            raise RegisteredError(record)
    await _take_away(ways, found, mine)


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
    # It may be a spawn that began before the loss and is about to start. Ages are told by Redis' clock, or, where that
    # was set back, by how long this process has seen it.
    if ways.ages.of(theirs.generation, await ways.registry.now_ms()) > limit:
        await _take_away(ways, found, mine)
        return None
    await anyio.sleep(_PAUSE_SECONDS * 5)
    return None
