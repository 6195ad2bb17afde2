"""A session gets a container of the pool: at once, alone, and just what it would have got without one."""

from datetime import timedelta
from typing import Any

import anyio

from reactor import Reactor, SessionManager
from reactor.keys import container_name
from reactor.session import Deployment, SessionId
from tests.pool.house import KEYS, House
from tests.waiting import wait_until


async def test_an_acquire_takes_a_ready_container_and_another_is_made(house: House) -> None:
    """It bears the session's name then, stands in no pool, and the pool is filled up again."""
    settings = house.template(pool=2)
    async with Reactor(settings), SessionManager(settings) as sessions:
        ready = await house.filled(2)
        names = {house.name(container) for container in ready}
        assert all(name.startswith(f"mcp.pool-{house.deployment}-") for name in names)

        session = await sessions.acquire("warm")

        assert session.created
        assert session.container_id in ready
        name = container_name("mcp", Deployment(house.deployment), SessionId("warm"))
        assert house.name(session.container_id or "") == name
        assert session.container_id not in house.ready()
        assert len(await house.filled(2)) == 2
        assert (await sessions.acquire("warm")).created is False
        await sessions.terminate("warm")
        assert session.container_id not in house.everything()
        assert house.client.hgetall(KEYS.taken(house.host)) == {}


def _decides(found: dict[str, Any]) -> dict[str, Any]:
    """All of an inspect answer that is not one container's own: names, times, addresses, and whose it is."""
    config = {key: value for key, value in found["Config"].items() if key not in ("Hostname", "Labels")}
    kept = ("Image", "Path", "Args", "HostConfig", "Mounts", "Driver", "Platform", "MountLabel", "ProcessLabel")
    networks = sorted(found["NetworkSettings"]["Networks"])
    return {**{key: found.get(key) for key in kept}, "Config": config, "Networks": networks}


async def test_a_container_of_the_pool_is_what_an_acquire_makes(house: House) -> None:
    """Inspected, both are the same but for names, times and labels; neither was told a session's id."""
    settings = house.template(pool=1, more='environment = { MODE = "a" }\nmemory = "64m"\nnetwork = "bridge"')
    async with SessionManager(settings) as sessions:
        cold = await sessions.acquire("cold")
        async with Reactor(settings):
            (waiting,) = await house.filled(1)
            warm = await sessions.acquire("warm")
    assert warm.container_id == waiting
    left, right = (house.engine.inspect(str(each.container_id)) for each in (cold, warm))
    assert _decides(left) == _decides(right)
    assert "MODE=a" in right["Config"]["Env"]
    assert not [word for word in right["Config"]["Env"] if word.startswith("SESSION_ID=")]


async def test_another_ttl_and_another_template_pass_the_pool_by(house: House) -> None:
    """What waits keeps waiting: it would not be what was asked for."""
    other = f'[template.other]\nimage = "{house.image}"'
    settings = house.template(pool=1, more=other)
    async with Reactor(settings), SessionManager(settings) as sessions:
        ready = await house.filled(1)
        shorter = await sessions.acquire("shorter", ttl=timedelta(minutes=5))
        elsewhere = await sessions.acquire("elsewhere", template="other")
        assert not ready & {shorter.container_id, elsewhere.container_id}
        assert house.ready() == ready
    environment = house.engine.inspect(str(elsewhere.container_id))["Config"]["Env"]
    assert "SESSION_ID=elsewhere" in environment


async def test_callers_of_two_managers_never_share_a_container(house: House) -> None:
    """More sessions than containers wait: each gets its own, the rest are made."""
    settings = house.template(pool=4)
    async with Reactor(settings):
        ready = await house.filled(4)
        found: dict[str, str] = {}
        async with (
            SessionManager(settings) as left,
            SessionManager(settings) as right,
            anyio.create_task_group() as tasks,
        ):

            async def acquire(sessions: SessionManager, session_id: str) -> None:
                found[session_id] = str((await sessions.acquire(session_id)).container_id)

            for number in range(6):
                tasks.start_soon(acquire, (left, right)[number % 2], f"s-{number}")
    assert len(set(found.values())) == 6
    assert ready <= set(found.values())


async def test_one_session_acquired_by_many_takes_one_container(house: House) -> None:
    """The record is the lock, warm as cold."""
    settings = house.template(pool=3)
    async with Reactor(settings), SessionManager(settings) as sessions:
        ready = await house.filled(3)
        found: list[object] = []
        async with anyio.create_task_group() as tasks:

            async def acquire() -> None:
                found.append((await sessions.acquire("same")).container_id)

            for _ in range(10):
                tasks.start_soon(acquire)
        assert len(set(found)) == 1
        assert set(found) <= ready
        await wait_until(lambda: len(house.ready() & ready) == 2, what="the other two still wait")
