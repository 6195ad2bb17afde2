"""The sidecar as a library, on a real Redis and an engine in memory whose failures are scripted."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest
import redis

from reactor import Reactor, SessionManager, Settings
from reactor.audit import follow_events
from reactor.errors import Unavailable
from reactor.expiry import Events
from reactor.session import DatabaseId, Detector, SessionId
from reactor.templates import Template
from tests.fakes.runtime import FakeRuntime
from tests.services.redis import RedisServer
from tests.waiting import wait_until


@pytest.fixture
def settings(redis_server: RedisServer) -> Settings:
    """A template that idles for two seconds."""
    template = Template(name="default", image="any", ttl=timedelta(seconds=2))
    return Settings(redis_url=redis_server.url, listen=None, stop_grace=timedelta(0), templates={"default": template})


@asynccontextmanager
async def both(settings: Settings, runtime: FakeRuntime) -> AsyncGenerator[tuple[Reactor, SessionManager]]:
    """A reactor and an application that share an engine."""
    async with Reactor(settings, runtime=runtime) as reactor, SessionManager(settings, runtime=runtime) as sessions:
        yield reactor, sessions


async def ended(settings: Settings, session_id: str) -> list[tuple[object, object]]:
    """Return reason and detector of each end of a session."""
    entries = [entry async for entry in follow_events(settings, session_id=SessionId(session_id))]
    return [(entry["reason"], entry["detector"]) for entry in entries if entry["event"] == "ended"]


async def test_an_abandoned_session_is_removed_exactly_once(settings: Settings) -> None:
    """Whether the deadline check or Redis' own sweep was first: one end, one removal."""
    runtime = FakeRuntime()
    async with both(settings, runtime) as (_, sessions):
        await sessions.acquire("idle")
        await wait_until(lambda: not runtime.held, 10)
    ((reason, detector),) = await ended(settings, "idle")
    assert reason == "expired"
    assert detector in ("deadline", "event")
    assert runtime.removed[SessionId("idle")] == 1


async def test_the_event_that_a_look_causes_is_not_a_finding_of_its_own(settings: Settings) -> None:
    """A session that is being looked at is not enqueued for the event; any other one is."""
    async with both(settings, FakeRuntime()) as (reactor, _):
        found: list[str] = []

        def enqueue(
            session_id: SessionId, _: Detector, /, *, deleted: DatabaseId | None = None, **_more: object
        ) -> None:
            assert not deleted
            found.append(session_id)

        events = Events(reactor.crew.registry, enqueue, deadlines=reactor.deadlines, on_gap=lambda: None)
        reactor.deadlines.looking = frozenset({SessionId("looked-at")})
        for name in ("looked-at", "other"):
            channel = f"__keyspace@0__:mcp:session:{name}:heartbeat".encode()
            events.on_message(channel, b"expired")
            events.on_message(channel, b"expire")
        assert found == ["other"]


async def test_a_del_is_enqueued_as_what_it_is_even_during_a_look(settings: Settings) -> None:
    """Somebody deleted the key: that is his own end, which no look causes, and no quarantine delays."""
    async with both(settings, FakeRuntime()) as (reactor, sessions):
        heard: list[tuple[str, bool]] = []

        def enqueue(
            session_id: SessionId, _: Detector, /, *, deleted: DatabaseId | None = None, **_more: object
        ) -> None:
            heard.append((session_id, deleted is not None))

        events = Events(reactor.crew.registry, enqueue, deadlines=reactor.deadlines, on_gap=lambda: None)
        reactor.deadlines.looking = frozenset({SessionId("looked-at")})
        for name, event in (("looked-at", b"del"), ("other", b"evicted"), ("other", b"expire")):
            events.on_message(f"__keyspace@0__:mcp:session:{name}:heartbeat".encode(), event)
        assert heard == [("looked-at", True), ("other", False)]

        await sessions.acquire("leaves", ttl=timedelta(minutes=5))
        with redis.Redis.from_url(settings.redis_url) as client:
            now = int(client.time()[0]) * 1000
            client.hset("mcp:host:fake-host:seen", mapping={"quarantine": "run:1", "quarantine_at": str(now)})
            client.delete("mcp:session:leaves:heartbeat")

        async def gone() -> bool:
            return bool(await ended(settings, "leaves"))

        await wait_until(gone, 20, "it ended at once")
        assert await ended(settings, "leaves") == [("ended_by_client", "event")]


async def test_a_container_that_dies_ends_its_session(settings: Settings) -> None:
    """The engine's event is looked at a second later; the client's next EXPIRE says 0."""
    runtime = FakeRuntime()
    async with both(settings, runtime) as (_, sessions):
        session = await sessions.acquire("mortal", ttl=timedelta(minutes=5))
        assert session.container_id is not None
        runtime.die(session.container_id)
        await wait_until(lambda: not runtime.held, 10)
        assert await sessions.heartbeat("mortal") is False
    assert await ended(settings, "mortal") == [("container_exited", "engine")]


async def test_a_broken_engine_stream_is_followed_by_a_reconcile(settings: Settings) -> None:
    """What died while nobody listened is found by looking."""
    runtime = FakeRuntime()
    async with both(settings, runtime) as (reactor, sessions):
        session = await sessions.acquire("mortal", ttl=timedelta(minutes=5))
        assert session.container_id is not None
        runtime.break_events()
        await wait_until(lambda: not reactor.engine_watch.stands)
        runtime.die(session.container_id)
        await wait_until(lambda: not runtime.held, 10)
    assert [reason for reason, _ in await ended(settings, "mortal")] == ["container_exited"]


async def test_a_removal_of_unknown_outcome_is_repeated_until_it_is_known(settings: Settings) -> None:
    """Unknown is not done: the session is written down as ended only after the engine said that it is gone."""
    runtime = FakeRuntime()
    async with both(settings, runtime) as (_, sessions):
        await sessions.acquire("sticky")
        runtime.fail("remove", Unavailable("the engine hangs"), times=3)
        await wait_until(lambda: not runtime.held, 20)
        await wait_until(lambda: runtime.count("remove") >= 4)
    assert [reason for reason, _ in await ended(settings, "sticky")] == ["expired"]


async def test_a_stuck_removal_does_not_hold_up_the_next_one(settings: Settings) -> None:
    """Many sessions at once, one hand each: the second reaches the engine while the first still waits for it."""
    runtime = FakeRuntime()
    gate = runtime.gate("remove")
    async with both(settings, runtime) as (_, sessions):
        await sessions.acquire("stuck")
        await gate.reached.wait()
        await sessions.acquire("quick")
        await wait_until(lambda: gate.waiting == 2, 10)
        gate.open()
        await wait_until(lambda: not runtime.held, 10)


async def test_an_error_of_the_body_comes_out_as_it_was_raised(settings: Settings) -> None:
    """No exception group around the application's own error."""
    with pytest.raises(ZeroDivisionError):
        async with Reactor(settings, runtime=FakeRuntime()):
            raise ZeroDivisionError


async def test_a_session_ended_while_the_reactor_was_away_goes_at_once_when_it_is_back(settings: Settings) -> None:
    """Our own absence proves nothing: Redis was well all along, so no grace is given."""
    runtime = FakeRuntime()
    async with both(settings, runtime) as (_, sessions):
        await sessions.acquire("late")
    with redis.Redis.from_url(settings.redis_url) as client:
        client.delete("mcp:session:late:heartbeat")
    async with Reactor(settings, runtime=runtime):
        with anyio.fail_after(10):
            await wait_until(lambda: not runtime.held)
    assert len(await ended(settings, "late")) == 1
