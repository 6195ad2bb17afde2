"""Redis read, and the heartbeat: what needs no engine, no host and no right to change a session.

What this is: get, list, heartbeat, the audit stream. What it is not: the protocol (`SessionRegistry`). The invariant:
reading never refreshes anything; only `heartbeat` touches a key, with the same EXPIRE that any client sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from reactor.errors import ForeignData, SessionNotFound, Unavailable
from reactor.registry.link import RedisLink, RunIdChanged
from reactor.registry.records import Record, parse_record
from reactor.registry.translation import redis_errors
from reactor.retry import persisted, redis_policy
from reactor.session import SessionId, State, from_ms, milliseconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from datetime import datetime
    from types import TracebackType

    from reactor.keys import Keys
    from reactor.session import HostName

T = TypeVar("T")
BATCH = 500
"""Records read in one round trip."""
LONGEST_WORD_MS = 60_000
"""No reactor says that it watches for so long: such a word is from before the clock was set back. As in shared.lua."""
Found = Record | ForeignData | None


class Reader:
    """Reads sessions of one prefix. Use as an async context manager; entering connects."""

    def __init__(self, link: RedisLink, keys: Keys) -> None:
        """Take a link that nobody else closes; nothing is sent yet."""
        self.link = link
        self.keys = keys

    async def __aenter__(self) -> Self:
        """Connect. Raises `Unavailable`, `PermissionRefused`."""
        await self._settle()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.link.aclose()

    async def _settle(self) -> None:
        # A reader gives no verdicts, so it may go on with whatever server answers.
        await self.link.trust(await self.link.look())

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat an idempotent call over outages of a few seconds and over a change of the server."""
        return await persisted(lambda: self._try(call), redis_policy)

    async def _try(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            with redis_errors(self.link.where):
                return await call()
        except RunIdChanged:
            await self._settle()
            raise

    async def heartbeat(self, session_id: SessionId) -> bool:
        """Send the session's EXPIRE, as a client would; False: the session is over or was never there."""
        client = cast("Any", self.link.client)

        async def beat() -> bool:
            ttl_ms = await client.hget(self.keys.record(session_id), "ttl_ms")
            if ttl_ms is None:
                return False
            return bool(await client.expire(self.keys.heartbeat(session_id), int(ttl_ms) // 1000))

        return await self._persist(beat)

    async def get(self, session_id: SessionId) -> Record:
        """Return the record of a session that is not over; raises `SessionNotFound`, `ForeignData`."""
        found = (await self.records([session_id]))[session_id]
        if isinstance(found, ForeignData):
            raise found
        if found is None or found.state is State.ENDED:
            message = f"no session {session_id}"
            raise SessionNotFound(message)
        return found

    async def records(self, session_ids: Sequence[SessionId]) -> dict[SessionId, Found]:
        """Return what is known of each id in one round trip; a record of another schema or type is its error."""

        async def read() -> list[Any]:
            pipe = cast("Any", self.link.client.pipeline(transaction=False))
            for session_id in session_ids:
                pipe.hgetall(self.keys.record(session_id))
                pipe.pttl(self.keys.heartbeat(session_id))
                pipe.pttl(self.keys.record(session_id))
            return cast("list[Any]", await pipe.execute(raise_on_error=False))

        replies = await self._persist(read)
        rows = zip(session_ids, replies[::3], replies[1::3], replies[2::3], strict=True)
        return {session_id: _found(session_id, fields, left, own) for session_id, fields, left, own in rows}

    async def scan(self) -> AsyncIterator[dict[SessionId, Found]]:
        """Yield what is known of every id of the prefix that has a record, in batches.

        An id may come more than once (SCAN). Ids that come or go meanwhile may be missed.
        """
        cursor = 0
        while True:
            cursor, names = await self._persist(lambda at=cursor: self._scan_step(at))
            pairs = (pair for pair in map(self.keys.parse_session_key, names) if pair is not None)
            ids = list(dict.fromkeys(session_id for session_id, is_heartbeat in pairs if not is_heartbeat))
            if ids:
                yield await self.records(ids)
            if cursor == 0:
                return

    async def _scan_step(self, cursor: int) -> tuple[int, list[str]]:
        client = cast("Any", self.link.client)
        at, names = await client.scan(cursor, match=self.keys.session_pattern, count=BATCH)
        return int(at), cast("list[str]", names)

    async def read_events(self, after: str, *, block_ms: int | None = None) -> list[tuple[str, dict[str, str]]]:
        """Return up to 500 audit entries after a stream id ('0' for the oldest); waits `block_ms` for one if given."""

        async def read() -> Any:
            return await cast("Any", self.link.client).xread({self.keys.events: after}, count=BATCH, block=block_ms)

        reply = cast("list[tuple[str, list[tuple[str, dict[str, str]]]]]", await self._persist(read) or [])
        return [(entry[0], entry[1]) for _, entries in reply for entry in entries]

    async def forget_pools(self, host: HostName) -> None:
        """Delete both indices of a host's warm containers. Repeating it is fine."""
        client, cursor, names = cast("Any", self.link.client), 0, [self.keys.taken(host)]
        while True:
            scan = lambda at=cursor: client.scan(at, match=self.keys.pools(host), count=BATCH)  # noqa: E731 (once)
            cursor, found = await self._persist(scan)
            names += found
            if int(cursor) == 0:
                break
        await self._persist(lambda: client.delete(*names))

    async def is_watched(self, host: HostName) -> bool:
        """Whether a reactor of this host said within the last seconds that it watches the host's engine."""
        client = cast("Any", self.link.client)
        until = await self._persist(lambda: client.hget(self.keys.seen(host), "watched_until"))
        left = int(until or 0) - await self.now_ms()
        return 0 < left <= LONGEST_WORD_MS

    async def doubts(self) -> list[tuple[HostName, str, datetime]]:
        """Return each quarantine and outage that was written last, by host, with when it began; it may be over."""
        client = cast("Any", self.link.client)
        found: list[tuple[HostName, str, datetime]] = []
        names = ("quarantine", "quarantine_at", "outage", "outage_at")
        for host in sorted(await self._persist(lambda: client.smembers(self.keys.hosts))):
            values = await self._persist(lambda at=host: client.hmget(self.keys.seen(at), names))
            pairs = zip(values[::2], values[1::2], strict=True)
            found += [(host, reason, from_ms(int(at))) for reason, at in pairs if reason and at]
        return found

    async def now_ms(self) -> int:
        """Return Redis' clock."""
        seconds, micros = await self._persist(lambda: cast("Any", self.link.client).time())
        return int(seconds) * 1000 + int(micros) // 1000


def _found(session_id: SessionId, fields: object, left: object, own_left: object) -> Found:
    if isinstance(fields, Exception) or isinstance(left, Exception):
        with_type = str(fields if isinstance(fields, Exception) else left)
        if with_type.startswith("WRONGTYPE"):
            return ForeignData(f"the record key of session {session_id} is no hash; it is left alone, DEL it")
        message = f"cannot read the record of session {session_id}: {with_type}"
        raise Unavailable(message)
    known = cast("dict[str, str]", fields)
    if not known:
        return None
    try:
        return parse_record(session_id, known, int(cast("int", left)), has_ttl=own_left != -1)
    except ForeignData as error:
        return error


def whole_seconds(record: Record) -> int:
    """Return the TTL as a client sends it."""
    return milliseconds(record.ttl) // 1000
