"""Who we are to this Redis, and whether it is still the Redis that this host knew.

What this is: the binding of a host to its engine and of a prefix to its deployment, and the witness that compares Redis
with what was last seen of it. What it is not: the judgement, which is pure (`reactor.quarantine`). The invariant: no
verdict and no spawn happens between a change of Redis and its being witnessed.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, cast

import anyio

from reactor.errors import ConfigError, Unavailable
from reactor.keys import default_deployment
from reactor.observation import ClockReading, Observation, Seen
from reactor.quarantine import Conclusion, conclude
from reactor.registry.link import RunIdChanged
from reactor.registry.news import Doubts, worth_an_entry
from reactor.registry.ownership import Owner, agree
from reactor.registry.pulse import Expectation, HostClock
from reactor.registry.scripts import Script
from reactor.registry.server import info_fields, parse_server, refusals
from reactor.session import DatabaseId, Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reactor.keys import Keys
    from reactor.registry.link import RedisLink
    from reactor.session import HostName

LAYOUT = "1"
_TRIES = 10
_READ_AGAIN_MS = 30_000
"""How old the last reading of the clock may be before a reactor takes another, though nothing is in doubt."""
_EVIDENCE = ("run_id", "db", "replid", "evicted", "clock_moves", "quarantine", "outage", "outage_at")
"""Fields of `seen` that a conclusion is drawn from: if another process wrote one meanwhile, it is drawn anew."""


def _nothing() -> None:
    """Do nothing: nobody wants to know."""


class Evidence:
    """One host's view of one Redis. `witness` may be called by many tasks at once; they share one look."""

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        host: HostName,
        deployment: Deployment | None,
        clock: HostClock | None = None,
    ) -> None:
        """Note who asks; nothing is sent yet. `deployment` None takes the one that Redis knows."""
        self._link = link
        self._keys = keys
        self._host = host
        self._owner = Owner(deployment or Deployment(""))
        self._lock = anyio.Lock()
        self._begun = self._ended = 0
        """How many looks have begun, and which was the last that ended well."""
        self._engine: tuple[str, str] | None = None
        self._doubts = Doubts(host)
        self._left: set[str] = set()
        """Database ids that this process worked with before the present one."""
        self._turn = 0
        self._read_ms = 0
        self.clock = clock or HostClock()
        self.expectation = Expectation(self.clock)
        self.db = DatabaseId("")
        self.evicted_ms = 0
        """When Redis was last found to have evicted keys (its clock, ms): a record older than that may have gone."""
        self.on_change: Callable[[], None] = _nothing
        """Called when the database id changed or a doubt began: belief and engine have to be compared again."""
        self.changes = 0
        """How often Redis turned out to be another one: every claim and plan from before is void."""
        self.unwatched_ms: int | None = None
        """For how long nobody of this host had looked at Redis when this process first did; None: not known."""
        self._strayed: ClockReading | None = None
        """A reading that was far from what it should be; the next witness says whether the clock moved."""

    @property
    def doubted(self) -> bool:
        """Whether something happened that no witness has looked at yet: until then no script gives a verdict."""
        return self._strayed is not None or (self._link.pulse is not None and self._link.pulse.doubted)

    @property
    def deployment(self) -> Deployment:
        """Whose containers these are; empty before the first witness, where it was not said."""
        return self._owner.deployment

    @property
    def known(self) -> str:
        """What this process takes Redis for: its run id and database id; nothing while a witness has to look first."""
        return "" if self.doubted else f"{self._link.run_id} {self.db}"

    async def witness(self) -> None:
        """Look at Redis and write down what it is now.

        Raises `Unavailable`, and `ConfigError` where this Redis and prefix belong to another deployment. Repeating it
        changes nothing.
        """
        begun = self._begun
        async with self._lock:
            if self._ended > begun:
                return  # a look that began after this call was made
            self._begun += 1
            for _ in range(_TRIES):
                if await self._agree():
                    self._ended = self._begun
                    return
        message = f"Redis at {self._link.where} kept changing its database id; look at {self._keys.meta}"
        raise Unavailable(message)

    async def _agree(self) -> bool:
        now, raw, written, failures = await self._observe()
        await self._bind_again()  # before anything is written in the name of this host
        owner = self._settle(written, lost=self.db not in ("", now.meta_db))
        found = conclude(now, secrets.token_hex(8))
        news = worth_an_entry(now, found, raw)
        if not await self._write(now, found, written, owner, raw, news):
            return False
        if self._link.pulse is not None:
            self._link.pulse.told(failures)
        if self._strayed is now.strayed:  # one that was read meanwhile is for the next look
            self._strayed = None
        if self.unwatched_ms is None:
            self.unwatched_ms = now.clock.redis_ms - now.seen.well_at if now.seen.well_at else 0
        self.expectation.note(now.clock)
        self._read_ms = now.clock.told_ms
        self._owner = owner
        self.evicted_ms = int(found.fields.get("evicted_at") or raw.get("evicted_at") or 0)
        self._note(
            DatabaseId(found.db),
            found.quarantine or raw.get("quarantine", ""),
            found.outage or raw.get("outage", ""),
            news,
        )
        return True

    async def _write(
        self,
        now: Observation,
        found: Conclusion,
        written: Owner,
        owner: Owner,
        raw: Mapping[str, str],
        news: tuple[str, str],
    ) -> bool:
        """Write what is new; False where the evidence changed meanwhile."""
        fields = {name: value for name, value in found.fields.items() if raw.get(name) != value}
        if (now.meta_db, written) == (found.db, owner) and not fields:
            return True
        if any(news):
            fields["said_at"] = str(now.clock.redis_ms)
        old = [part for name in _EVIDENCE for part in (name, raw.get(name, ""))]
        args = (
            self._host, *news, now.meta_db, written.deployment, found.db, owner.deployment, int(owner.guessed), LAYOUT,
            len(_EVIDENCE), *old, *(part for pair in fields.items() for part in pair),
        )  # fmt: skip
        keys = (self._keys.meta, self._keys.seen(self._host), self._keys.events)
        return await self._link.run(Script.WITNESS, keys, args) == "OK"

    def _settle(self, written: Owner, *, lost: bool) -> Owner:
        # Once bound we write our own back after a data loss; before that Redis' word stands for the default.
        owner = agree(self._owner, written, lost=lost)
        if owner is None:
            message = (
                f"prefix {self._keys.prefix!r} in Redis at {self._link.where} belongs to deployment "
                f"{written.deployment!r}, not {self.deployment!r}; set REACTOR_DEPLOYMENT={written.deployment} or "
                "another REACTOR_PREFIX"
            )
            raise ConfigError(message)
        if owner.deployment:
            return owner
        return Owner(default_deployment(self._link.where, self._link.database, self._keys.prefix), guessed=True)

    async def _observe(self) -> tuple[Observation, dict[str, str], Owner, int]:
        """Read Redis and what the host has seen of it, in one step; raises `Unavailable` for no usable primary."""
        keys = (self._keys.meta, self._keys.seen(self._host), self._keys.due(self._host))
        # As it is before Redis is asked: a turn that `watch` makes meanwhile is higher than what this sample can hold.
        known_db, left, turn = self.db, frozenset(self._left), self._turn
        asked, reply, told = await self._link.ask(Script.SAMPLE, keys, self.clock.now_ms)
        server = parse_server(reply[0])
        server.check()
        await self._link.trust(server)
        info, pulse = info_fields(reply[0]), self._link.pulse
        failures = 0 if pulse is None else pulse.failures
        raw: dict[str, str] = dict(zip(reply[7::2], reply[8::2], strict=True))
        redis_ms = int(reply[1]) * 1000 + int(reply[2]) // 1000
        reading = ClockReading(redis_ms=redis_ms, asked_ms=asked, told_ms=told, boot=self.clock.boot)
        now = Observation(
            run_id=server.run_id,
            replid=info.get("master_replid", ""),
            evicted=int(info.get("evicted_keys", 0)),
            refused=refusals(info),
            meta_db=reply[3],
            has_records=reply[6] != "0",
            clock=reading,
            strayed=self._strayed,
            seen=Seen.parse(raw),
            known_db=known_db,
            left=left,
            turn=turn,
            failing_ms=None if pulse is None else pulse.failing_ms,
            still_failing=pulse is not None and pulse.still_failing,
        )
        return now, raw, Owner(Deployment(reply[4]), guessed=reply[5] == "1"), failures

    async def bind_engine(self, engine_id: str, root: str, *, anew: bool = False) -> HostName | None:
        """Tie the host name to its engine; from then on each witness ties it again, as a data loss unties it.

        Returns the name that this engine was renamed to meanwhile, and binds nothing then, unless `anew`. Raises
        `ConfigError` where another engine holds the name.
        """
        keys = (self._keys.engine(self._host), self._keys.hosts)
        args = (engine_id, root, self._host, "1" if anew else "0")
        reply = await self._link.run(Script.BIND_ENGINE, keys, args)
        if reply[0] == "RENAMED":
            return cast("HostName", reply[1])
        if reply[0] != "OK":
            message = (
                f"host name {self._host!r} belongs to engine {reply[1]} ({reply[2]}), not to this one ({engine_id}, "
                f"{root}); give this machine another REACTOR_HOST, or `reactor forget-host {self._host}` if that "
                "engine never returns"
            )
            raise ConfigError(message)
        self._engine = (engine_id, root)
        return None

    async def _bind_again(self) -> None:
        if self._engine is None:
            return
        name = await self.bind_engine(*self._engine)
        if name is not None:
            message = f"this engine goes by the host name {name!r} now; set REACTOR_HOST={name} and start again"
            raise ConfigError(message)

    async def watch(self, *, watched_ms: int, ahead_ms: int) -> None:
        """Say that this host's engine is watched for the next `watched_ms`, and how far ahead its scores may lie.

        Whatever does not look as it was seen is looked at, and so is the clock now and then.
        """
        keys = (self._keys.seen(self._host), self._keys.meta)
        pulse = self._link.pulse
        well = pulse is None or not pulse.ailing
        try:
            args = (self.known, watched_ms, ahead_ms, int(well), *self.expectation.now(), self._turn)
            reply = await self._link.run(Script.WATCH, keys, args)
        except RunIdChanged:
            reply = ["UNSURE"]
        if reply[0] == "OK":
            # Another process of this host may have witnessed the change; belief and engine differ all the same.
            self._turn = int(reply[4])
            self._note(DatabaseId(reply[1]), reply[2], reply[3])
        if reply[0] != "OK" or not well or self.clock.now_ms() - self._read_ms > _READ_AGAIN_MS:
            await self.witness()

    def read_clock(self, reading: ClockReading) -> None:
        """Take a reading of Redis' clock; one that is far from what it should be is looked at by the next witness."""
        # Not a new base: a clock that stands still, or is moved in small steps, would never be far from the last one.
        if self.expectation.contradicts(reading):
            self._strayed = reading

    def clock_was_moved(self) -> bool:
        """Whether Redis' clock was found to have moved since this was last asked."""
        moved, self._doubts.clock_moved = self._doubts.clock_moved, False
        return moved

    def _note(self, db: DatabaseId, quarantine: str, outage: str, news: tuple[str, str] = ("", "")) -> None:
        changed = self.db not in ("", db)
        if changed:
            self._left.add(self.db)
            self.changes += 1
        self.db = db
        if self._doubts.hear(quarantine, outage, news) or changed:
            self.on_change()
