"""An acquire that is cancelled, at each of its steps: no container is left, and the next one is served at once."""

from datetime import timedelta

import anyio
import pytest

from reactor.errors import AcquireTimeout
from reactor.registry.scripts import Script
from reactor.session import Session
from tests.fakes.script import Verb
from tests.protocol.actor import S1, Actor
from tests.protocol.scene import Scene


async def _cancelled(actor: Actor, reached: anyio.Event) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.acquire)
        await reached.wait()
        tasks.cancel_scope.cancel()


async def _served(scene: Scene) -> None:
    """Assert that no container is left, and that nobody has to wait for a lease."""
    assert scene.engine.held == {}
    other = await scene.actor()
    session = await other.acquire(limit=3)
    assert session.created is True
    assert scene.running() == [session.container_id]


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", ["create", "start", "inspect"])
async def test_an_acquire_cancelled_around_an_engine_call_leaves_nothing(
    scene: Scene, verb: Verb, *, after_effect: bool
) -> None:
    """Whether the engine had done it or not."""
    actor = await scene.actor()
    gate = actor.runtime.gate(verb, after_effect=after_effect)

    await _cancelled(actor, gate.reached)

    await _served(scene)


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("script", [Script.RENEW, Script.COMMIT])
async def test_an_acquire_cancelled_around_a_verb_of_the_spawn_leaves_nothing_or_a_session(
    scene: Scene, script: Script, *, after_effect: bool
) -> None:
    """After the commit the session is there, with its heartbeat; before it nothing is."""
    actor = await scene.actor()
    reached = anyio.Event()

    async def pause() -> None:
        reached.set()
        await anyio.sleep_forever()

    (actor.link.after if after_effect else actor.link.before)(script, pause)
    await _cancelled(actor, reached)

    if script is Script.COMMIT and after_effect:
        assert len(scene.running()) == 1
        assert scene.beat() == 1
        assert (await actor.acquire()).created is False
    else:
        await _served(scene)


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
async def test_an_acquire_cancelled_around_its_reserve_lets_the_id_go(scene: Scene, *, after_effect: bool) -> None:
    """The grant was on its way: it is given back, and nobody waits for its lease."""
    actor = await scene.actor()
    reached = anyio.Event()

    async def pause() -> None:
        reached.set()
        await anyio.sleep_forever()

    (actor.link.after if after_effect else actor.link.before)(Script.RESERVE, pause)
    await _cancelled(actor, reached)

    assert scene.record() == {}
    await _served(scene)


async def test_an_acquire_cancelled_around_its_reserve_leaves_a_living_session_alone(scene: Scene) -> None:
    """There was nothing to give back."""
    actor = await scene.actor()
    session = await actor.acquire()
    reached = anyio.Event()

    async def pause() -> None:
        reached.set()
        await anyio.sleep_forever()

    actor.link.after(Script.RESERVE, pause)
    await _cancelled(actor, reached)

    assert scene.running() == [session.container_id]
    assert scene.beat() == 1


async def test_a_cancelled_waiter_leaves_the_spawner_alone(scene: Scene) -> None:
    """It only waited."""
    spawner, waiter = await scene.actor(), await scene.actor()
    gate = spawner.runtime.gate("start")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spawner.acquire)
        await gate.reached.wait()
        with anyio.move_on_after(0.05):
            await waiter.acquire()
        gate.open()

    assert len(scene.running()) == 1
    assert scene.engine.created[S1] == 1


async def test_an_engine_that_hangs_is_given_up_at_the_deadline(scene: Scene) -> None:
    """The caller hears of it in time; what was half made is gone."""
    actor = await scene.actor()
    gate = actor.runtime.gate("start")

    with pytest.raises(AcquireTimeout):
        await actor.acquire(limit=0.3)

    gate.open()
    await _served(scene)


async def test_a_spawn_that_loses_its_lease_while_the_engine_works_stops_by_itself(scene: Scene) -> None:
    """Its renewals find out; it reserves again and gets what the other one made."""
    late, other = await scene.actor(spawn_lease=timedelta(milliseconds=60)), await scene.actor()
    gate = late.runtime.gate("start")
    sessions: list[Session] = []

    async def acquire() -> None:
        sessions.append(await late.acquire())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(acquire)
        await gate.reached.wait()
        scene.redis.hset(scene.keys.record(S1), "token", "taken")
        scene.pass_lease()
        sessions.append(await other.acquire())

    assert len({session.container_id for session in sessions}) == 1
    assert scene.running() == [sessions[0].container_id]
