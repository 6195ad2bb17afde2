"""What is not believed: an event, a plan that has aged, a lease that somebody else took over."""

from dataclasses import replace

import pytest

from reactor.errors import SessionLost
from reactor.plan import Action, Kind
from reactor.runtime.protocol import ContainerState
from reactor.session import Detector, Token
from tests.protocol.actor import S1
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
