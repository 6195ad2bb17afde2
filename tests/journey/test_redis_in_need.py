"""A Redis in need: full, evicting, loading, with a clock that jumps; and reactors that end in the middle of it."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio
import pytest
import redis

from reactor import Reactor, Settings
from reactor.errors import OutOfMemory
from reactor.session import HostName, SessionId
from tests.fakes.runtime import FakeRuntime
from tests.journey.outage import PATIENCE, TTL, Stage, stage
from tests.services.clock import redis_with_a_clock
from tests.waiting import wait_until

CLIENTS = ("beats-1", "beats-2")


@contextmanager
def refusing(on: Stage) -> Generator[None]:
    """Let Redis refuse every write while the body runs."""
    with on.client as client:
        client.config_set("min-replicas-to-write", 3)
    try:
        yield
    finally:
        with on.client as client:
            client.config_set("min-replicas-to-write", 0)


async def test_all_heartbeats_evicted_at_once_end_nobody() -> None:
    """R6: not one claim; who beats and acquires again keeps his container, who is silent goes after the grace."""
    async with stage() as on, on.both() as (_, sessions):
        for name in (*CLIENTS, "silent"):
            await on.acquire(sessions, name)
        with on.beating(*CLIENTS, again=sessions):
            with on.client as client:
                client.config_set("maxmemory-policy", "volatile-lru")
                client.config_set("maxmemory", 1)
                await wait_until(lambda: client.info("stats")["evicted_keys"] >= 3, PATIENCE, "keys were evicted")
                client.config_set("maxmemory", 0)
            await on.doubted("evicted")
            await on.only(*CLIENTS)
            await on.lasts(1.5)
            assert on.held() == set(CLIENTS)
        await on.only()
    assert {name: len(on.given[name]) for name in CLIENTS} == dict.fromkeys(CLIENTS, 1)


async def test_a_redis_that_stays_full_and_evicts_costs_no_living_session_its_container() -> None:
    """R6: each heartbeat key is evicted as soon as it is set; that is one grace, not three in a millisecond."""
    async with stage() as on, on.both() as (_, sessions):
        for name in CLIENTS:
            await on.acquire(sessions, name)
        with on.client as client:
            client.config_set("maxmemory-policy", "volatile-lru")
            client.config_set("maxmemory", 1)
            await on.doubted("evicted")
            await on.lasts(1.5)
            assert on.removed() == set()
            client.config_set("maxmemory", 0)
        with on.beating(*CLIENTS, again=sessions):
            await on.lasts(2)
            assert on.held() == set(CLIENTS)


async def test_a_full_redis_takes_heartbeats_and_no_new_session() -> None:
    """R7: EXPIRE works, so who beats lives, who is silent goes after a grace; a spawn fails before any container."""
    async with stage() as on, on.both() as (_, sessions):
        for name in (*CLIENTS, "silent"):
            await on.acquire(sessions, name)
        with on.beating(*CLIENTS), on.client as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(OutOfMemory):
                await sessions.acquire("new")
            assert on.runtime.created[SessionId("new")] == 0
            await on.only(*CLIENTS)
            await on.doubted("outage")
            client.config_set("maxmemory", 0)
            await on.lasts(1.5)
            assert on.held() == set(CLIENTS)


async def test_a_redis_that_loads_is_waited_for() -> None:
    """R10: it answers LOADING for longer than a TTL; nobody is removed for that."""
    options = {"appendonly": "yes", "appendfsync": "always", "enable-debug-command": "yes"}
    async with stage(options) as on, on.both() as (_, sessions):
        for name in CLIENTS:
            await on.acquire(sessions, name)
        with on.client as client:
            client.eval("for i = 1, 3000 do redis.call('SET', 'other:' .. i, i) end", 0)
            client.config_set("key-load-delay", 2000)  # microseconds for each key

        def load() -> None:
            with on.client as client, pytest.raises(redis.RedisError):  # it answers when it has loaded
                client.execute_command("DEBUG", "RELOAD")

        with on.beating(*CLIENTS):
            await anyio.to_thread.run_sync(load)
            await on.doubted("outage")
            await on.lasts(1.5)
            assert on.held() == set(CLIENTS)
            assert all(on.answers[name][-1] == 1 for name in CLIENTS)


async def test_a_clock_that_jumps_an_hour_removes_nobody_who_beats() -> None:
    """R25: all keys are dead at once; the silent one goes after its grace, by the new clock."""
    with redis_with_a_clock() as clock:
        async with stage(server=clock.server) as on, on.both() as (_, sessions):
            for name in (*CLIENTS, "silent"):
                await on.acquire(sessions, name)
            with on.beating(*CLIENTS, again=sessions):
                await anyio.to_thread.run_sync(clock.shift, 3600)
                await on.doubted("clock")
                await on.only(*CLIENTS)
                await on.lasts(1.5)
                assert on.held() == set(CLIENTS)
                await anyio.to_thread.run_sync(clock.shift, 0)
                await wait_until(lambda: on.doubts().count("clock") == 2, PATIENCE, "the way back was found")
                await on.lasts(1.5)
                assert on.held() == set(CLIENTS)
            await on.only()
    assert {name: len(on.given[name]) for name in CLIENTS} == dict.fromkeys(CLIENTS, 1)


async def test_an_outage_is_resumed_by_the_reactor_that_starts_after_it() -> None:
    """Killed in the middle of it: Redis has counted what it refused, and the last good look says since when."""
    async with stage() as on:
        async with on.both() as (_, sessions):
            for name in CLIENTS:
                await on.acquire(sessions, name)
            await wait_until(lambda: "well_at" in on.seen(), PATIENCE, "the reactor has looked")
        with on.client as client:  # the reactor has gone; its last look was long ago
            client.hset(on.keys.seen(HostName("fake-host")), "well_at", int(on.seen()["well_at"]) - 60_000)
        with on.beating(*CLIENTS):
            with refusing(on):
                await on.lasts(1.5)
            async with Reactor(on.settings, runtime=on.runtime):
                await on.lasts(1.5)
                assert on.held() == set(CLIENTS)
        assert "outage" in on.doubts()


async def test_a_quarantine_is_resumed_by_the_next_reactor() -> None:
    """It stands in Redis from the moment in which it began: who comes after a kill gives the graces that are owed."""
    async with stage({"appendonly": "yes", "appendfsync": "always"}) as on:
        async with on.both() as (_, sessions):
            for name in CLIENTS:
                await on.acquire(sessions, name)
        on.server.kill()
        await on.lasts(1.5)
        on.server.start()
        async with Reactor(on.settings, runtime=on.runtime) as first:
            await wait_until(lambda: bool(first.crew.registry.evidence.db), PATIENCE, "it was witnessed")
        async with Reactor(on.settings, runtime=on.runtime):
            with on.beating(*CLIENTS):
                await on.lasts(1.5)
                assert on.held() == set(CLIENTS)
            await on.only()
        assert on.doubts() == ["run"]


async def test_a_second_host_does_not_hide_an_outage_from_the_first() -> None:
    """What was seen is kept for each host: both give their sessions a grace, and one database id stands for both."""
    async with stage({"appendonly": "yes", "appendfsync": "always"}) as on:
        there = Settings(
            redis_url=on.server.url, listen=None, host=HostName("other-host"), stop_grace=on.settings.stop_grace,
            templates=on.settings.templates,
        )  # fmt: skip
        elsewhere = FakeRuntime(host="other-host")
        async with (
            on.both() as (one, sessions),
            Reactor(there, runtime=elsewhere) as other,
        ):
            await on.acquire(sessions, "beats-1")
            with on.beating("beats-1"):
                on.server.kill()
                await on.lasts(1.5)
                on.server.start()
                await wait_until(lambda: on.doubts().count("run") == 2, PATIENCE, "both found it")
                await on.lasts(1.5)
                assert on.held() == {"beats-1"}
                assert one.crew.registry.evidence.db == other.crew.registry.evidence.db


async def test_a_reactor_that_was_away_from_a_redis_that_was_well_gives_no_grace() -> None:
    """Our own absence proves nothing: the overdue go at once."""
    async with stage() as on:
        async with on.both() as (_, sessions):
            await on.acquire(sessions, "silent")
        await wait_until(lambda: not on.client.exists("mcp:session:silent:heartbeat"), PATIENCE, "its TTL is over")
        async with Reactor(on.settings, runtime=on.runtime):
            await wait_until(lambda: not on.held(), TTL.total_seconds(), "it was removed without a grace")
        assert on.doubts() == []
