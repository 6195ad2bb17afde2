"""Redis loses its data while sessions have containers of the pool, which no label ties to them."""

from datetime import timedelta
from typing import Any

from reactor import Janitor, Reactor, SessionManager
from reactor.session import Detector
from tests.pool.house import KEYS, House
from tests.waiting import wait_until


async def test_the_next_acquire_of_the_id_finds_its_container(house: House) -> None:
    """By the name, which is the session's; it is registered with the generation of that reserve."""
    settings = house.template(pool=1)
    async with Reactor(settings):
        await house.filled(1)
        async with SessionManager(settings) as sessions:
            before = await sessions.acquire("kept")
    house.client.flushall()
    async with SessionManager(settings) as sessions:
        after = await sessions.acquire("kept")
        assert after.container_id == before.container_id
        assert after.generation > before.generation
        assert house.record("kept")["generation"] == str(after.generation)
        assert house.client.hvals(KEYS.taken(house.host)) == [f"{after.generation} kept"]
        entries: Any = house.client.xrange("mcp:events")
        assert entries[-1][1]["event"] == "adopted"
        async with Janitor.from_settings(settings) as janitor:
            assert [line for line in await janitor.plan() if line.container_id == after.container_id] == []
        await sessions.terminate("kept")
        assert after.container_id not in house.everything()


async def test_one_that_nobody_acquires_goes_after_its_ttl(house: House) -> None:
    """It is kept that long, counted from when the loss was noticed, and an acquire within it finds it."""
    settings = house.template(pool=1, ttl="2s")
    async with Reactor(settings):
        await house.filled(1)
        async with SessionManager(settings) as sessions:
            lost = await sessions.acquire("lost", ttl=timedelta(seconds=2))
    house.client.flushall()

    async def outcomes() -> list[tuple[str, str]]:
        async with Janitor.from_settings(settings) as janitor:
            return [(line.action.value, o) async for line, o in janitor.run() if line.container_id == lost.container_id]

    assert await outcomes() == [("adopt", "done")]
    assert (await outcomes())[0][0] in ("wait", "remove")

    async def gone() -> bool:
        await outcomes()
        return lost.container_id not in house.everything()

    await wait_until(gone, 30, "it is gone")
    async with SessionManager(settings) as sessions:
        assert (await sessions.acquire("lost")).container_id != lost.container_id


async def test_one_whose_commit_was_lost_is_not_removed_by_the_claim_of_its_start(house: House) -> None:
    """Redis came back with the record as it was before the commit: the container may be somebody's."""
    settings = house.template(pool=1)
    async with Reactor(settings):
        await house.filled(1)
        async with SessionManager(settings) as sessions:
            session = await sessions.acquire("rewound")
    record = KEYS.record(session.session_id)
    house.client.hset(record, mapping={"state": "starting", "lease_until": "1"})
    house.client.hdel(record, "deadline")
    house.client.delete(KEYS.heartbeat(session.session_id))
    house.client.hset(KEYS.meta, "db", "another")
    house.client.hset(KEYS.seen(house.host), "db", "another")
    async with SessionManager(settings) as sessions:
        again = await sessions.acquire("rewound")
        assert again.container_id == session.container_id
        assert house.client.hget(record, "detector") != Detector.EVENT
