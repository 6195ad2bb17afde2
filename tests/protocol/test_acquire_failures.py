"""The way in when it fails: at each step, what is left, what waiters hear, and who repairs it."""

from datetime import timedelta

import anyio
import pytest

from reactor.errors import AcquireTimeout, ImageMissing, ReactorError, SpawnFailed, Unavailable
from reactor.registry.scripts import Script
from reactor.session import State, Token
from reactor.templates import Pull, Template, parse_ready
from tests.fakes.runtime import FakeRuntime
from tests.fakes.script import Verb
from tests.protocol.actor import S1, Actor
from tests.protocol.scene import Scene
from tests.waiting import wait_until

A, B = Token("a"), Token("b")
LOST = Unavailable("the answer was lost")


FAILURES: list[tuple[Verb, ReactorError]] = [
    ("create", SpawnFailed("bad mount")),
    ("create", ImageMissing("no such image")),
    ("start", SpawnFailed("no such command")),
]


@pytest.mark.parametrize("verb, error", FAILURES)
async def test_a_spawn_that_cannot_work_leaves_nothing_but_its_reason(
    scene: Scene, verb: Verb, error: ReactorError
) -> None:
    """No container, no heartbeat, no lease; the next acquire is served at once."""
    actor = await scene.actor()
    actor.runtime.fail(verb, error)

    with pytest.raises(type(error), match=str(error)):
        await actor.acquire()

    assert scene.engine.held == {}
    assert (scene.state(), scene.score()) == (State.ENDED, None)
    assert await actor.janitor.plan() == []
    assert (await actor.acquire()).created is True


@pytest.mark.parametrize("verb", ["create", "start", "inspect"])
async def test_an_engine_that_stays_silent_leaves_what_the_next_one_repairs(
    scene: Scene, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is concluded from silence: the lease ends, then an acquire or a reactor takes over."""
    monkeypatch.setattr("reactor.spawn.ENGINE_LIMIT", timedelta(0))
    silent, other = await scene.actor(), await scene.actor()
    silent.runtime.fail(verb, LOST, times=1000, after_effect=True)

    with pytest.raises(Unavailable):
        await silent.acquire()

    assert scene.state() == State.STARTING
    scene.pass_lease()
    session = await other.acquire()
    assert list(scene.engine.held) == [session.container_id]


async def test_a_redis_that_stays_silent_at_the_commit_leaves_what_a_reactor_repairs(scene: Scene) -> None:
    """The container runs, and nobody was told: the lease ends, and it is removed."""
    silent, other = await scene.actor(), await scene.actor()

    async def mute() -> None:
        silent.link.before(Script.COMMIT, mute)
        raise LOST

    silent.link.before(Script.COMMIT, mute)
    with pytest.raises(Unavailable):
        await silent.acquire()

    assert len(scene.running()) == 1
    scene.pass_lease()
    await other.tear_down()
    assert scene.engine.held == {}


async def test_waiters_of_a_failed_spawn_get_its_error(scene: Scene) -> None:
    """The same error, once made; who comes later makes a new try."""
    spawner, waiter = await scene.actor(), await scene.actor()
    gate = spawner.runtime.gate("start")
    spawner.runtime.fail("start", SpawnFailed("no such command"))
    errors: list[str] = []

    async def acquire(actor: Actor) -> None:
        try:
            await actor.acquire()
        except SpawnFailed as error:
            errors.append(str(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(acquire, spawner)
        await gate.reached.wait()
        for _ in range(5):
            tasks.start_soon(acquire, waiter)
        await wait_until(lambda: waiter.link.answered.count(Script.RESERVE) >= 5, what="they wait")
        gate.open()

    assert errors == ["no such command"] * 6
    assert scene.engine.created[S1] == 1
    assert (await waiter.acquire()).created is True


@pytest.mark.parametrize("error", [AcquireTimeout("not ready"), ImageMissing("no image"), SpawnFailed("x: y: z")])
async def test_a_waiter_gets_the_kind_of_error_too(scene: Scene, error: ReactorError) -> None:
    """It decides about the exit code."""
    actor, waiter = await scene.actor(), await scene.actor()
    await actor.reserved(A)

    async def fails() -> None:
        await actor.registry.abort(S1, A, f"{type(error).__name__}: {error}")

    waiter.link.after(Script.RESERVE, fails)
    with pytest.raises(type(error), match=str(error)):
        await waiter.acquire()


async def test_a_container_that_does_not_get_ready_is_given_up(scene: Scene) -> None:
    """AcquireTimeout, and it is removed; the reason is kept for waiters."""
    actor = await scene.actor()
    template = Template(name="x", image="idle", ready=parse_ready("tcp:1"), ports=("1/tcp",), network="bridge")

    with pytest.raises(AcquireTimeout, match="tcp:1"):
        await actor.acquire(template=template, limit=0.6)

    assert scene.engine.held == {}
    assert scene.state() == State.ENDED
    assert scene.record()["error"].startswith("AcquireTimeout: ")


async def test_a_missing_image_is_pulled_while_nobody_holds_the_session(scene: Scene) -> None:
    """The id is let go first: during the pull there is no record and no lease."""
    engine = FakeRuntime(images=set())
    engine.registry.add("far")
    actor = await scene.actor(engine=engine)
    template = Template(name="x", image="far", pull=Pull.MISSING)
    during: list[dict[str, str]] = []

    async def look() -> None:
        during.append(scene.record())

    actor.runtime.hook("pull", look)
    session = await actor.acquire(template=template)

    assert during == [{}]
    assert session.created is True
    assert actor.runtime.count("pull") == 1


async def test_an_image_that_cannot_be_pulled_is_an_error(scene: Scene) -> None:
    """And leaves nothing."""
    actor = await scene.actor(engine=FakeRuntime(images=set()))

    with pytest.raises(ImageMissing):
        await actor.acquire(template=Template(name="x", image="far", pull=Pull.MISSING))

    assert scene.record() == {}
