"""Traces around a spawn, each with its number: a late start, a wrong adoption, a lost commit, a forged one."""

from datetime import timedelta

import pytest

from reactor.errors import SpawnFailed, Unavailable
from reactor.registry import DataLost, Superseded
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Wait
from reactor.session import Session, State, Token
from reactor.teardown import Ended
from tests.protocol.actor import S1
from tests.protocol.scene import Scene

OLD, NEW = Token("old"), Token("new")


async def test_v03_a_late_start_of_a_superseded_spawn_meets_a_404(scene: Scene) -> None:
    """A1 passed its fence and pauses before start; A2 takes over, lives and ends; A1's start finds nothing."""
    late, other = await scene.actor(), await scene.actor()

    async def meanwhile() -> None:
        scene.pass_lease()
        await other.acquire()
        await scene.run_out()
        assert isinstance(await other.tear_down(), Ended)

    late.runtime.hook("start", meanwhile)
    session = await late.acquire()

    assert scene.engine.started[S1] == 2, "A2's, and A1's second try"
    assert scene.running() == [session.container_id]


async def test_v03_a_spawn_that_was_superseded_before_its_create_never_starts(scene: Scene) -> None:
    """A1 pauses before create; A2 lives and ends meanwhile, so the name is free: the fence stops A1 before start."""
    late, other = await scene.actor(), await scene.actor()

    async def meanwhile() -> None:
        scene.pass_lease()
        await other.acquire()
        await scene.run_out()
        assert isinstance(await other.tear_down(), Ended)

    late.runtime.hook("create", meanwhile)
    session = await late.acquire()

    assert scene.engine.created[S1] == 3
    assert scene.engine.started[S1] == 2, "A2's, and A1's second try"
    assert scene.running() == [session.container_id]
    assert len(scene.engine.held) == 1, "what the superseded spawn made is gone"


async def test_v04_a_newer_spawn_does_not_adopt_what_an_older_one_made(scene: Scene) -> None:
    """A1 creates and pauses; A2 meets the name, removes that container and makes its own, which A1 leaves alone."""
    late, other = await scene.actor(), await scene.actor()
    handed_out: list[Session] = []

    async def meanwhile() -> None:
        scene.pass_lease()
        handed_out.append(await other.acquire())

    late.runtime.hook("create", meanwhile, after_effect=True)
    session = await late.acquire()

    assert session.container_id == handed_out[0].container_id
    assert scene.running() == [session.container_id]
    assert scene.engine.created[S1] == 2, "the older one's container was not adopted"


async def test_v04_the_janitor_leaves_the_newer_spawns_container_after_the_older_ones_crash(scene: Scene) -> None:
    """The same with A1 dead: nothing that a reconcile finds is about the container that was handed out."""
    dead, other = await scene.actor(), await scene.actor()
    reserved = await dead.reserved(OLD)
    made = await dead.create(OLD, reserved)
    scene.pass_lease()

    session = await other.acquire()
    await other.reconcile()

    assert session.container_id != made
    assert scene.running() == [session.container_id]


async def test_v05_a_container_of_an_equal_generation_but_another_token_is_not_adopted(scene: Scene) -> None:
    """A failover lost the first reserve, so the second one got the same generation."""
    late, other = await scene.actor(), await scene.actor()
    await other.spawn()
    await other.terminate()
    ahead = (scene.now_ms() + 3_600_000) * 1000
    scene.redis.hset(scene.keys.record(S1), "generation", ahead)
    failover = scene.snapshot()
    handed_out: list[Session] = []

    async def meanwhile() -> None:
        failover()
        handed_out.append(await other.acquire())

    late.runtime.hook("create", meanwhile, after_effect=True)
    session = await late.acquire()

    assert handed_out[0].generation == ahead + 1
    assert session.container_id == handed_out[0].container_id
    assert scene.running() == [session.container_id]
    assert scene.engine.created[S1] == 3, "the container of the equal generation was not adopted"


async def test_v09_a_commit_that_was_lost_with_the_data_removes_nothing(scene: Scene) -> None:
    """The commit had its effect, its answer was lost, a client got the session, Redis lost everything."""
    spawner, other = await scene.actor(), await scene.actor()
    handed_out: list[Session] = []

    async def meanwhile() -> None:
        handed_out.append(await other.acquire())
        scene.flush()
        message = "the answer was lost"
        raise Unavailable(message)

    spawner.link.after(Script.COMMIT, meanwhile)
    session = await spawner.acquire()

    assert handed_out[0].container_id is not None
    assert scene.running() == [handed_out[0].container_id]
    assert session.container_id == handed_out[0].container_id
    assert session.generation == handed_out[0].generation
    assert scene.beat() == 1


async def test_v09_a_commit_in_another_database_says_that_data_was_lost_even_where_a_record_stands(
    scene: Scene,
) -> None:
    """After the loss somebody else reserved the session: still nothing may be removed."""
    spawner, other = await scene.actor(), await scene.actor()
    reserved = await spawner.reserved(OLD)
    container = await spawner.create(OLD, reserved)
    scene.flush()
    await other.reserved(NEW)

    with pytest.raises(DataLost):
        await spawner.save(OLD, reserved, container)


async def test_v09_a_commit_that_was_superseded_removes_what_it_made(scene: Scene) -> None:
    """The other half: in the same database, the container of a spawn that lost its record is nobody's."""
    spawner, other = await scene.actor(), await scene.actor()

    async def meanwhile() -> None:
        scene.pass_lease()
        await other.reserved(NEW)
        scene.pass_lease()

    spawner.link.before(Script.COMMIT, meanwhile)
    session = await spawner.acquire()

    assert scene.engine.created[S1] == 2
    assert list(scene.engine.held) == [session.container_id]


async def test_v12_a_live_session_whose_container_exited_is_not_handed_out(scene: Scene) -> None:
    """It died just before the reserve: the look at the container ends it, and the caller gets a new one."""
    actor = await scene.actor()
    first = await actor.acquire()
    assert first.container_id is not None
    scene.engine.die(first.container_id)

    second = await actor.acquire()

    assert second.container_id != first.container_id
    assert second.created is True
    assert scene.running() == [second.container_id]


async def test_v12_a_container_that_exited_during_its_commit_is_not_handed_out(scene: Scene) -> None:
    """It died while the commit was on its way: the caller hears of it, and no heartbeat is confirmed for it."""
    actor = await scene.actor()

    async def dies() -> None:
        for container_id in scene.running():
            scene.engine.die(container_id, exit_code=3)

    actor.link.after(Script.COMMIT, dies)
    with pytest.raises(SpawnFailed, match="exit code 3"):
        await actor.acquire()

    assert scene.beat() == 0
    assert scene.engine.held == {}
    assert scene.state() == State.ENDED


async def test_v17_a_commit_needs_the_records_token(scene: Scene) -> None:
    """A spawn that lost its record can make neither a heartbeat key nor the record its own."""
    late, other = await scene.actor(), await scene.actor()
    first = await late.reserved(OLD)
    container = await late.create(OLD, first)
    scene.pass_lease()
    await other.reserved(NEW)

    with pytest.raises(Superseded):
        await late.save(OLD, first, container)

    assert scene.state() == State.STARTING
    assert scene.record()["token"] == NEW
    assert not scene.has_key()


async def test_v17_a_commit_is_good_as_long_as_nobody_took_the_record(scene: Scene) -> None:
    """It asks for the token, not for a lease that is not over: claim and takeover both change the record."""
    actor, other = await scene.actor(spawn_lease=timedelta(milliseconds=1)), await scene.actor()
    reserved = await actor.reserved(OLD)
    container = await actor.create(OLD, reserved)
    await scene.lease_over()
    await actor.runtime.start(container)

    await actor.save(OLD, reserved, container)

    assert scene.state() == State.RUNNING
    assert not isinstance(await other.reserve(NEW), Wait)


async def test_v17_what_a_crashed_spawner_made_late_is_removed(scene: Scene) -> None:
    """Its create arrived after the session had ended, and it died: only the look at the engine can find that."""
    dead, other = await scene.actor(), await scene.actor()
    reserved = await dead.reserved(OLD)
    scene.pass_lease()
    assert isinstance(await other.tear_down(), Ended)
    await dead.create(OLD, reserved)

    await other.reconcile()

    assert scene.engine.held == {}


async def test_v17_what_a_crashed_spawner_made_after_its_tombstone_went_is_removed(scene: Scene) -> None:
    """The same without any record left: an orphan, which gets its own teardown and entry in the audit stream."""
    dead, other = await scene.actor(), await scene.actor()
    reserved = await dead.reserved(OLD)
    scene.pass_lease()
    await other.tear_down()
    scene.redis.delete(scene.keys.record(S1))
    await dead.create(OLD, reserved)

    await other.reconcile()

    assert scene.engine.held == {}
    assert [entry["reason"] for entry in scene.events("ended")] == ["spawn_failed", "orphan"]
