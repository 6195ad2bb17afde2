"""The way out as a whole: what a silent engine or Redis costs, and who carries on."""

from datetime import timedelta

import anyio
import pytest

from reactor.errors import SessionLost, Unavailable
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Alive, Busy, Gone, Mode, Other
from reactor.session import Detector, EndReason, State, Token
from reactor.teardown import HAND_ON, Ended
from tests.protocol.actor import S1
from tests.protocol.scene import Scene
from tests.waiting import wait_until

A = Token("a")
SILENT = Unavailable("timed out")


async def test_a_living_session_is_left_alone(scene: Scene) -> None:
    """So is one that is gone."""
    actor = await scene.actor()
    session = await actor.acquire()

    assert isinstance(await actor.tear_down(), Alive)
    assert scene.running() == [session.container_id]
    assert isinstance(await actor.terminate(), Ended)
    assert await actor.tear_down() == Gone()


async def test_a_removal_whose_outcome_is_unknown_is_repeated_until_it_is_known(scene: Scene) -> None:
    """Done or not, the second answer tells; the session ends once."""
    actor = await scene.actor()
    await actor.acquire()
    actor.runtime.fail("remove", SILENT)
    actor.runtime.fail("remove", SILENT, after_effect=True)

    ended = await actor.terminate()

    assert isinstance(ended, Ended)
    assert scene.engine.removed[S1] == 1
    assert len(scene.events("ended")) == 1


async def test_a_teardown_that_the_engine_does_not_get_done_is_handed_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease that is left is short, and stands in the index; the next one finishes."""
    monkeypatch.setattr("reactor.teardown.ENGINE_LIMIT", timedelta(0))
    actor, other = await scene.actor(), await scene.actor()
    await actor.acquire()
    scene.end_by_hand()
    actor.runtime.fail("remove", SILENT, times=100)

    with pytest.raises(Unavailable):
        await actor.tear_down()

    assert scene.state() == State.ENDING
    left = int(scene.record()["lease_until"]) - scene.now_ms()
    assert left <= HAND_ON / timedelta(milliseconds=1)
    assert scene.score() == int(scene.record()["lease_until"])
    assert isinstance(await other.tear_down(), Busy)
    scene.pass_lease()
    assert isinstance(await other.tear_down(), Ended)
    assert scene.engine.held == {}


async def test_a_list_that_the_engine_does_not_give_is_no_empty_list(scene: Scene) -> None:
    """The claim of a spawn is not finished without having seen what it made."""
    actor = await scene.actor()
    made = await actor.create(A, await actor.reserved(A))
    scene.pass_lease()
    actor.runtime.fail("containers", SILENT)

    with pytest.raises(Unavailable):
        await actor.tear_down()

    assert scene.state() == State.ENDING
    scene.pass_lease()
    assert await actor.tear_down() == Ended(EndReason.SPAWN_FAILED, (made,))


async def test_a_claim_that_was_lost_before_the_engine_call_removes_nothing(scene: Scene) -> None:
    """Somebody took it over: right before each engine call it is asked for again."""
    actor, other = await scene.actor(), await scene.actor()
    session = await actor.acquire()
    scene.end_by_hand()

    async def meanwhile() -> None:
        scene.pass_lease()
        await other.claimed(A)

    actor.link.before(Script.EXTEND, meanwhile)
    with pytest.raises(SessionLost):
        await actor.tear_down()

    assert actor.runtime.count("remove") == 0
    assert scene.running() == [session.container_id]


async def test_a_claim_is_kept_while_the_engine_works(scene: Scene) -> None:
    """A stop grace may be longer than a lease."""
    actor, other = await scene.actor(claim_lease=timedelta(milliseconds=90)), await scene.actor()
    await actor.acquire()
    scene.end_by_hand()
    gate = actor.runtime.gate("remove")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.tear_down)
        await gate.reached.wait()
        first = int(scene.record()["lease_until"])
        await wait_until(lambda: scene.now_ms() > first + 100, what="the first lease would be over")
        assert isinstance(await other.tear_down(), Busy)
        gate.open()

    assert scene.engine.removed[S1] == 1
    assert scene.state() == State.ENDED


async def test_a_teardown_cancelled_in_the_middle_is_taken_over(scene: Scene) -> None:
    """As after a kill: its lease ends, the next one finishes, once."""
    actor, other = await scene.actor(), await scene.actor()
    await actor.acquire()
    scene.end_by_hand()
    gate = actor.runtime.gate("remove", after_effect=True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.tear_down)
        await gate.reached.wait()
        tasks.cancel_scope.cancel()

    assert scene.state() == State.ENDING
    scene.pass_lease()
    assert await other.tear_down() == Ended(EndReason.ENDED_BY_CLIENT, ())
    assert len(scene.events("ended")) == 1


async def test_two_reactors_tear_one_session_down_once(scene: Scene) -> None:
    """The one that does not claim hears who does."""
    one, other = await scene.actor(), await scene.actor()
    await one.acquire()
    scene.end_by_hand()
    gate = one.runtime.gate("remove")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.tear_down)
        await gate.reached.wait()
        assert isinstance(await other.tear_down(), Busy)
        assert isinstance(await other.terminate(), Busy)
        gate.open()

    assert scene.engine.removed[S1] == 1
    assert other.runtime.count("remove") == 0


async def test_a_container_that_was_removed_by_hand_ends_its_session_all_the_same(scene: Scene) -> None:
    """404 is done."""
    actor = await scene.actor()
    session = await actor.acquire()
    assert session.container_id is not None
    scene.engine.vanish(session.container_id)

    assert await actor.terminate() == Ended(EndReason.TERMINATED, ())


async def test_the_engines_word_about_an_old_container_changes_nothing(scene: Scene) -> None:
    """An event about c1 comes late; c2 lives."""
    actor = await scene.actor()
    first = await actor.acquire()
    await actor.terminate()
    session = await actor.acquire()

    await actor.worked_off(S1, Detector.ENGINE, first.container_id)

    assert isinstance(await actor.examine(Mode.END, A, expected=first.container_id), Other)
    assert scene.running() == [session.container_id]
    assert scene.beat() == 1


async def test_a_container_that_was_restarted_by_hand_keeps_its_session(scene: Scene) -> None:
    """It died, and runs again when it is looked at."""
    actor = await scene.actor()
    session = await actor.acquire()

    await actor.worked_off(S1, Detector.ENGINE, session.container_id)

    assert scene.running() == [session.container_id]
    assert scene.beat() == 1


async def test_a_worker_whose_teardown_failed_looks_again_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not spin, and it does not forget."""
    monkeypatch.setattr("reactor.teardown.ENGINE_LIMIT", timedelta(0))
    actor = await scene.actor()
    await actor.acquire()
    scene.end_by_hand()
    actor.runtime.fail("remove", SILENT)

    await actor.worked_off(S1, Detector.EVENT)
    assert scene.state() == State.ENDING
    assert (scene.score() or 0) > scene.now_ms() + 1000

    scene.pass_lease()
    await actor.worked_off(S1, Detector.DEADLINE)
    assert scene.state() == State.ENDED
    assert scene.engine.held == {}


async def test_a_worker_survives_what_is_not_its_own(scene: Scene) -> None:
    """An unreadable record, and a claim that somebody took over, cost nobody else anything."""
    scene.tidy = False
    actor, other = await scene.actor(), await scene.actor()
    scene.redis.hset(scene.keys.record(S1), "schema", "9")
    await actor.worked_off(S1, Detector.EVENT)
    scene.redis.delete(scene.keys.record(S1))

    await actor.acquire()
    scene.end_by_hand()

    async def meanwhile() -> None:
        scene.pass_lease()
        await other.claimed(A)

    actor.runtime.hook("remove", meanwhile)
    await actor.worked_off(S1, Detector.EVENT)
    assert scene.record()["claim_token"] == A
