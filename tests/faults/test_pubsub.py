"""Pub/sub at its worst: deadlines are kept through all of it, and each gap is followed by a look at the truth."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from faultlab.proxy import FaultProxy
from reactor import Reactor, expiry
from reactor.plan import PlanLine
from reactor.reconcile import Janitor
from reactor.registry import subscription
from tests.faults.ears import Ears
from tests.faults.rig import PATIENCE
from tests.waiting import wait_until

SHORT = timedelta(seconds=2)
EVENTS = "KExge"
GARBAGE_IDS = (
    b"", b"..", b"../../x", b"a/b", b"a:b", b"{x}", b"x}", b"}:heartbeat", b"*", b"\xff\xfe", b"\x00", b"unknown",
    b"x" * 1_000_000,
)  # fmt: skip
GARBAGE = (b"", b"expired", b"del", b"evicted", b"\xff\xfe", b"x" * 1_000_000)


async def test_a_subscriber_that_is_killed_again_and_again_costs_no_deadline(ears: Ears) -> None:
    """R17: no storm of connections, each gap is followed by a sweep, and an end that nobody told is found by it."""
    async with ears.both() as (reactor, sessions):
        await sessions.acquire("overdue", ttl=SHORT)
        await sessions.acquire("deleted")
        before, subscribed = ears.sweeps(), ears.subscriptions()
        killed = 0

        def overdue_is_gone() -> bool:
            nonlocal killed
            killed += ears.drop_subscribers()
            return not ears.holds("overdue") and killed >= 4

        ears.drop_subscribers()
        ears.end("deleted")
        await wait_until(overdue_is_gone, PATIENCE)
        assert (await ears.ended("overdue"))["reason"] == "expired"
        await ears.ended("deleted")
        await wait_until(lambda: ears.sweeps() > before + 2, PATIENCE)
        # Each kill is answered twice: by redis-py's own, which is dropped, and by ours after its back-off.
        assert ears.subscriptions() - subscribed <= 2 * (killed + 2), "it subscribes without being asked"
        await wait_until(lambda: "events" not in reactor.troubles and reactor.events.hearing is True, PATIENCE)
        rounds = iter(range(100))

        async def told() -> bool:
            # A connection that the last kill hit may still count as standing: its events are lost, not its sessions.
            name = f"told-{next(rounds)}"
            await sessions.acquire(name)
            ears.end(name)
            return (await ears.ended(name))["detector"] == "event"

        await wait_until(told, PATIENCE, "an end is heard of again")


async def test_a_half_open_subscription_is_found_out_by_its_missing_pong(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R18: no RST, no FIN, commands go on: our own ping deadline ends it, and a sweep finds what it kept back."""
    monkeypatch.setattr(subscription, "PING_SECONDS", 0.2)
    monkeypatch.setattr(subscription, "SILENCE_SECONDS", 1.0)
    async with FaultProxy("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{ears.server.port}") as proxy:
        ears = replace(ears, settings=replace(ears.settings, redis_url=f"redis://127.0.0.1:{proxy.port}"))
        async with ears.both() as (reactor, sessions):
            await sessions.acquire("silent")
            await sessions.acquire("overdue", ttl=SHORT)
            before = ears.sweeps()
            assert proxy.hush(rb"PSUBSCRIBE") == 1
            ears.end("silent")
            assert (await ears.ended("silent"))["detector"] != "event"
            await wait_until(lambda: ears.sweeps() > before, PATIENCE)
            assert any("has not answered a PING" in record.getMessage() for record in ears.caplog.records)
            assert (await ears.ended("overdue"))["reason"] == "expired"
            await wait_until(lambda: reactor.events.hearing is True, PATIENCE)
            await sessions.acquire("told")
            ears.end("told")
            assert (await ears.ended("told"))["detector"] == "event"


async def test_a_subscriber_that_is_overrun_comes_back_and_looks(ears: Ears) -> None:
    """R16: while we do not read, Redis drops us for the size of our output buffer; what came meanwhile is found."""
    ears.client.config_set("client-output-buffer-limit", "pubsub 64kb 64kb 1")
    async with ears.both() as (reactor, sessions):
        await sessions.acquire("drowned")
        await sessions.acquire("overdue", ttl=SHORT)
        before = ears.sweeps()
        with ears.client.pipeline(transaction=False) as pipe:  # no await until it is over: nobody reads
            for _ in range(60):
                pipe.publish("__keyspace@0__:mcp:session:flood:heartbeat", b"x" * 1_000_000)
            pipe.execute()
        ears.end("drowned")
        assert "output buffer limits" in ears.server.log
        await ears.ended("drowned")
        assert (await ears.ended("overdue"))["reason"] == "expired"
        await wait_until(lambda: ears.sweeps() > before, PATIENCE)
        await wait_until(lambda: "events" not in reactor.troubles, PATIENCE)
        await sessions.acquire("told")
        ears.end("told")
        await ears.ended("told")


async def test_a_wave_of_foreign_expiries_loses_nothing(ears: Ears) -> None:
    """R37: ten thousand keys of others and of unknown ids end at once; the one that is ours ends too."""
    async with ears.both() as (reactor, sessions):
        await sessions.acquire("ours", ttl=SHORT)
        await sessions.acquire("living")
        with ears.client.pipeline(transaction=False) as pipe:
            for number in range(10_000):
                prefix = "other" if number % 10 else "mcp"
                pipe.set(f"{prefix}:session:gone{number}:heartbeat", "1", px=50)
            pipe.execute()
        assert (await ears.ended("ours"))["reason"] == "expired"
        await wait_until(lambda: len(reactor.queue) == 0 and reactor.queue.in_hand == 0, PATIENCE)
        assert ears.holds("living")
        assert reactor.troubles == {}


async def test_notifications_switched_off_at_run_time_are_missed_and_heard_again(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R15: the canary notices; deadlines hold, an early DEL is seen by looking, and the event works again after."""
    monkeypatch.setattr(expiry, "AHEAD", timedelta(seconds=1))
    monkeypatch.setattr(expiry, "CANARY_LIMIT", 0.5)
    async with ears.both() as (reactor, sessions):
        await sessions.acquire("early")
        ears.client.config_set("notify-keyspace-events", "")
        await wait_until(lambda: reactor.events.hearing is False, PATIENCE)
        await sessions.acquire("overdue", ttl=SHORT)
        ears.end("early")
        for session_id in ("early", "overdue"):
            assert (await ears.ended(session_id))["detector"] != "event"
        before = ears.sweeps()
        ears.client.config_set("notify-keyspace-events", EVENTS)
        await wait_until(lambda: reactor.events.hearing is True, PATIENCE)
        await wait_until(lambda: ears.sweeps() > before, PATIENCE, "the gap is followed by a sweep")
        await sessions.acquire("told")
        ears.end("told")
        assert (await ears.ended("told"))["detector"] == "event"


@pytest.mark.parametrize("fault", ["killed", "half-open", "switched off"])
async def test_deadlines_alone_are_enough_through_all_of_it(
    ears: Ears, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """R15, R17, R18: with a janitor that finds nothing and no event heard, each session ends by its deadline."""

    async def nothing(_: Janitor, *, force: bool = False) -> AsyncGenerator[tuple[PlanLine, str]]:
        assert not force
        for line in ():
            yield line

    monkeypatch.setattr(Janitor, "run", nothing)
    async with FaultProxy("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{ears.server.port}") as proxy:
        ears = replace(ears, settings=replace(ears.settings, redis_url=f"redis://127.0.0.1:{proxy.port}"))
        async with ears.both() as (_, sessions):
            names = [f"overdue-{number}" for number in range(5)]
            for name in names:
                await sessions.acquire(name, ttl=SHORT)
            if fault == "half-open":
                assert proxy.hush(rb"PSUBSCRIBE") == 1
            elif fault == "switched off":
                ears.client.config_set("notify-keyspace-events", "")

            def gone() -> bool:
                if fault == "killed":
                    ears.drop_subscribers()
                return not any(ears.holds(name) for name in names)

            await wait_until(gone, PATIENCE)
            found = [await ears.ended(name) for name in names]
            heard = {"event", "deadline"} if fault == "killed" else {"deadline"}
            assert {str(entry["detector"]) for entry in found} <= heard
            assert {entry["reason"] for entry in found} == {"expired"}


async def test_forged_and_garbage_events_change_nothing_and_kill_nobody(ears: Ears) -> None:
    """R35, R36: a payload is never believed, whatever it says and about whom; the next true event is heard."""
    async with ears.both() as (reactor, sessions):
        await sessions.acquire("living")
        keys = set(cast("list[bytes]", ears.client.keys("mcp:session:*")))
        for said in (b"expired", b"del", b"evicted", b"rename_from", b"move_from") * 3:
            ears.client.publish("__keyspace@0__:mcp:session:living:heartbeat", said)
        for name in GARBAGE_IDS:
            for said in GARBAGE[:-1]:
                ears.client.publish(b"__keyspace@0__:mcp:session:" + name + b":heartbeat", said)
        host = reactor.crew.registry.host
        for channel in (
            "__keyspace@0__:other:session:living:heartbeat",
            "__keyspace@1__:mcp:session:living:heartbeat",
            "__keyspace@0__:mcp:session:living",
            f"__keyspace@0__:mcp:canary:{host}",
            f"mcp:host:{host}:wake",
            "__keyspace@0__:mcp:session:living:heartbeat",
        ):
            for said in GARBAGE:
                ears.client.publish(channel, said)
        await sessions.acquire("told")
        ears.end("told")
        assert (await ears.ended("told"))["detector"] == "event"
        await wait_until(lambda: len(reactor.queue) == 0 and reactor.queue.in_hand == 0, PATIENCE)
        assert ears.holds("living")
        assert ears.client.exists("mcp:session:living:heartbeat")
        assert keys <= set(cast("list[bytes]", ears.client.keys("mcp:session:*")))
        assert not ears.client.exists("mcp:session:unknown")
        assert reactor.troubles == {}


async def test_one_end_that_two_reactors_hear_several_times_is_one_teardown(ears: Ears) -> None:
    """R34: both hear it, each of them again and again: one claim, one removal, one entry."""
    async with ears.both() as (_, sessions), Reactor(ears.settings, runtime=ears.runtime):
        names = [f"twice{number}" for number in range(10)]
        for name in names:
            await sessions.acquire(name)
        for name in names:
            ears.end(name)
            for said in (b"expired", b"del", b"expired"):
                ears.client.publish(f"__keyspace@0__:mcp:session:{name}:heartbeat", said)
        for name in names:
            await ears.ended(name)
