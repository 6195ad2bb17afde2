"""Traces on the way out, each with its number: late finishes, forced claims, lost claims, claims of the dead."""

from datetime import timedelta

import pytest

from reactor.errors import SessionLost, Unavailable
from reactor.plan import Kind
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Busy, Mode, Other
from reactor.session import Detector, EndReason, Generation, Session, State, Token
from reactor.teardown import Ended
from tests.protocol.actor import S1
from tests.protocol.scene import Scene

OLD, NEW = Token("old"), Token("new")


async def test_v06_a_late_finish_does_not_end_the_next_generation(scene: Scene) -> None:
    """R1 removes and pauses; R2 takes over and finishes; the session lives again; R1's finish is not about that."""
    late, other = await scene.actor(), await scene.actor()
    first = await late.acquire()
    await scene.run_out()
    handed_out: list[Session] = []

    async def meanwhile() -> None:
        scene.pass_lease()
        assert await other.tear_down() == Ended(EndReason.ENDED_BY_CLIENT, ())
        handed_out.append(await other.acquire())

    late.link.before(Script.FINISH, meanwhile)
    with pytest.raises(SessionLost):
        await late.tear_down()

    assert handed_out[0].container_id != first.container_id
    assert scene.running() == [handed_out[0].container_id]
    assert scene.state() == State.RUNNING
    assert scene.beat() == 1


async def test_v07_a_terminate_answers_0_to_the_client_from_its_first_step(scene: Scene) -> None:
    """The forced claim deletes the heartbeat key in the same step, before any container is touched."""
    actor = await scene.actor()
    await actor.spawn()
    assert scene.beat() == 1

    await actor.claimed(NEW, mode=Mode.END)

    assert scene.beat() == 0
    assert len(scene.running()) == 1


async def test_v08_an_end_for_a_dead_container_is_not_about_the_one_that_followed_it(scene: Scene) -> None:
    """The janitor saw c1 gone; before it acts, c2 runs and was handed out: nothing happens to c2."""
    janitor, other = await scene.actor(), await scene.actor()
    first = await other.acquire()
    assert first.container_id is not None
    scene.engine.vanish(first.container_id)
    handed_out: list[Session] = []

    async def meanwhile() -> None:
        handed_out.append(await other.acquire())

    async def at_the_second_look() -> None:
        janitor.runtime.hook("inspect", meanwhile)

    janitor.runtime.hook("inspect", at_the_second_look, after_effect=True)
    outcomes = await janitor.reconcile()

    assert [line.kind for line, _ in outcomes] == [Kind.LOST]
    assert handed_out[0].container_id != first.container_id
    assert scene.running() == [handed_out[0].container_id]
    assert scene.beat() == 1


async def test_v08_an_end_names_the_container_it_is_about(scene: Scene) -> None:
    """The same by verbs: another container than expected changes nothing."""
    actor = await scene.actor()
    _, _, first = await actor.spawn()
    await actor.terminate()
    _, _, second = await actor.spawn()
    before = scene.record()

    assert isinstance(await actor.examine(Mode.END, NEW, expected=first), Other)
    assert scene.record() == before
    assert isinstance(await actor.terminate(), Ended)
    assert second not in scene.engine.held


async def test_v16_a_claim_that_a_failover_lost_removes_nothing(scene: Scene) -> None:
    """The claim was written and lost; the session was revived and handed out; the reactor asks before it removes."""
    reactor, other = await scene.actor(), await scene.actor()
    await other.acquire()
    await scene.run_out()
    failover = scene.snapshot()
    handed_out: list[Session] = []

    async def meanwhile() -> None:
        failover()
        handed_out.append(await other.acquire())

    reactor.link.after(Script.EXAMINE, meanwhile)
    with pytest.raises(SessionLost):
        await reactor.tear_down()

    assert scene.running() == [handed_out[0].container_id]
    assert scene.state() == State.RUNNING
    assert scene.beat() == 1


async def test_v16_a_claim_that_was_lost_with_the_data_removes_nothing(scene: Scene) -> None:
    """The same with all data gone, and the container registered again by the acquire that came first."""
    reactor, other = await scene.actor(), await scene.actor()
    first = await other.acquire()
    await scene.run_out()

    async def meanwhile() -> None:
        scene.flush()
        await other.acquire()

    reactor.link.after(Script.EXAMINE, meanwhile)
    with pytest.raises(SessionLost):
        await reactor.tear_down()

    assert scene.running() == [first.container_id]
    assert scene.beat() == 1


async def test_v17_a_late_removal_is_by_id_and_so_never_meets_the_next_container(scene: Scene) -> None:
    """R1 asked for its claim and pauses before the engine call; the name belongs to the next container by then."""
    late, other = await scene.actor(), await scene.actor()
    first = await late.acquire()
    await scene.run_out()
    handed_out: list[Session] = []

    async def meanwhile() -> None:
        scene.pass_lease()
        await other.tear_down()
        handed_out.append(await other.acquire())

    late.runtime.hook("remove", meanwhile)
    with pytest.raises(SessionLost):
        await late.tear_down()

    assert handed_out[0].container_id != first.container_id
    assert scene.running() == [handed_out[0].container_id]


async def test_v17_the_claim_of_a_spawn_spares_what_a_newer_generation_made(scene: Scene) -> None:
    """A claim without a container lists by label; a newer container belongs to somebody else."""
    actor = await scene.actor()
    reserved = await actor.reserved(OLD)
    own = await actor.create(OLD, reserved)
    scene.engine.vanish(own)
    newer = actor.spec(NEW, Generation(reserved.generation + 1), reserved.db)
    kept = scene.engine.put(newer)
    scene.pass_lease()

    assert await actor.tear_down() == Ended(EndReason.SPAWN_FAILED, ())
    assert kept in scene.engine.held


async def test_v17_the_claim_of_a_spawn_removes_what_it_made(scene: Scene) -> None:
    """The spawner died between create and commit: its container is found by label."""
    actor = await scene.actor()
    made = await actor.create(OLD, await actor.reserved(OLD))
    scene.pass_lease()

    assert await actor.tear_down() == Ended(EndReason.SPAWN_FAILED, (made,))
    assert scene.engine.held == {}


async def test_v17_the_claim_of_a_spawn_spares_a_running_container_of_another_database(scene: Scene) -> None:
    """It may be a living client's session from before a data loss; after the finish it is registered."""
    actor = await scene.actor()
    session = await actor.acquire()
    scene.flush()
    await actor.reserved(OLD)
    scene.pass_lease()

    assert isinstance(await actor.tear_down(), Ended)
    assert scene.running() == [session.container_id]
    again = await actor.acquire()
    assert again.container_id == session.container_id


async def test_v17_a_claim_whose_holder_died_is_taken_over(scene: Scene) -> None:
    """R1 claims and dies; within its lease others wait, after it the next reactor ends the session."""
    dead, other = await scene.actor(), await scene.actor()
    _, _, container = await dead.spawn()
    await scene.run_out()
    await dead.claimed(OLD)

    assert isinstance(await other.tear_down(), Busy)
    scene.pass_lease()
    ended = await other.tear_down()

    assert ended == Ended(EndReason.ENDED_BY_CLIENT, (container,))
    assert scene.engine.held == {}


async def test_v17_an_acquire_takes_a_dead_holders_claim_over_by_itself(scene: Scene) -> None:
    """Whoever can reach the engine may do a teardown: no reactor need be alive for the next acquire to be served."""
    dead, other = await scene.actor(), await scene.actor()
    first = await dead.acquire()
    await scene.run_out()
    await dead.claimed(OLD)
    scene.pass_lease()

    second = await other.acquire()

    assert list(scene.engine.held) == [second.container_id]
    assert second.container_id != first.container_id


async def test_v17_a_removal_of_unknown_outcome_is_not_followed_by_a_finish(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record stays `ending`; whoever looks next repeats the removal."""
    monkeypatch.setattr("reactor.teardown.ENGINE_LIMIT", timedelta(0))
    actor = await scene.actor()
    await actor.acquire()
    await scene.run_out()
    actor.runtime.fail("remove", Unavailable("timed out"))

    with pytest.raises(Unavailable):
        await actor.tear_down()

    assert scene.state() == State.ENDING
    scene.pass_lease()
    assert isinstance(await actor.tear_down(), Ended)
    assert scene.engine.held == {}


@pytest.mark.parametrize("finder", ["the engine's event", "the janitor"])
async def test_v17_a_client_does_not_keep_a_dead_container_alive(scene: Scene, finder: str) -> None:
    """Its container is gone; whoever finds out ends the session, and the next EXPIRE answers 0."""
    actor = await scene.actor()
    session = await actor.acquire()
    assert session.container_id is not None
    scene.engine.vanish(session.container_id)
    assert scene.beat() == 1

    if finder == "the janitor":
        await actor.reconcile()
    else:
        await actor.worked_off(S1, Detector.ENGINE, session.container_id)

    assert scene.beat() == 0
    assert scene.events("ended")[-1]["reason"] == EndReason.CONTAINER_EXITED
