"""What is not believed: an event, a plan that has aged, a lease that somebody else took over."""

from dataclasses import replace
from datetime import timedelta

import pytest

from reactor.errors import SessionLost
from reactor.plan import Action, Kind
from reactor.reconcile import Janitor
from reactor.registry.verdicts import Mode, Other
from reactor.runtime.protocol import ContainerState
from reactor.session import DatabaseId, Detector, Token
from tests.protocol.actor import HOST, S1
from tests.protocol.scene import Scene


@pytest.mark.parametrize("detector", [Detector.EVENT, Detector.DEADLINE, Detector.JANITOR])
async def test_no_detector_is_believed_about_a_living_session(scene: Scene, detector: Detector) -> None:
    """R35: whoever names it, forged or late, the key is alive and so is the session."""
    actor = await scene.actor()
    session = await actor.acquire()
    await actor.worked_off(S1, detector)
    assert scene.running() == [session.container_id]
    assert scene.beat() == 1


async def test_a_container_that_runs_again_by_the_time_it_is_ended_keeps_its_session(scene: Scene) -> None:
    """D28: the plan saw it dead; `docker start` came before the action."""
    actor = await scene.actor()
    held = scene.engine.held[(await actor.spawn())[2]]
    scene.engine.die(held.container.container_id)

    async def started_by_hand() -> None:
        held.container = replace(held.container, state=ContainerState.RUNNING)

    plan = await actor.janitor.plan()
    assert [(line.action, line.kind) for line in plan] == [(Action.END, Kind.DEAD)]
    actor.runtime.hook("inspect", started_by_hand, after_effect=True)  # the inspection that the plan is made from

    assert [outcome for _, outcome in await actor.reconcile()] == ["left alone: it runs"]
    assert scene.beat() == 1


async def test_a_lease_that_somebody_else_took_over_cannot_be_renewed(scene: Scene) -> None:
    """P3: the spawner paused past its lease; the record is still `starting`, under another token."""
    late, other = await scene.actor(), await scene.actor()
    reserved = await late.reserved(Token("late"))
    scene.pass_lease()
    newer = await other.reserved(Token("other"))
    with pytest.raises(SessionLost):
        await late.registry.renew(S1, Token("late"), reserved.db)
    assert scene.record()["generation"] == str(newer.generation)


async def test_an_end_names_the_generation_that_it_is_about(scene: Scene) -> None:
    """A terminate that read a spawn in its beginning pauses; it does not end the session that came after it."""
    late, other = await scene.actor(), await scene.actor()
    meant = await other.reserved(Token("first"))
    scene.pass_lease()
    await other.tear_down()
    session = await other.acquire()
    verdict = await late.tear_down(mode=Mode.END, generation=meant.generation)
    assert isinstance(verdict, Other)
    assert scene.running() == [session.container_id]
    assert scene.beat() == 1


async def test_a_session_whose_commit_a_failover_lost_is_registered_again(scene: Scene) -> None:
    """R28: handed out, then the commit is lost; the record of the spawn is claimed and ended without a container."""
    actor = await scene.actor()
    token = Token("spawner")
    reserved = await actor.reserved(token)
    container_id = await actor.create(token, reserved)
    await actor.registry.renew(S1, token, reserved.db)
    await actor.runtime.start(container_id)
    rewind = scene.snapshot()
    await actor.save(token, reserved, container_id)
    rewind()
    scene.redis.hset(scene.keys.seen(HOST), "run_id", "before the failover")
    await actor.registry.evidence.witness()
    scene.pass_lease()
    await actor.tear_down()
    assert scene.state() == "ended"

    old = replace(actor.crew.settings, acquire_timeout=timedelta(0))
    lines = [line async for line in Janitor(actor.crew, settings=old).run()]
    assert [(line.action, outcome) for line, outcome in lines] == [(Action.ADOPT, "done")]
    assert scene.running() == [container_id]
    assert scene.beat() == 1


async def test_what_was_started_while_it_was_judged_is_not_removed(scene: Scene) -> None:
    """A janitor pauses between its look at a container and the removal; the spawn that made it goes on."""
    actor = await scene.actor()
    token = Token("spawner")
    reserved = await actor.reserved(token)
    container_id = await actor.create(token, reserved)
    scene.flush()
    old = replace(actor.crew.settings, acquire_timeout=timedelta(0))
    janitor = Janitor(actor.crew, settings=old)
    assert [line.action for line in await janitor.plan()] == [Action.REMOVE]

    async def start() -> None:
        async def go_on() -> None:
            await scene.engine.start(container_id)

        actor.runtime.hook("inspect", go_on, after_effect=True)

    actor.runtime.hook("containers", start, after_effect=True)
    outcomes = [outcome async for _, outcome in janitor.run()]
    assert outcomes == ["left alone: it changed meanwhile"]
    assert scene.running() == [container_id]


async def test_a_name_is_not_freed_by_a_spawn_that_a_failover_took_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R28: between the look at the name's holder and its removal the holder's session comes back."""
    actor = await scene.actor()
    session = await actor.acquire()
    failover = scene.snapshot()
    scene.redis.delete(scene.keys.record(S1), scene.keys.heartbeat(S1))
    asked = actor.registry.bound_db

    async def then_fail_over() -> DatabaseId | None:
        answer = await asked()
        failover()
        return answer

    monkeypatch.setattr(actor.registry, "bound_db", then_fail_over)
    assert (await actor.acquire()).container_id == session.container_id
    assert scene.running() == [session.container_id]
    assert scene.beat() == 1
