"""What a host's reactors need of Redis besides the protocol: the due index, repairs, and the sending of scripts.

What this is: the index of what to look at when, small repairs, and the loop that sends a script until it is answered.
What it is not: a verdict on a session (`SessionRegistry`). The invariant: a script that doubts what it stands on
(another run id or database id than last seen) changes nothing, and is sent again only after a witness.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, cast

import anyio

from reactor.errors import Unavailable
from reactor.quarantine import GAP_MS
from reactor.registry.reader import BATCH, Reader
from reactor.registry.records import address_fields
from reactor.registry.scripts import Script
from reactor.session import DatabaseId, HostName, SessionId, milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reactor.keys import Keys
    from reactor.registry.evidence import Evidence
    from reactor.registry.link import RedisLink
    from reactor.runtime.protocol import Container

KNOWN = "\0known"
"""Stands for what this process takes Redis for at the moment of sending; nothing while a witness has to look first."""
CLOCK = "\0clock"
"""Stands for what Redis' clock should say at the moment of sending, and for how far off that may be: two arguments."""
Arg = str | int
LONG_GONE = timedelta(minutes=10)
"""A reactor that has not been heard of for so long is not there."""
WORD_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long leases, graces and tombstones are."""

    spawn_lease: timedelta = timedelta(seconds=10)
    """Renewed while the spawner lives; after its death the next acquire is served within this."""
    claim_lease: timedelta = timedelta(seconds=15)
    """Renewed while the engine works; longer than any pause of a healthy reactor."""
    grace: timedelta | None = None
    """What a session gets in a quarantine; None: its own TTL."""
    tombstone: timedelta = timedelta(hours=1)
    """How long an ended session is remembered."""
    max_lifetime: timedelta | None = None
    """Hard end that no heartbeat extends."""


class Upkeep(Reader):
    """One host's index and repairs. Errors as in `SessionRegistry`."""

    def __init__(
        self, link: RedisLink, keys: Keys, evidence: Evidence, *, host: HostName, runtime: str, terms: Terms
    ) -> None:
        """Take the collaborators; nothing is sent yet."""
        super().__init__(link, keys)
        self.evidence = evidence
        self.host = host
        self.runtime = runtime
        self.terms = terms

    async def _settle(self) -> None:
        await self.evidence.witness()

    # ------------------------------------------------------------------ the due index, and repairs

    async def next_due(self, limit: int) -> tuple[list[SessionId], timedelta | None]:
        """Return the sessions to look at now, or how long until the next one (None: nothing waits)."""
        reply = await self._run(Script.NEXT_DUE, (self.keys.due(self.host),), (limit,))
        wait = int(reply[0])
        return [SessionId(i) for i in reply[1:]], None if wait < 0 else timedelta(microseconds=wait)

    async def due_among(self, session_ids: Sequence[SessionId]) -> frozenset[SessionId]:
        """Return those of these ids that are in this host's index."""
        client, key = cast("Any", self.link.client), self.keys.due(self.host)
        found: set[SessionId] = set()
        for start in range(0, len(session_ids), BATCH):
            part = session_ids[start : start + BATCH]
            scores = await self._persist(lambda part=part: client.zmscore(key, part))
            found.update(one for one, score in zip(part, scores, strict=True) if score is not None)
        return frozenset(found)

    async def walk_step(self, cursor: str, count: int) -> list[str]:
        """Return the next cursor ('0': that was all) and the rows of one step over `count` keys; see walk.lua."""
        args = (self.host, cursor, self.keys.session_pattern, count, self.keys.record(SessionId("")))
        return cast("list[str]", await self._run(Script.WALK, (self.keys.due(self.host),), args))

    async def postpone(self, session_id: SessionId, delay: timedelta) -> None:
        """Look at a session later, because this look failed."""
        await self._run(Script.POSTPONE, (self.keys.due(self.host),), (session_id, milliseconds(delay)))

    async def hasten(self, ahead: timedelta, limit: int = 1000) -> int:
        """Bring scores that lie further ahead than `ahead` nearer, `limit` at a time; returns how many."""
        return int(await self._run(Script.HASTEN, (self.keys.due(self.host),), (milliseconds(ahead), limit)))

    async def drop_stray(self, session_id: SessionId) -> None:
        """Remove a heartbeat key that has no record."""
        await self._run(Script.DROP_STRAY, (self.keys.record(session_id), self.keys.heartbeat(session_id)), ())

    async def readdress(self, session_id: SessionId, container: Container) -> None:
        """Note where a restarted container is reached now."""
        args = (container.container_id, *address_fields(container.address))
        await self._run(Script.READDRESS, (self.keys.record(session_id),), args)

    async def mend(self, session_id: SessionId) -> None:
        """Put the TTL of a record right: none while it lives, a tombstone's when it ended."""
        await self._run(Script.MEND, (self.keys.record(session_id),), (milliseconds(self.terms.tombstone),))

    async def note(self, event: str, reason: str) -> None:
        """Write an audit entry that is about the host, not about one session."""
        fields = {"event": event, "session_id": "", "host": self.host, "reason": reason}
        client = cast("Any", self.link.client)
        await self._persist(lambda: client.xadd(self.keys.events, fields, maxlen=10_000, approximate=True))

    async def hear_reactors(self) -> None:
        """Give this host's reactors a moment to say what they met, if none has said for seconds that Redis works.

        Without a pulse of our own, a Redis that hung until just now looks as if nobody had watched it. A reactor that
        lives says so within half a second; after twice that nobody is there to hear.
        """
        client, key = cast("Any", self.link.client), self.keys.seen(self.host)

        async def read() -> list[str | None]:
            return await self._persist(lambda: client.hmget(key, "well_at", "outage_at"))

        first = await read()
        silent_ms = await self.now_ms() - int(first[0] or 0)
        if GAP_MS < silent_ms < LONG_GONE.total_seconds() * 1000:
            with anyio.move_on_after(WORD_SECONDS):
                while await read() == first:  # noqa: ASYNC110 (another process acts)
                    await anyio.sleep(WORD_SECONDS / 10)

    async def bound_db(self) -> DatabaseId | None:
        """Return the database id as it is now: what was read before stands in that database, or in an older one."""
        await self._persist(self.evidence.witness)
        return self.evidence.db or None

    # ------------------------------------------------------------------ sending

    def _session_keys(self, session_id: SessionId) -> tuple[str, ...]:
        keys = self.keys
        return (
            keys.record(session_id), keys.heartbeat(session_id), keys.due(self.host), keys.seen(self.host), keys.meta,
            keys.events,
        )  # fmt: skip

    def _filled(self, args: Sequence[Arg]) -> list[Arg]:
        filled: list[Arg] = []
        for arg in args:
            if arg is KNOWN:
                filled.append(self.evidence.known)
            elif arg is CLOCK:
                filled.extend(self.evidence.expectation.now())
            else:
                filled.append(arg)
        return filled

    async def _run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        async def send() -> Any:
            reply = await self.link.run(script, keys, lambda: self._filled(args))
            if reply == ["UNSURE"]:
                await self._doubted()
            return reply

        return await self._persist(send)

    async def _doubted(self) -> NoReturn:
        """Witness what Redis is now, then have the call repeated."""
        await self._settle()
        message = f"Redis at {self.link.where} lost or rewound its data while it was asked"
        raise Unavailable(message)
