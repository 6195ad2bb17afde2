"""The three promises that everything else serves, through the public face, and their neighbours."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from reactor import SessionLost, SessionManager, SessionNotFound
from reactor.errors import AcquireTimeout, ConfigError, InvalidSessionId, UsageError
from reactor.registry.verdicts import Mode
from reactor.session import Deployment, HostName, SessionId, State, Token
from reactor.settings import Settings
from reactor.templates import Template
from tests.fakes.runtime import FakeRuntime
from tests.protocol.actor import S1, TTL
from tests.protocol.scene import Scene
from tests.services.redis import RedisServer
from tests.waiting import wait_until


@pytest.fixture
def settings(redis_server: RedisServer) -> Settings:
    """Settings as an application has them."""
    templates = {"default": Template(name="default", image="idle"), "other": Template(name="other", image="idle")}
    return Settings(
        redis_url=redis_server.url, deployment=Deployment("test"), templates=templates, stop_grace=timedelta(0),
        acquire_timeout=timedelta(seconds=10),
    )  # fmt: skip


@pytest.fixture
async def sessions(settings: Settings, scene: Scene) -> AsyncIterator[SessionManager]:
    """An open manager on the scene's engine."""
    async with SessionManager(settings, runtime=scene.engine) as manager:
        yield manager


async def test_new_session_spawns_saves_returns(sessions: SessionManager, scene: Scene) -> None:
    """A missing session: one container, one record that names it, one heartbeat key with the TTL."""
    session = await sessions.acquire("s-1")

    assert scene.engine.created[S1] == 1
    assert scene.running() == [session.container_id]
    record = scene.record()
    assert (record["state"], record["container_id"]) == ("running", session.container_id)
    assert 890 < scene.redis.ttl(session.heartbeat_key) <= 900
    assert (session.created, session.state, session.ttl) == (True, State.RUNNING, TTL)
    assert session.expires_in is not None


async def test_existing_session_returns_the_same_container_and_refreshes_the_heartbeat(
    sessions: SessionManager, scene: Scene
) -> None:
    """The second acquire finds the first one's."""
    first = await sessions.acquire("s-1")
    scene.redis.expire(first.heartbeat_key, 100)

    second = await sessions.acquire("s-1")

    assert (second.container_id, second.generation) == (first.container_id, first.generation)
    assert second.created is False
    assert scene.redis.ttl(first.heartbeat_key) > 890
    assert scene.engine.created[S1] == 1


async def test_janitor_terminates_each_idle_session_exactly_once(sessions: SessionManager, scene: Scene) -> None:
    """Two janitors at once, three idle sessions, one active: three removals, three entries, one left."""
    names = [SessionId(f"idle-{n}") for n in range(3)]
    for name in (*names, S1):
        await sessions.acquire(name)
    for name in names:
        await scene.run_out(name)
    one, other = [await scene.actor(host="fake-host") for _ in range(2)]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.reconcile)
        tasks.start_soon(other.reconcile)

    assert [scene.engine.removed[name] for name in (*names, S1)] == [1, 1, 1, 0]
    assert sorted(entry["session_id"] for entry in scene.events("ended")) == names
    assert len(scene.engine.running()) == 1


async def test_a_terminate_stops_and_removes(sessions: SessionManager, scene: Scene) -> None:
    """It returns when the container is gone; the session is over, for everybody."""
    await sessions.acquire("s-1")

    await sessions.terminate("s-1")

    assert scene.engine.held == {}
    assert scene.beat() == 0
    with pytest.raises(SessionNotFound):
        await sessions.get("s-1")
    with pytest.raises(SessionNotFound):
        await sessions.terminate("s-1")


async def test_two_terminates_wait_for_the_same_end(sessions: SessionManager, scene: Scene) -> None:
    """The second one hears that somebody is at it."""
    await sessions.acquire("s-1")
    gate = scene.engine.gate("remove")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sessions.terminate, "s-1")
        await gate.reached.wait()
        tasks.start_soon(sessions.terminate, "s-1")
        await anyio.wait_all_tasks_blocked()
        assert len(scene.engine.held) == 1
        gate.open()

    assert scene.engine.held == {}
    assert len(scene.events("ended")) == 1


async def test_a_terminate_that_is_overtaken_waits_for_the_other_one(sessions: SessionManager, scene: Scene) -> None:
    """Its claim's lease ended while it paused; a reactor took over: the session is gone all the same."""
    await sessions.acquire("s-1")
    reactor = await scene.actor(host="fake-host")
    gate = scene.engine.gate("remove")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sessions.terminate, "s-1")
        await gate.reached.wait()
        scene.pass_lease()
        await reactor.tear_down()
        gate.open()

    assert scene.engine.held == {}
    assert scene.state() == State.ENDED


async def test_another_hosts_session_is_ended_by_its_own_reactors(sessions: SessionManager, scene: Scene) -> None:
    """It is marked there; the call returns when it is gone."""
    owner = await scene.actor(host="h2", engine=FakeRuntime(host="h2"))
    session = await owner.acquire()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sessions.terminate, "s-1")
        await wait_until(lambda: "end_requested" in scene.record(), what="it is marked")
        assert await owner.registry.next_due(10) == (["s-1"], None)
        await owner.tear_down()

    assert session.container_id not in owner.runtime.held


async def test_another_host_that_does_not_answer_is_said_to_be_so(settings: Settings, scene: Scene) -> None:
    """Trying again is right: exit code 75."""
    owner = await scene.actor(host="h2")
    await owner.spawn()
    hasty = replace(settings, acquire_timeout=timedelta(milliseconds=300), host=HostName("h1"))
    async with SessionManager(hasty, runtime=scene.engine) as manager:
        with pytest.raises(AcquireTimeout, match=r"its host h2 does not answer; .*`reactor forget-host h2`"):
            await manager.terminate("s-1")


async def test_an_existing_session_keeps_its_template_and_ttl(sessions: SessionManager) -> None:
    """What was asked for and is not so is a warning; asking for nothing is none."""
    await sessions.acquire("s-1")

    other = await sessions.acquire("s-1", template="other", ttl=timedelta(seconds=60))
    plain = await sessions.acquire("s-1")

    assert other.template == "default"
    assert other.warning == "session s-1 exists and keeps template default, not other and TTL 15m, not 1m"
    assert plain.warning is None


async def test_bad_input_reaches_neither_redis_nor_the_engine(sessions: SessionManager, scene: Scene) -> None:
    """A bad id, an unknown template, a TTL out of range, a template that cannot run here."""
    with pytest.raises(InvalidSessionId):
        await sessions.acquire("a/b")
    with pytest.raises(UsageError):
        await sessions.acquire("s-1", template="none")
    with pytest.raises(UsageError):
        await sessions.acquire("s-1", ttl=timedelta(days=2))
    scene.engine.problem = "no way to its port"
    with pytest.raises(ConfigError, match="no way to its port"):
        await sessions.acquire("s-1")

    assert scene.record() == {}
    assert scene.engine.count("create") == 0


async def test_a_held_session_is_kept_alive_until_its_body_ends(sessions: SessionManager, scene: Scene) -> None:
    """Heartbeats come by themselves; with `end` the session is over afterwards, without it lives by its TTL."""
    async with sessions.hold("s-1", ttl=timedelta(seconds=2)) as session:
        started = scene.redis.pexpiretime(session.heartbeat_key)
        await wait_until(lambda: scene.redis.pexpiretime(session.heartbeat_key) > started, what="a heartbeat came")
    assert scene.has_key()

    async with sessions.hold("s-1", end=True):
        assert scene.beat() == 1
    assert scene.engine.held == {}


async def test_a_held_session_that_ends_cancels_its_body(sessions: SessionManager, scene: Scene) -> None:
    """And the caller hears why."""
    reactor = await scene.actor(host="fake-host")

    async def hold() -> None:
        async with sessions.hold("s-1", ttl=timedelta(seconds=2)):
            await reactor.terminate()
            await anyio.sleep_forever()

    with pytest.raises(SessionLost, match="ended while it was held"):
        await hold()


async def test_a_terminate_does_not_end_what_was_acquired_after_it(sessions: SessionManager, scene: Scene) -> None:
    """Two terminates wait for one end; before the second one hears of it, the session lives again."""
    await sessions.acquire("s-1")
    reactor, other = await scene.actor(host="fake-host"), await scene.actor(host="fake-host")
    await reactor.claimed(Token("t"), mode=Mode.END)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sessions.terminate, "s-1")
        wake = scene.keys.wake(reactor.registry.host)
        await wait_until(lambda: scene.redis.pubsub_numsub(wake)[0][1] == 1, what="it waits for the other one's end")
        scene.pass_lease()
        await other.tear_down()
        await other.acquire()

    assert len(scene.running()) == 1
    assert scene.engine.removed[S1] == 1
    assert scene.beat() == 1


async def test_listing_shows_what_is_not_over(sessions: SessionManager) -> None:
    """Each once."""
    for name in ("a", "b", "c"):
        await sessions.acquire(name)
    await sessions.terminate("b")

    assert sorted([session.session_id async for session in sessions.sessions()]) == ["a", "c"]
