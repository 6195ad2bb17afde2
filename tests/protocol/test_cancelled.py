"""The way out and the repairs, cancelled or left without an answer around each call: done once, by the next."""

from collections.abc import Callable

import anyio
import pytest

from reactor.errors import Unavailable
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Gone
from reactor.session import ContainerId, State
from reactor.teardown import Ended
from tests.fakes.script import Verb
from tests.protocol.actor import S1, Actor
from tests.protocol.scene import Scene

Call = Script | Verb
LOST = Unavailable("the answer was lost")


def _at(actor: Actor, call: Call, hook: Callable[[], object], *, after_effect: bool) -> None:
    async def act() -> None:
        hook()
        await anyio.sleep_forever()

    if isinstance(call, Script):
        (actor.link.after if after_effect else actor.link.before)(call, act)
    else:
        actor.runtime.hook(call, act, after_effect=after_effect)


async def _cancelled(actor: Actor, call: Call, flow: Callable[[], object], *, after_effect: bool) -> None:
    reached = anyio.Event()
    _at(actor, call, reached.set, after_effect=after_effect)

    async def run() -> None:
        await flow()  # type: ignore[misc]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await reached.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", [Script.EXAMINE, Script.EXTEND, "remove", Script.FINISH])
async def test_p1_a_teardown_cancelled_around_any_call_is_done_by_the_next(
    scene: Scene, call: Call, *, after_effect: bool
) -> None:
    """One removal, one end in the audit stream, whoever did which part of it."""
    actor, other = await scene.actor(), await scene.actor()
    await actor.acquire()

    await _cancelled(actor, call, actor.terminate, after_effect=after_effect)
    if scene.state() == State.ENDING:
        scene.pass_lease()

    assert isinstance(await other.terminate(), Gone if call is Script.FINISH and after_effect else Ended)
    assert scene.engine.removed[S1] == 1
    assert len(scene.events("ended")) == 1
    assert (scene.state(), scene.score()) == (State.ENDED, None)


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", [Script.ADOPT_ORPHAN, Script.EXTEND, "remove", Script.FINISH])
async def test_p1_the_removal_of_an_orphan_cancelled_around_any_call_is_done_by_the_next(
    scene: Scene, call: Call, *, after_effect: bool
) -> None:
    """The same for what the janitor claims."""
    actor, other = await scene.actor(), await scene.actor()
    await actor.acquire()
    scene.redis.delete(scene.keys.record(S1), scene.keys.heartbeat(S1))

    await _cancelled(actor, call, actor.reconcile, after_effect=after_effect)
    if scene.state() == State.ENDING:
        scene.pass_lease()
    await other.reconcile()

    assert scene.engine.removed[S1] == 1
    assert [entry["reason"] for entry in scene.events("ended")] == ["orphan"]
    assert await other.reconcile() == []


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
async def test_p1_a_registration_that_is_cancelled_is_repeated_by_the_next(scene: Scene, *, after_effect: bool) -> None:
    """After a data loss: the same container, registered once."""
    actor, other = await scene.actor(), await scene.actor()
    session = await actor.acquire()
    scene.flush()

    await _cancelled(actor, Script.REGISTER, actor.acquire, after_effect=after_effect)
    if scene.state() == State.STARTING:
        scene.pass_lease()

    assert (await other.acquire()).container_id == session.container_id
    assert len(scene.events("adopted")) == 1
    assert scene.running() == [session.container_id]


async def test_r20_a_lost_answer_to_a_wish_for_an_end_is_asked_for_again(scene: Scene) -> None:
    """The mark is there once, and the owner acts on it once."""
    owner, other = await scene.actor(host="h2"), await scene.actor()
    generation = (await owner.acquire()).generation
    other.link.lose(Script.REQUEST_END)

    assert await other.registry.request_end(S1, owner.registry.host, generation)
    assert isinstance(await owner.tear_down(), Ended)
    assert not await other.registry.request_end(S1, owner.registry.host, generation)
    assert len(scene.events("ended")) == 1


@pytest.mark.parametrize("verb", ["start", "inspect", "create"])
async def test_d8_a_lost_answer_of_the_engine_makes_no_second_container(scene: Scene, verb: Verb) -> None:
    """It is asked again, and finds its own work done."""
    actor = await scene.actor()
    actor.runtime.fail(verb, LOST, after_effect=True)

    session = await actor.acquire()

    assert scene.engine.created[S1] == scene.engine.started[S1] == 1
    assert scene.running() == [session.container_id]


async def test_one_hiccup_of_the_engine_costs_a_living_session_nothing(scene: Scene) -> None:
    """Nobody watches its host, so the acquire looks itself, and looks again."""
    actor = await scene.actor()
    first = await actor.acquire()
    actor.runtime.fail("inspect", LOST, times=2)

    again = await actor.acquire()

    assert (again.container_id, again.created) == (first.container_id, False)
    assert ContainerId(str(again.container_id)) in scene.engine.held
