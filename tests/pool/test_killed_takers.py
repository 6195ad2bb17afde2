"""kill -9 between any two calls of an acquire that takes from the pool: nothing leaks, and the id is served again."""

import pytest

from reactor import Janitor, Reactor, Settings
from tests.hosts.test_killed import acquired, calls_of, cut_off
from tests.pool.house import House
from tests.waiting import wait_until

pytestmark = pytest.mark.slow  # the newest Python is enough

CALLS = 6
"""reserve, take, rename, inspect, commit, inspect."""


@pytest.fixture
def settings(house: House, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A pool that has one container for each killed acquire; the killed processes read the same environment."""
    settings = house.template(pool=CALLS + 1)
    environment = {**house.user.environment, "REACTOR_CONFIG": str(house.user.directory / "reactor.toml")}
    for name, value in {**environment, "REACTOR_ACQUIRE_TIMEOUT": "50s"}.items():
        if name.startswith(("REACTOR_", "REDIS_", "DOCKER_")):
            monkeypatch.setenv(name, value)
    return settings


async def cut(house: House, settings: Settings) -> list[str]:
    """Fill the pool, let its reactor end, and kill one acquire at each of its calls; return their ids."""
    async with Reactor(settings):
        await house.filled(CALLS + 1)
    assert calls_of("acquire", "whole") == CALLS
    jobs = [(f"cut-{number}", number) for number in range(CALLS)]
    cut_off("acquire", jobs)
    return [session_id for session_id, _ in jobs]


async def test_the_next_acquire_is_served_and_nothing_is_left(house: House, settings: Settings) -> None:
    """No reactor runs: each id gets one container within the spawn's lease, and all others wait in the pool."""
    ids = await cut(house, settings)

    found = await acquired(settings, ids)

    assert len(set(found.values())) == CALLS
    whole = house.record("whole")["container_id"]
    assert house.everything() == {*found.values(), whole} | house.ready()
    assert not {*found.values(), whole} & house.ready()
    async with Janitor.from_settings(settings) as janitor:
        there = house.everything()
        assert [line for line in await janitor.plan() if line.container_id in there] == []


async def test_what_nobody_asks_for_again_is_removed(house: House, settings: Settings) -> None:
    """A reactor alone: each container is a living session's, or waits in the pool, once the leases are over."""
    ids = await cut(house, settings)

    def settled() -> bool:
        records = [house.record(session_id) for session_id in ids]
        if any(record.get("state") in ("starting", "ending") for record in records):
            return False
        held = {record["container_id"] for record in records if record.get("state") == "running"}
        held.add(house.record("whole")["container_id"])
        return house.everything() == held | house.ready()

    async with Reactor(settings):
        await wait_until(settled, 60, "nothing is nobody's")
        await house.filled(CALLS + 1)
