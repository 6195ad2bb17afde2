"""The names that one engine has borne, and the sessions that follow it to a new one.

What this is: what Redis knows of an engine's names, and the move of records and index from one to another. What it is
not: the proof that an engine really is the one that bore the old name (`reactor.rename`). The invariant: a session
is in the index of the host that its record names, at every moment of a move.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from reactor.registry.records import Record
from reactor.registry.scripts import Script
from reactor.registry.upkeep import Upkeep
from reactor.session import HostName, SessionId, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reactor.runtime.protocol import Engine

BATCH = 200
"""Records that move in one step: a few milliseconds of Redis."""
ROUNDS = 10
"""How often the old index is emptied again while somebody goes on filling it."""


class Naming(Upkeep):
    """One host's names. It shares its link with the registry: enter neither twice. Errors as in `SessionRegistry`."""

    async def alike(self, engine: Engine) -> dict[HostName, HostName | None]:
        """Return the other host names bound to an engine of this ID and root, and what each was renamed to.

        Machines copied from one image may share an ID, so this alone proves nothing.
        """
        client = cast("Any", self.link.client)
        listed = await self._persist(lambda: client.smembers(self.keys.hosts))
        others = sorted(HostName(name) for name in listed if name != self.host)

        async def read() -> list[Any]:
            pipe = client.pipeline(transaction=False)
            for name in others:
                pipe.hmget(self.keys.engine(name), "id", "root", "renamed")
            return cast("list[Any]", await pipe.execute())

        found = zip(others, await self._persist(read) if others else [], strict=True)
        ours = (engine.engine_id, engine.root)
        return {name: renamed and HostName(renamed) for name, (known, root, renamed) in found if (known, root) == ours}

    async def begin(self, old: HostName, engine: Engine) -> timedelta | None:
        """Make the old name nobody's; returns how long a reactor may still go by it, zero if none does.

        None: the old name is another engine's. Nothing was changed unless the answer is zero.
        """
        keys = self.keys
        names = (keys.engine(old), keys.engine(self.host), keys.seen(old), keys.seen(self.host), keys.events)
        reply = await self._run(Script.RENAME_HOST, names, (engine.engine_id, engine.root, old, self.host))
        match reply[0]:
            case "OK":
                return timedelta(0)
            case "PRESENT":
                return timedelta(milliseconds=int(reply[1]))
            case _:
                return None

    async def move(self, old: HostName) -> bool:
        """Give every session of the old name the new one; False: not all, it was renamed once more meanwhile.

        Interrupted, each session is still in one index, its own; repeated, the move goes on.
        """
        async for batch in self.scan():
            found = ((session_id, record) for session_id, record in batch.items() if isinstance(record, Record))
            ids = sorted(i for i, record in found if record.host == old and record.state is not State.ENDED)
            if ids and await self._step(old, ids) != "MOVED":
                return False
        await self._move_pools(old)
        key = self.keys.due(old)
        for _ in range(ROUNDS):
            members = await self._persist(lambda: cast("Any", self.link.client).zrange(key, 0, -1))
            for start in range(0, len(members), BATCH):
                await self._step(old, members[start : start + BATCH])
            if await self._step(old, []) == "DONE":
                return True
        return False

    async def _move_pools(self, old: HostName) -> None:
        """Let the new name know which sessions have containers of the old one's pools, and forget those pools.

        What waited in them is in no pool now: the janitor removes it.
        """
        client, ours, theirs = cast("Any", self.link.client), self.keys.taken(self.host), self.keys.taken(old)
        taken: dict[str, str] = await self._persist(lambda: client.hgetall(theirs))
        if taken:
            await self._persist(lambda: client.hset(ours, mapping=taken))
        await self.forget_pools(old)

    async def _step(self, old: HostName, ids: Sequence[SessionId]) -> str:
        keys = self.keys
        names = [keys.due(old), keys.due(self.host), keys.engine(old), keys.hosts, *(keys.record(i) for i in ids)]
        return (await self._run(Script.REHOST, names, (old, self.host, *ids)))[0]
