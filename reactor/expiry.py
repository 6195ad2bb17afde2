"""What has ended: deadlines and events become session ids in a queue.

What this is: the two detectors that live on Redis, and the canary that proves the second. What it is not: a verdict; an
id in the queue is a hint, `examine` decides. The invariant: the deadline detector alone is enough, whatever becomes of
the notifications; an event only makes an early end known sooner.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio

from reactor.errors import ReactorError
from reactor.registry import Lane, Probe, redis_errors
from reactor.registry.subscription import Subscription
from reactor.registry.verdicts import Claimable, Claimed, Grace, Verdict
from reactor.session import DatabaseId, Detector, SessionId, Token, milliseconds, new_token
from reactor.teardown import Claim, log_grace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reactor.registry import Pulse, SessionRegistry
    from reactor.trouble import Trouble

logger = logging.getLogger(__name__)

BATCH = 200
"""Sessions looked at in one round trip."""
LONGEST_SLEEP = timedelta(seconds=1)
"""New sessions and marks of other hosts come without a message; the shortest TTL is twice this."""
UNREADABLE = timedelta(seconds=30)
"""When to look again at a record that is not ours to touch."""
AHEAD = timedelta(seconds=20)
"""Without notifications every session is looked at this often, so that an early DEL is seen."""
CANARY_EVERY = 5.0
CANARY_LIMIT = 2.0
TELL_EVERY = 2.0
ASK_EVERY = 0.5
WATCHED_FOR = timedelta(seconds=5)
"""How long callers believe that a host's engine is watched after they last heard so."""
_DELETED = b"del"
_ENDINGS = frozenset({b"expired", _DELETED, b"evicted", b"rename_from", b"move_from"})
_CANARY_ENDINGS = frozenset({b"expired", b"del"})


class Enqueue(Protocol):
    """Where ids go."""

    def __call__(
        self,
        session_id: SessionId,
        detector: Detector,
        /,
        *,
        deleted: DatabaseId | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Take an id; `deleted`: its heartbeat key was heard to be deleted while Redis had this database id.

        `claim`: it is over, and ours to tear down.
        """
        ...


class Hands(Protocol):
    """Who tears down."""

    async def room(self) -> int:
        """Wait until some can be torn down soon, and return how many."""
        ...

    def claimable(self, session_id: SessionId, /) -> bool:
        """Whether this one may be claimed before a hand takes it."""
        ...


class Deadlines:
    """Looks at each session when its score is due; the living get a new score, the others are claimed or enqueued.

    No state is kept here but `looking`, the ids of the look under way: a restart forgets nothing, two reactors share
    the work.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        enqueue: Enqueue,
        hands: Hands,
    ) -> None:
        """Take where ids go, and who tears down: what he has room for is claimed at once."""
        self._registry = registry
        self._enqueue = enqueue
        self._hands = hands
        self.looking: frozenset[SessionId] = frozenset()

    async def watch(self, trouble: Trouble) -> None:
        """Go on for ever; cancelling it loses nothing."""
        while True:
            await trouble.persist(self._look_once)

    async def _look_once(self) -> None:
        ids, wait = await self._registry.next_due(min(BATCH, await self._hands.room()))
        if not ids:
            pause = LONGEST_SLEEP if wait is None else min(wait, LONGEST_SLEEP)
            await anyio.sleep(pause.total_seconds())
            return
        self.looking = frozenset(ids)
        tokens = {session_id: new_token() for session_id in ids if self._hands.claimable(session_id)}
        try:
            for session_id, verdict in (await self._registry.look(ids, tokens)).items():
                await self._act_on(session_id, verdict, tokens)
        finally:
            self.looking = frozenset()

    async def _act_on(
        self, session_id: SessionId, verdict: Verdict | ReactorError, tokens: Mapping[SessionId, Token]
    ) -> None:
        match verdict:
            case Claimed():
                self._enqueue(session_id, Detector.DEADLINE, claim=Claim(verdict, tokens[session_id]))
            case Claimable():
                self._enqueue(session_id, Detector.DEADLINE)
            case Grace(left):
                log_grace(session_id, left)
            case ReactorError():
                logger.warning("left alone: %s", verdict, extra={"action": "unreadable", "session": session_id})
                await self._registry.postpone(session_id, UNREADABLE)
            case _:
                pass


class Events:
    """The subscription to the keyspace notifications of heartbeat keys, and whether it can be relied on.

    `hearing` is None until the first canary has come back or has not.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        enqueue: Enqueue,
        *,
        deadlines: Deadlines,
        on_gap: Callable[[], None],
    ) -> None:
        """Take where ids go, who looks at deadlines, and who is told that events may have been missed."""
        self._deadlines = deadlines
        self._registry = registry
        self._enqueue = enqueue
        self._on_gap = on_gap
        database = registry.link.database
        self._canary = registry.keys.canary_channel(database, registry.host)
        self._pattern = registry.keys.heartbeat_channels(database)
        head, _, tail = self._pattern.rpartition("*")
        self._head, self._tail = head.encode(), tail.encode()
        self._canary_bytes = self._canary.encode()
        self._heard: set[bytes] = set()
        self._stands = anyio.Event()
        self._came_back = anyio.Event()
        self.hearing: bool | None = None

    async def listen(self, trouble: Trouble) -> None:
        """Listen for ever; every (re)connection is a gap."""

        def connected() -> None:
            trouble.over()
            self._stands.set()
            self._on_gap()

        subscription = Subscription(
            self._registry.link,
            channels=[self._canary],
            patterns=[self._pattern],
            on_message=self.on_message,
            on_gap=connected,
        )
        while True:
            await trouble.persist(subscription.run)

    def on_message(self, channel: bytes, data: bytes) -> None:
        """Take one notification: enqueue what it may be about, or note the canary."""
        # Most messages are the `expire` of each client's heartbeat: dropped before anything is parsed.
        if data not in _ENDINGS:
            return
        if channel == self._canary_bytes:
            self._heard.add(data)
            if self._heard >= _CANARY_ENDINGS:
                self._came_back.set()
            return
        name = channel[len(self._head) : -len(self._tail)]
        parsed = self._registry.keys.parse_session_key(
            f"{self._registry.keys.prefix}:session:{name.decode(errors='replace')}"
        )
        if parsed is None or parsed[1]:
            return
        # A look at a dead key makes Redis publish its end: that look finds it by itself. A DEL is somebody's wish.
        if data == _DELETED:
            self._enqueue(parsed[0], Detector.EVENT, deleted=self._registry.evidence.db)
        elif parsed[0] not in self._deadlines.looking:
            self._enqueue(parsed[0], Detector.EVENT)

    async def prove(self, trouble: Trouble) -> None:
        """Send a canary through the whole path every 5 s, for ever, and keep `hearing` true to it."""
        await self._stands.wait()
        while True:
            await trouble.persist(self._fly)
            await anyio.sleep(CANARY_EVERY)

    async def _fly(self) -> None:
        """Find out whether both an expiry and a DEL of the canary are heard."""
        key = self._registry.keys.canary(self._registry.host)
        client = cast("Any", self._registry.link.client)
        self._heard.clear()
        self._came_back = anyio.Event()
        with self._registry.link.lane(Lane.CANARY), redis_errors(self._registry.link.where):
            await client.set(key, "1", px=20)
            await anyio.sleep(0.03)
            await client.pttl(key)
            await client.set(key, "1", px=1000)
            await client.delete(key)
        with anyio.move_on_after(CANARY_LIMIT) as limit:
            await self._came_back.wait()
        self._conclude(heard=not limit.cancelled_caught)

    def _conclude(self, *, heard: bool) -> None:
        if heard == self.hearing:
            return
        if not heard:
            logger.warning(
                "no notifications from Redis: deadlines are kept all the same, an early DEL is seen within 30 s; "
                "set notify-keyspace-events KExge",
                extra={"action": "notifications", "hearing": False},
            )
        elif self.hearing is not None:
            logger.info("notifications from Redis are back", extra={"action": "notifications", "hearing": True})
        if self.hearing is not None:
            self._on_gap()  # the connection stood all the while, and what it did not tell was missed
        self.hearing = heard


async def keep_asking(registry: SessionRegistry, pulse: Pulse, trouble: Trouble) -> None:
    """Feel Redis' pulse twice a second, for ever: whether it answers at once, and whether its clock was set.

    What it finds is looked at right after the first answer, before anybody else of this host can judge by it.
    """
    async with Probe(registry.link, registry.evidence, pulse) as probe:

        async def ask() -> None:
            await probe.ask()
            if registry.evidence.doubted:
                await registry.evidence.witness()

        while True:
            await trouble.persist(ask, most=ASK_EVERY)
            await anyio.sleep(ASK_EVERY)


class Presence:
    """Says every two seconds whether this host's engine is watched, and how far ahead its scores may lie.

    While it goes on, Redis is compared with what was last seen of it.
    """

    def __init__(
        self, registry: SessionRegistry, *, watched: Callable[[], bool], hearing: Callable[[], bool | None]
    ) -> None:
        """Take what to say, asked anew each time."""
        self._registry = registry
        self._watched = watched
        self._hearing = hearing

    async def tell(self, trouble: Trouble) -> None:
        """Go on for ever."""
        while True:
            await trouble.persist(self._tell_once)
            await anyio.sleep(TELL_EVERY)

    async def _tell_once(self) -> None:
        deaf = self._hearing() is False
        await self._registry.evidence.watch(
            watched_ms=milliseconds(WATCHED_FOR) if self._watched() else 0,
            ahead_ms=milliseconds(AHEAD) if deaf else 0,
        )
        # A clock that was set back leaves scores, leases and keys far ahead: each is looked at once, and put right.
        moved = self._registry.evidence.clock_was_moved()
        while (deaf or moved) and await self._registry.hasten(AHEAD):
            pass
