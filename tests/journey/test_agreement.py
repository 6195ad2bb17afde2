"""From outside: `docker ps`, Redis and `reactor ls` agree at every step of a life."""

import signal
from pathlib import Path

import anyio

from reactor import SessionManager, Settings
from reactor.session import Session
from tests.cli.command import Cli
from tests.journey.sidecar import World, sidecar
from tests.waiting import wait_until

SESSIONS = [f"user-{number:02}" for number in range(20)]


async def acquire_all(user: Cli, ids: list[str], ttl: str) -> dict[str, Session]:
    """Acquire many sessions at once with one manager."""
    settings = Settings.load(env=user.environment, flags={"ttl": ttl}, cwd=Path(user.directory))
    got: dict[str, Session] = {}

    async def one(sessions: SessionManager, session_id: str) -> None:
        got[session_id] = await sessions.acquire(session_id)

    async with SessionManager.from_settings(settings) as sessions, anyio.create_task_group() as tasks:
        for session_id in ids:
            tasks.start_soon(one, sessions, session_id)
    return got


async def test_engine_redis_and_ls_agree_through_expiry_terminate_removal_and_kill(world: World) -> None:
    """20 acquired, 10 stop and go, 5 are terminated, 2 removed by hand, 3 expire while the reactor is dead."""
    user = world.user
    with sidecar(user) as reactor:
        await acquire_all(user, SESSIONS, "10m")
        assert len(world.running()) == 20
        assert world.agree()

        for session_id in SESSIONS[:10]:
            world.client.pexpire(f"mcp:session:{session_id}:heartbeat", 50)
        await wait_until(lambda: len(world.everything()) == 10, 20)
        for session_id in SESSIONS[10:]:
            assert world.beat(session_id, 600), session_id
        assert world.agree()
        assert set(world.listed()) == set(SESSIONS[10:])

        for session_id in SESSIONS[10:15]:
            assert user("terminate", session_id).code == 0
        assert set(world.listed()) == set(SESSIONS[15:])
        assert world.agree()

        listed = world.listed()
        world.engine.remove(listed["user-15"], listed["user-16"])
        await wait_until(lambda: not world.beat("user-15", 600) and not world.beat("user-16", 600), 10)
        assert set(world.listed()) == set(SESSIONS[17:])
        assert world.agree()

        reactor.signal(signal.SIGKILL)
        reactor.ended()
        for session_id in SESSIONS[17:]:
            world.client.pexpire(f"mcp:session:{session_id}:heartbeat", 50)
        await wait_until(lambda: not world.hearts(), 10)
        assert len(world.everything()) == 3
    with sidecar(user):
        await wait_until(lambda: not world.everything(), 20)
    assert world.listed() == {}
    ended = [entry["session_id"] for entry in world.events() if entry["event"] == "ended"]
    assert sorted(str(session_id) for session_id in ended) == SESSIONS, "each ended exactly once"


async def test_a_session_that_keeps_touching_its_key_outlives_one_that_stops(world: World) -> None:
    """The one that EXPIREs is still there, in the same container, well after the other's end."""
    with sidecar(world.user):
        got = await acquire_all(world.user, ["alive", "silent"], "4s")

        def alive_until_silent_is_gone() -> bool:
            assert world.beat("alive", 4), "the living session was killed"
            return got["silent"].container_id not in world.everything()

        await wait_until(alive_until_silent_is_gone, 20)
        assert got["alive"].container_id in world.everything()
        assert world.client.hget("mcp:session:alive", "state") == b"running"
        (ended,) = [entry for entry in world.events("silent") if entry["event"] == "ended"]
        assert (ended["reason"], ended["detector"] in ("deadline", "event")) == ("expired", True)


async def test_a_del_of_the_heartbeat_key_ends_the_session_at_once(world: World) -> None:
    """DEL is the client's own end: noticed by notification, long before the deadline."""
    with sidecar(world.user):
        got = await acquire_all(world.user, ["leaver"], "1h")
        world.client.delete(got["leaver"].heartbeat_key)
        await wait_until(lambda: not world.everything(), 10)
        (ended,) = [entry for entry in world.events("leaver") if entry["event"] == "ended"]
        assert (ended["reason"], ended["detector"]) == ("ended_by_client", "event")
