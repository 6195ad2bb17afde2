"""A Redis that lost data: who beats and acquires again on reply 0 keeps the same container, who is silent does not."""

import os
from collections.abc import Awaitable, Callable

import pytest

from tests.journey.outage import PATIENCE, TTL, Stage, stage
from tests.waiting import wait_until

Step = Callable[[Stage], Awaitable[None]]
CLIENTS = ("beats-1", "beats-2")


async def _restart_empty(on: Stage) -> None:
    on.server.kill()
    on.server.start()


async def _flushall(on: Stage) -> None:
    with on.client as client:
        client.flushall()


async def _flushdb(on: Stage) -> None:
    with on.client as client:
        client.flushdb()


async def _swapdb(on: Stage) -> None:
    with on.client as client:
        client.swapdb(0, 1)


async def _restart_from_an_old_snapshot(on: Stage) -> None:
    """R3: the snapshot is older than the last heartbeats, so its keys have expired and are dropped without an event."""
    with on.client as client:
        client.save()
    await on.lasts(0.5)
    on.server.kill()
    await on.lasts(1.5)
    on.server.start()


async def _restart_from_before_the_sessions(on: Stage) -> None:
    """D12: an old backup is restored, the same database id comes back with it, and no session is in it."""
    on.server.kill()
    os.replace(on.server.directory / "backup.rdb", on.server.directory / "dump.rdb")  # noqa: PTH105
    on.server.start()


@pytest.mark.parametrize(
    "loss, kind",
    [
        pytest.param(_restart_empty, "db", id="R2 restart without persistence"),
        pytest.param(_restart_from_an_old_snapshot, "run", id="R3 down longer than the TTL"),
        pytest.param(_restart_from_before_the_sessions, "run", id="D12 restored backup"),
        pytest.param(_flushall, "db", id="R4 FLUSHALL"),
        pytest.param(_flushdb, "db", id="R5 FLUSHDB"),
        pytest.param(_swapdb, "db", id="R5 SWAPDB"),
    ],
)
async def test_who_beats_keeps_his_container_through_a_data_loss(loss: Step, kind: str) -> None:
    """The labels rebuild the registry: `acquire` returns the same container id; the abandoned one goes in time."""
    async with stage(acquire_timeout=TTL) as on, on.both() as (reactor, sessions):
        with on.client as client:
            client.save()
            os.replace(on.server.directory / "dump.rdb", on.server.directory / "backup.rdb")  # noqa: PTH105
        for name in (*CLIENTS, "silent"):
            await on.acquire(sessions, name)
        before = reactor.crew.registry.evidence.db
        with on.beating(*CLIENTS, again=sessions):
            await loss(on)
            await wait_until(lambda: reactor.crew.registry.evidence.db != before, PATIENCE, "the loss was witnessed")
            await on.doubted(kind)
            await on.lasts(3)
            assert on.removed() <= {"silent"}
            assert {name: len(on.given[name]) for name in CLIENTS} == dict.fromkeys(CLIENTS, 1)
            await on.only(*CLIENTS)
