"""A walk over the registry's verbs, the same on a real server and on the simulated one.

What this is: what a step does, and what both servers are asked after it. What it is not: which steps come (that is
drawn by the test). It keeps this: a step waits for nothing but what Redis itself says, and no step leaves a TTL, lease
or grace that could end during the walk.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from redis import ResponseError

from reactor.errors import ReactorError
from reactor.keys import Keys
from reactor.registry import Evidence, Hosts, Naming, RedisLink, SessionRegistry, Terms
from reactor.registry.verdicts import Mode
from reactor.runtime.protocol import Container, ContainerState, Engine, Labels
from reactor.session import (
    Address,
    ContainerId,
    DatabaseId,
    Deployment,
    Detector,
    Endpoint,
    EndReason,
    Generation,
    HostName,
    SessionId,
    Token,
)
from tests.sim.plain import Names
from tests.sim.stored import stored
from tests.waiting import wait_until

TTL = timedelta(hours=1)
FAR_US = 3_600_000_000
ADDRESS = Address(ip="172.17.0.2", ports={"80/tcp": Endpoint(host="127.0.0.1", port=32768)})
Args = dict[str, Any]


@dataclass
class Walk:
    """One server, two hosts that talk to it, and what it was found to hold after each step."""

    link: RedisLink
    keys: Keys = field(default_factory=lambda: Keys("mcp"))
    names: Names = field(default_factory=Names)
    found: list[Any] = field(default_factory=list[Any])
    hosts: dict[str, SessionRegistry] = field(default_factory=dict[str, SessionRegistry])
    naming: dict[str, Naming] = field(default_factory=dict[str, Naming])

    @property
    def client(self) -> Any:
        """The connections that the registry uses."""
        return self.link.client

    async def begin(self, *, lifetime: timedelta | None) -> None:
        """Put two hosts on stage, on an empty server that tells everything."""
        await self.link.look()
        for name in ("h1", "h2"):
            evidence = Evidence(self.link, self.keys, HostName(name), Deployment("walk"))
            await evidence.witness()
            terms = Terms(max_lifetime=lifetime)
            more: Any = {"host": HostName(name), "runtime": "docker", "terms": terms}
            self.hosts[name] = SessionRegistry(self.link, self.keys, evidence, **more)
            self.naming[name] = Naming(self.link, self.keys, evidence, **more)

    async def take(self, step: tuple[str, Args], ear: Any) -> None:
        """Take a step, and note what was answered, what was told, and what is there now."""
        name, args = step
        reply: object
        try:
            reply = await getattr(self, name)(**args)
        except (ReactorError, ResponseError) as error:
            reply = type(error).__name__, str(error).replace(self.link.where, "this Redis")
        now = await self._now_ms()
        told = await self._told(ear)
        self.found.append(self.names.plain([name, reply, told, await stored(self.client)], now))

    async def _now_ms(self) -> int:
        seconds, micros = await self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def _told(self, ear: Any) -> list[list[str]]:
        await self.client.publish("mcp:end", "end")
        told: list[list[str]] = []
        while True:
            message = await ear.get_message(ignore_subscribe_messages=True, timeout=5)
            if message is None:
                continue
            if message["data"] == b"end":
                return told
            told.append([message["channel"].decode(), message["data"].decode()])

    # ------------------------------------------------------------------ what a step may need to know

    async def _generation(self, session: str, which: str) -> Generation | None:
        now_us = await self._now_ms() * 1000
        written = await self.client.hget(self.keys.record(SessionId(session)), "generation")
        known = {"record": int(written or 0), "old": now_us - FAR_US, "new": now_us + FAR_US, "none": 0}
        return Generation(known[which]) if known[which] else None

    async def _db(self, which: str) -> DatabaseId:
        return DatabaseId(
            "0123456789abcdef" if which == "other" else await self.client.hget(self.keys.meta, "db") or ""
        )

    async def _container(self, session: str, args: Args) -> tuple[Container, Labels]:
        generation = await self._generation(session, args["generation"]) or await self._generation(session, "old")
        assert generation is not None
        labels = Labels(
            prefix="mcp", deployment=Deployment("walk"), host=HostName(args["host"]), db=await self._db(args["db"]),
            session=SessionId(session), generation=generation, template="default", ttl=TTL,
            token=Token(args["token"]),
        )  # fmt: skip
        state = ContainerState.RUNNING if args["running"] else ContainerState.DEAD
        box = ContainerId(args["container"])
        created = datetime.fromtimestamp(0, UTC)
        return Container(container_id=box, name="n", labels=labels, state=state, created_at=created), labels

    # ------------------------------------------------------------------ the way in

    async def reserve(self, host: str, session: str, token: str, waited: str) -> object:
        """The first step of an acquire."""
        asked = await self._generation(session, waited)
        return await self.hosts[host].reserve(
            SessionId(session), Token(token), template="default", ttl=TTL, waited=asked
        )

    async def renew(self, host: str, session: str, token: str, db: str) -> object:
        """The fence."""
        return await self.hosts[host].renew(SessionId(session), Token(token), await self._db(db))

    async def save(self, host: str, session: str, token: str, container: str, db: str) -> object:
        """The commit."""
        return await self.hosts[host].save(
            SessionId(session),
            Token(token),
            container_id=ContainerId(container),
            db=await self._db(db),
            address=ADDRESS,
        )

    async def abort(self, host: str, session: str, token: str, error: str) -> object:
        """The end of a spawn that failed."""
        return await self.hosts[host].abort(SessionId(session), Token(token), error)

    async def register(self, session: str, instead_of: str | None, **args: Any) -> object:
        """The record of a container from before a data loss."""
        container, labels = await self._container(session, args)
        return await self.hosts[args["host"]].register(
            container, labels, instead_of=None if instead_of is None else Token(instead_of)
        )

    async def readdress(self, host: str, session: str, **args: Any) -> object:
        """The new address of a container that was restarted."""
        container, _ = await self._container(session, {"host": host, **args})
        return await self.hosts[host].readdress(SessionId(session), container)

    # ------------------------------------------------------------------ the way out

    async def examine(self, host: str, session: str, token: str, mode: Mode, **about: Any) -> object:
        """The one verdict."""
        generation = await self._generation(session, about["generation"])
        return await self.hosts[host].examine(
            SessionId(session), mode, Token(token), detector=Detector.DEADLINE, reason=EndReason.TERMINATED,
            expected=about["expected"], generation=generation,
        )  # fmt: skip

    async def look(self, host: str) -> object:
        """A look at all sessions at once."""
        return await self.hosts[host].look([SessionId(one) for one in ("a", "b")])

    async def extend(self, host: str, session: str, token: str, lease: int | None) -> object:
        """The claim's lease."""
        longer = None if lease is None else timedelta(seconds=lease)
        return await self.hosts[host].extend(SessionId(session), Token(token), longer)

    async def delete(self, host: str, session: str, token: str) -> object:
        """The finish of a teardown."""
        return await self.hosts[host].delete(SessionId(session), Token(token))

    async def adopt_orphan(self, session: str, **args: Any) -> object:
        """The claim on a container without a record."""
        container, labels = await self._container(session, args)
        return await self.hosts[args["host"]].adopt_orphan(container, labels, Token("claim"), Detector.JANITOR)

    async def request_end(self, host: str, session: str, of: str, generation: str) -> object:
        """The word to another host."""
        about = await self._generation(session, generation) or Generation(1)
        return await self.hosts[host].request_end(SessionId(session), HostName(of), about)

    # ------------------------------------------------------------------ index, evidence, hosts

    async def upkeep(self, host: str, session: str, verb: str) -> object:
        """One of the small verbs."""
        mine, one = self.hosts[host], SessionId(session)
        calls: dict[str, Any] = {
            "next_due": lambda: mine.next_due(200), "walk": lambda: _walked(mine),
            "due_among": lambda: mine.due_among([SessionId("a"), SessionId("b")]),
            "drop_stray": lambda: mine.drop_stray(one),
            "postpone": lambda: mine.postpone(one, timedelta(minutes=10)), "mend": lambda: mine.mend(one),
            "hasten": lambda: mine.hasten(timedelta(minutes=30)), "note": lambda: mine.note("brake", "why"),
            "records": lambda: mine.records([SessionId("a"), SessionId("b")]), "doubts": mine.doubts,
            "is_watched": lambda: mine.is_watched(mine.host), "witness": mine.evidence.witness,
            "heartbeat": lambda: mine.heartbeat(one), "bound_db": mine.bound_db,
        }  # fmt: skip
        reply = await calls[verb]()
        if isinstance(reply, (set, frozenset)):
            return sorted(cast("set[str]", reply))
        return reply

    async def watch(self, host: str, watched_ms: int, ahead_ms: int) -> object:
        """What a reactor says every two seconds."""
        return await self.hosts[host].evidence.watch(watched_ms=watched_ms, ahead_ms=ahead_ms)

    async def bind_engine(self, host: str, engine: str, *, anew: bool) -> object:
        """The tie of a name to an engine."""
        return await self.hosts[host].evidence.bind_engine(engine, "/var/lib/docker", anew=anew)

    async def rename(self, host: str, old: str, engine: str) -> object:
        """The sessions of a renamed host follow it."""
        known = Engine(name=HostName(host), engine_id=engine, root="/var/lib/docker", version="20.10", runtime="docker")
        left = await self.naming[host].begin(HostName(old), known)
        return left, left == timedelta(0) and await self.naming[host].move(HostName(old))

    async def forget(self, host: str, *, force: bool) -> object:
        """A host that never returns."""
        hosts = Hosts(self.link, self.keys)
        return await hosts.sessions(HostName(host)), await hosts.forget(HostName(host), force=force)

    # ------------------------------------------------------------------ what befalls the keys

    async def command(self, words: list[str | int]) -> object:
        """Somebody's own command."""
        return await self.client.execute_command(*words)

    async def run_out(self, session: str) -> None:
        """The end of a heartbeat that is early by its record."""
        key = self.keys.heartbeat(SessionId(session))
        await self.client.pexpire(key, 1)

        async def over() -> bool:
            return not await self.client.exists(key)

        await wait_until(over)

    async def overdue(self, session: str) -> None:
        """The end of a heartbeat that nobody expects any more."""
        record, heartbeat = self.keys.record(SessionId(session)), self.keys.heartbeat(SessionId(session))
        await self.client.delete(heartbeat)
        if await self.client.hexists(record, "deadline"):
            await self.client.hset(record, "deadline", await self._now_ms() - 60_000)

    async def pass_lease(self, session: str) -> None:
        """The end of a lease whose holder paused for longer."""
        record = self.keys.record(SessionId(session))
        if await self.client.hexists(record, "lease_until"):
            await self.client.hset(record, "lease_until", await self._now_ms() - 60_000)

    async def lose(self, what: str) -> None:
        """The loss of the database id, of one host's memory, or of everything."""
        if what == "all":
            await self.client.flushall()
        else:
            await self.client.delete(self.keys.meta if what == "meta" else self.keys.seen(HostName("h1")))


async def walk(url: str, steps: list[tuple[str, Args]], *, lifetime: timedelta | None = None) -> list[Any]:
    """Take these steps on the server behind an address; return what was found after each."""
    link = RedisLink(url)
    ear: Any = link.subscriber().pubsub()
    going = Walk(link)
    try:
        await ear.psubscribe("__keyspace@0__:*", "mcp:*")
        await going.begin(lifetime=lifetime)
        for step in steps:
            await going.take(step, ear)
        return cast("list[Any]", going.names.ranked(going.found))
    finally:
        with suppress(OSError):
            await ear.aclose()
        await link.aclose()


async def _walked(registry: SessionRegistry) -> set[str]:
    """Return the rows of a whole walk, without their order and generations: those are the server's own."""
    rows, cursor = set[str](), "0"
    while True:
        cursor, *found = await registry.walk_step(cursor, 10)
        rows.update(re.sub(r"^= \d+", "=", row) for row in found)
        if cursor == "0":
            return rows
