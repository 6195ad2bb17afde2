"""What Redis knows of a host that may never return, and how its sessions are freed.

What this is: the way out for the records of a whole host, without its engine. What it is not: a teardown; nobody can
reach those containers. A host that returns all the same finds each record ended or of a newer generation, and removes
what it still runs. The invariant: a host whose reactor runs is not forgotten by mistake: each step asks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from reactor.errors import ForeignData, ReactorError
from reactor.registry.reader import Reader
from reactor.registry.records import Record
from reactor.registry.scripts import Script
from reactor.registry.upkeep import Terms
from reactor.session import HostName, SessionId, State, milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

BATCH = 200
"""Records that end in one step: a few milliseconds of Redis."""
TOMBSTONE = Terms().tombstone
ROUNDS = 10
"""How often the index is emptied again while somebody goes on filling it."""


class HostNotFound(ReactorError):
    """No host of this name has or had sessions."""

    exit_code: ClassVar[int] = 1


class HostPresent(ReactorError):
    """The host is there: a reactor of it runs, or somebody starts sessions on it. Once that is stopped, try again."""

    exit_code: ClassVar[int] = 75


class Hosts(Reader):
    """The hosts of one prefix, as anybody with a connection to Redis sees them. Entering connects."""

    async def known(self, host: HostName) -> bool:
        """Whether Redis knows anything of this host."""
        keys = self.keys
        client = cast("Any", self.link.client)
        names = (keys.seen(host), keys.due(host), keys.engine(host))
        listed = await self._persist(lambda: client.sismember(keys.hosts, host))
        return bool(listed) or bool(await self._persist(lambda: client.exists(*names)))

    async def deployment(self) -> str:
        """Return the deployment that this Redis and prefix belong to; '' where none was written yet."""
        return await self._persist(lambda: cast("Any", self.link.client).hget(self.keys.meta, "deployment")) or ""

    async def sessions(self, host: HostName) -> list[SessionId]:
        """Return the ids of the host's sessions that are not over, sorted."""
        ids: dict[SessionId, None] = {}
        async for batch in self.scan():
            for session_id, found in batch.items():
                if isinstance(found, Record) and found.host == host and found.state is not State.ENDED:
                    ids[session_id] = None
        return sorted(ids)

    async def forget(self, host: HostName, *, force: bool = False, tombstone: timedelta = TOMBSTONE) -> int:
        """End every record of a host, then forget its name; return how many sessions were freed.

        Interrupted, the rest is left as it was; repeated, it goes on. Raises `HostNotFound`; `HostPresent` while a
        reactor of the host runs, unless `force`, or where sessions are started there faster than they are freed;
        `ForeignData` where records of the host cannot be read: they, and what is known of the host, are left then.
        """
        if not await self.known(host):
            message = f"no host {host!r} has or had sessions with prefix {self.keys.prefix!r}"
            raise HostNotFound(message)
        freed, unreadable = await self._free(host, await self.sessions(host), tombstone, force=force)
        for _ in range(ROUNDS):
            ids = [i for i in await self._indexed(host) if i not in unreadable]
            more, bad = await self._free(host, ids, tombstone, force=force)
            freed, unreadable = freed + more, unreadable | bad
            if unreadable:
                message = (
                    f"{freed} sessions of host {host} were freed; left alone: {', '.join(sorted(unreadable))}, whose "
                    "records this version does not know (newer version running?)"
                )
                raise ForeignData(message)
            await self.forget_pools(host)
            if await self._step(host, [], tombstone, force=force) == ["GONE"]:
                return freed
        message = f"host {host} is not gone: sessions are started there all the time; stop those who acquire, try again"
        raise HostPresent(message)

    async def _indexed(self, host: HostName) -> list[SessionId]:
        key = self.keys.due(host)
        members = await self._persist(lambda: cast("Any", self.link.client).zrange(key, 0, -1))
        return [SessionId(member) for member in members]

    async def _free(
        self, host: HostName, ids: Sequence[SessionId], tombstone: timedelta, *, force: bool
    ) -> tuple[int, set[SessionId]]:
        freed, unreadable = 0, set[SessionId]()
        for start in range(0, len(ids), BATCH):
            reply = await self._step(host, ids[start : start + BATCH], tombstone, force=force)
            freed += int(reply[1])
            unreadable.update(SessionId(i) for i in reply[2:])
        return freed, unreadable

    async def _step(self, host: HostName, ids: Sequence[SessionId], tombstone: timedelta, *, force: bool) -> list[str]:
        keys = self.keys
        names = [keys.seen(host), keys.due(host), keys.engine(host), keys.hosts, keys.events]
        names += [name for i in ids for name in (keys.record(i), keys.heartbeat(i))]
        args = (host, "1" if force else "0", keys.wake(host), milliseconds(tombstone), *ids)
        reply = cast("list[str]", await self._persist(lambda: self.link.run(Script.FORGET, names, args)))
        if reply[0] == "PRESENT":
            message = (
                f"a reactor runs on host {host}: its sessions are not lost; stop it first and try again in a few "
                "seconds, or --force ends them all"
            )
            raise HostPresent(message)
        return reply
