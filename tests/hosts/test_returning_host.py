"""P9, a host that was forgotten and returns all the same: no session runs twice (S2), and its old containers go."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from reactor import Reactor, SessionManager, Settings
from reactor.keys import Keys
from reactor.registry import Hosts
from reactor.session import HostName, SessionId, Token
from tests.fakes.runtime import FakeRuntime
from tests.protocol.actor import S1, Actor, HookedLink
from tests.protocol.scene import Scene
from tests.waiting import wait_until

GONE, HERE = HostName("gone"), HostName("here")
S2 = SessionId("s-2")
A, B = Token("a"), Token("b")
MANY = [SessionId(f"m-{n}") for n in range(25)]
OnHost = Callable[[str], Settings]


@pytest.fixture
async def lost(scene: Scene) -> Actor:
    """A process of the host that goes away."""
    return await scene.actor(host=GONE, engine=FakeRuntime(host=GONE), limit=timedelta(0))


@pytest.fixture
async def here(scene: Scene) -> Actor:
    """A process of a host that stays."""
    return await scene.actor(host=HERE, engine=FakeRuntime(host=HERE), limit=timedelta(0))


async def _forget(scene: Scene, *, force: bool = False, link: HookedLink | None = None) -> int:
    async with Hosts(link or HookedLink(scene.server.url), Keys("mcp")) as known:
        return await known.forget(GONE, force=force)


async def test_s2_a_returning_host_removes_what_was_taken_from_it(
    scene: Scene, lost: Actor, here: Actor, on_host: OnHost
) -> None:
    """More than the brake would let go: Redis itself says that each of these very spawns has ended."""
    for session_id in MANY:
        await lost.acquire(session_id)
    assert await _forget(scene) == 25
    moved = await here.acquire(MANY[0])

    async with Reactor(on_host("gone"), runtime=lost.runtime) as reactor:
        assert lost.runtime.held == {}
        assert reactor.troubles == {}
    assert [c.container_id for c in here.runtime.running()] == [moved.container_id]
    assert scene.beat(MANY[0]) == 1


async def test_s2_a_returning_host_whose_tombstones_have_gone_is_braked(
    scene: Scene, lost: Actor, on_host: OnHost
) -> None:
    """Nothing in Redis speaks of these containers any more: a person decides."""
    for session_id in MANY:
        await lost.acquire(session_id)
    await _forget(scene)
    for session_id in MANY:
        scene.redis.delete(scene.keys.record(session_id))

    async with Reactor(on_host("gone"), runtime=lost.runtime) as reactor:
        assert "25 orphan" in reactor.troubles["janitor"]
        assert len(lost.runtime.running()) == 25
    await lost.reconcile(force=True)
    assert lost.runtime.held == {}


async def test_s2_an_acquire_on_the_returned_host_replaces_its_old_container(
    scene: Scene, lost: Actor, on_host: OnHost
) -> None:
    """It holds the name, and its spawn has ended: removed by ID, and a new generation made."""
    old = await lost.acquire()
    await _forget(scene)

    async with SessionManager(on_host("gone"), runtime=lost.runtime) as sessions:
        new = await sessions.acquire("s-1")

    assert new.generation > old.generation
    assert [c.container_id for c in lost.runtime.running()] == [new.container_id]


async def test_s2_after_a_data_loss_a_returning_host_registers_only_what_runs_nowhere_else(
    scene: Scene, lost: Actor, here: Actor
) -> None:
    """Its free ids are adopted with a full TTL; the one that was acquired elsewhere meanwhile is not."""
    kept = await lost.acquire(S1)
    await lost.acquire(S2)
    await _forget(scene)
    scene.flush()
    moved = await here.acquire(S2)

    await lost.reconcile()

    assert [c.container_id for c in lost.runtime.running()] == [kept.container_id]
    assert (scene.record(S1)["host"], scene.record(S2)["host"]) == ("gone", "here")
    assert [c.container_id for c in here.runtime.running()] == [moved.container_id]


async def test_a_forced_forgetting_of_a_running_reactor_leaves_no_session_twice(
    scene: Scene, here: Actor, on_host: OnHost
) -> None:
    """It finds out by itself that nothing of it is known any more, binds its name again, and cleans up."""
    engine = FakeRuntime(host=GONE)
    async with (
        Reactor(on_host("gone"), runtime=engine) as reactor,
        SessionManager(on_host("gone"), runtime=engine) as sessions,
    ):
        await sessions.acquire("s-1")
        await _forget(scene, force=True)
        moved = await here.acquire()
        reactor.sweep()
        await wait_until(lambda: not engine.held, what="what was taken from it is removed")
        await wait_until(lambda: bool(scene.redis.exists(scene.keys.engine(GONE))), what="its name is bound again")
    assert [c.container_id for c in here.runtime.running()] == [moved.container_id]
