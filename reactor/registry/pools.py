"""The index of warm containers: what waits for a session, what a session has taken, what is on its way out.

What this is: the verbs over two hashes of a host, `pool` for each template and `taken`. What it is not: who makes or
removes a container (`reactor.pool`). The invariant: a container of a pool is in one place: in the making, ready, named
by a record, or doomed; each step between them is one script that compares what it replaces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from reactor.errors import ForeignData, Unavailable
from reactor.registry.lost import lost
from reactor.registry.scripts import Script
from reactor.registry.upkeep import KNOWN, Upkeep
from reactor.session import ContainerId, DatabaseId, SessionId, Token, milliseconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping
    from datetime import timedelta

    from reactor.runtime.protocol import Container, Member

ASKED = "asked"
"""The one field of a pool that is no container's: when somebody last wanted one (Redis' clock, ms)."""
DOOMED = "doomed"
LOST = "lost"
MAKING = "making"
READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a pool says of one container, as it was read. `at_ms`: until when it is made, or since when it is lost."""

    raw: str = ""
    word: str = ""
    container_id: ContainerId | None = None
    db: DatabaseId | None = None
    shape: str = ""
    at_ms: int = 0


NOTHING = Entry()


def parse_entry(raw: str) -> Entry:
    """Read one value of a pool; what cannot be read has a word that nobody knows, and is left alone."""
    match raw.split(" "):
        case ["ready", container_id, db, shape]:
            return Entry(raw=raw, word=READY, container_id=ContainerId(container_id), db=DatabaseId(db), shape=shape)
        case [("making" | "lost") as word, at] if at.isdecimal():
            return Entry(raw=raw, word=word, at_ms=int(at))
        case _:
            return Entry(raw=raw, word=raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolIndex:
    """Both hashes as they were read: the pools first, then what is taken."""

    entries: Mapping[str, Mapping[Token, Entry]] = field(default_factory=dict[str, "Mapping[Token, Entry]"])
    """By template."""
    asked_ms: Mapping[str, int] = field(default_factory=dict[str, int])
    taken: Mapping[Token, str] = field(default_factory=dict[Token, str])

    def entry(self, member: Member) -> Entry:
        """Return what its pool says of a container."""
        return self.entries.get(member.template, {}).get(member.token, NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Room for a container: its entry, and Redis' clock in microseconds."""

    entry: str
    now_us: int


class Pools(Upkeep):
    """One host's warm containers. Errors as in `SessionRegistry`."""

    async def take(self, session_id: SessionId, token: Token, template: str, shape: str) -> ContainerId | None:
        """Take a ready container for the spawn of this token, whose record names it from here on; None: there is none.

        Repeating it gives the same one. Raises `SessionLost`.
        """
        keys = (*self._session_keys(session_id), *self._pool_keys(template))
        reply = await self._run(Script.TAKE, keys, (session_id, self.host, token, shape, KNOWN))
        match reply[0]:
            case "TAKEN":
                return ContainerId(reply[1])
            case "NONE":
                return None
            case _:
                raise lost(session_id, reply[1])

    async def slot(self, template: str, member: Token, size: int, lease: timedelta) -> Slot | None:
        """Ask for room for one more container, until `lease` is over; None where the pool is full."""
        keys = (self.keys.seen(self.host), self.keys.meta, self.keys.pool(self.host, template))
        reply = await self._run(Script.SLOT, keys, (member, size, milliseconds(lease), KNOWN))
        return Slot(entry=reply[1], now_us=int(reply[2])) if reply[0] == "SLOT" else None

    async def mark(self, template: str, member: Token, was: tuple[str, str], wanted: str) -> bool:
        """Replace what both indices say of a container, `was`, by `wanted` ('' forgets it); False: it was not so.

        Repeating it is fine.
        """
        keys = (self.keys.seen(self.host), self.keys.meta, *self._pool_keys(template))
        return (await self._run(Script.MARK, keys, (member, *was, wanted, KNOWN)))[0] == "OK"

    async def stock(self, member: Member, container_id: ContainerId, slot: str) -> bool:
        """List a started container as ready; False where its slot is not there any more: it is nobody's."""
        ready = f"{READY} {container_id} {member.db} {member.shape}"
        return await self.mark(member.template, member.token, (slot, ""), ready)

    async def pool_index(self, templates: Collection[str]) -> PoolIndex:
        """Return what is known of the warm containers of these templates, then of all that are taken.

        In this order: what is taken in between is in both, never in none.
        """
        client, names = cast("Any", self.link.client), sorted(templates)

        async def read() -> list[Any]:
            pipe = client.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(self.keys.pool(self.host, name))
            pipe.hgetall(self.keys.taken(self.host))
            return cast("list[Any]", await pipe.execute())

        *pools, taken = await self._understood(read)
        listed = dict(zip(names, cast("list[dict[str, str]]", pools), strict=True))
        return PoolIndex(
            entries={
                name: {Token(token): parse_entry(raw) for token, raw in pool.items() if token != ASKED}
                for name, pool in listed.items()
            },
            asked_ms={name: int(pool[ASKED]) for name, pool in listed.items() if ASKED in pool},
            taken={Token(token): str(value) for token, value in taken.items()},
        )

    async def pool_entries(self, template: str) -> PoolIndex:
        """Return one pool alone, without what is taken: a look that costs nothing."""
        client, key = cast("Any", self.link.client), self.keys.pool(self.host, template)
        pool: dict[str, str] = await self._understood(lambda: client.hgetall(key))
        entries = {Token(token): parse_entry(raw) for token, raw in pool.items() if token != ASKED}
        asked = {template: int(pool[ASKED])} if ASKED in pool else {}
        return PoolIndex(entries={template: entries}, asked_ms=asked)

    async def taken_by(self, member: Token) -> SessionId | None:
        """Return the session that has a container of the pool; None where none was written down."""
        client, key = cast("Any", self.link.client), self.keys.taken(self.host)
        value: str | None = await self._understood(lambda: client.hget(key, member))
        return SessionId(value.partition(" ")[2]) if value else None

    async def _understood(self, read: Callable[[], Awaitable[Any]]) -> Any:
        """Read an index; one of another type says nothing, so nothing may be concluded from it."""
        try:
            return await self._persist(read)
        except ForeignData as error:
            raise Unavailable(str(error)) from error

    def _pool_keys(self, template: str) -> tuple[str, str]:
        return self.keys.pool(self.host, template), self.keys.taken(self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A container of a pool as it was judged, and what both indices said of it then."""

    container: Container
    member: Member
    entry: str
    taken: str
