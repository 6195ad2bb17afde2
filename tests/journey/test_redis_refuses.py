"""A Redis that refuses to work for longer than a TTL: nobody who lives is removed, and who does not is, afterwards."""

from collections.abc import Awaitable, Callable

import pytest
import redis

from reactor import Settings, crew
from reactor.reconcile import Janitor
from tests.fakes.runtime import FakeRuntime
from tests.journey.outage import PATIENCE, Stage, stage
from tests.waiting import wait_until

ANOTHER = "another"
Step = Callable[[Stage], Awaitable[None]]


async def _misconf(on: Stage) -> None:
    """Let a snapshot fail: a directory stands where its file belongs."""
    (on.server.directory / "dump.rdb").mkdir()
    with on.client as client:
        client.config_set("save", "1 1")
        await wait_until(lambda: _refuses(client, "MISCONF"), PATIENCE)


async def _snapshot_works(on: Stage) -> None:
    (on.server.directory / "dump.rdb").rmdir()
    with on.client as client:
        client.config_set("save", "")
        client.bgsave()
        await wait_until(lambda: not _refuses(client, "MISCONF"), PATIENCE)


async def _no_replicas(on: Stage) -> None:
    with on.client as client:
        client.config_set("min-replicas-to-write", 3)
        await wait_until(lambda: _refuses(client, "NOREPLICAS"), PATIENCE)


async def _replicas_not_needed(on: Stage) -> None:
    with on.client as client:
        client.config_set("min-replicas-to-write", 0)


async def _demoted(on: Stage) -> None:
    with on.client as client:
        client.replicaof("127.0.0.1", 1)
        await wait_until(lambda: _refuses(client, "READONLY"), PATIENCE)


async def _promoted(on: Stage) -> None:
    with on.client as client:
        client.replicaof("NO", "ONE")


async def _frozen(on: Stage) -> None:
    on.server.freeze()


async def _thawed(on: Stage) -> None:
    on.server.thaw()


async def _killed(on: Stage) -> None:
    on.server.kill()


async def _restarted(on: Stage) -> None:
    on.server.start()


def _refuses(client: "redis.Redis", word: str) -> bool:
    try:
        client.set("other:probe", 1, px=1000)
    except redis.RedisError as error:
        return word in f"{type(error).__name__} {error}".upper()
    return False


async def _password_changed(on: Stage) -> None:
    with on.client as client:
        client.config_set("requirepass", ANOTHER)
        client.client_kill_filter(_type="normal", skipme=True)


async def _password_taken_back(on: Stage) -> None:
    with redis.Redis(port=on.server.port, password=ANOTHER) as client:
        client.config_set("requirepass", "")


LASTING = {"appendonly": "yes", "appendfsync": "always"}


@pytest.mark.parametrize(
    "fault, heal, kind, options",
    [
        pytest.param(_misconf, _snapshot_works, "outage", {}, id="R8 MISCONF"),
        pytest.param(_no_replicas, _replicas_not_needed, "outage", {}, id="R11 NOREPLICAS"),
        pytest.param(_demoted, _promoted, "role", {}, id="R9 READONLY"),
        pytest.param(_password_changed, _password_taken_back, "outage", {}, id="R12 NOAUTH"),
        pytest.param(_frozen, _thawed, "outage", {}, id="R24 SIGSTOP"),
        pytest.param(_killed, _restarted, "run", LASTING, id="R1 kill -9 with AOF"),
    ],
)
async def test_who_beats_lives_through_a_redis_that_refused_everybody(
    fault: Step, heal: Step, kind: str, options: dict[str, str]
) -> None:
    """Heartbeats are refused past every deadline; nobody is removed for it, and the silent ones after their grace."""
    async with stage(options) as on, on.both() as (_, sessions):
        for name in ("beats-1", "beats-2", "silent"):
            await sessions.acquire(name)
        with on.beating("beats-1", "beats-2"):
            await fault(on)
            await on.lasts(1.5)
            assert on.removed() == set()
            await heal(on)
            await on.doubted(kind)
            await on.only("beats-1", "beats-2")
            await on.lasts(2)
            assert on.held() == {"beats-1", "beats-2"}
            for name in ("beats-1", "beats-2"):
                assert on.answers[name][-1] == 1
        await on.only()


async def test_a_reconcile_by_hand_right_after_a_freeze_hears_the_reactor_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R24: it has not seen the freeze, only keys that ended in it; the reactor has, and says so within a second."""
    async with stage({}) as on, on.both() as (_, sessions):

        async def engine(_: Settings) -> FakeRuntime:
            return on.runtime

        monkeypatch.setattr(crew, "connect_runtime", engine)
        for name in ("one", "two"):
            await sessions.acquire(name)
        on.server.freeze()
        await on.lasts(2)
        on.server.thaw()
        async with Janitor.from_settings(on.settings) as janitor:
            _ = [pair async for pair in janitor.run()]
        assert on.held() == {"one", "two"}
        assert "outage" in on.doubts()
