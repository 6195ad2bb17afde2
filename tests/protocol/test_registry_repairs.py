"""The verbs that repair: an orphan is claimed, a survivor registered, another host's session marked."""

from typing import Any

import pytest

from reactor.registry.verdicts import Claimable, Claimed, Other
from reactor.runtime.protocol import Container, Labels
from reactor.session import ContainerId, Detector, EndReason, Generation, HostName, State, Token
from reactor.teardown import Ended
from tests.protocol.actor import HOST, S1, Actor
from tests.protocol.scene import Scene

A, B = Token("a"), Token("b")
H2 = HostName("h2")


async def _orphan(actor: Actor, scene: Scene) -> tuple[Container, Labels]:
    _, _, container_id = await actor.spawn()
    scene.redis.delete(scene.keys.record(S1))
    container = await actor.runtime.inspect(container_id)
    assert container is not None
    assert container.labels is not None
    return container, container.labels


async def test_adopt_orphan_claims_a_container_without_a_record(scene: Scene) -> None:
    """Its stray heartbeat goes in the same step; the same token hears the same, another one that it is taken."""
    actor = await scene.actor()
    container, labels = await _orphan(actor, scene)

    claim = await actor.registry.adopt_orphan(container, labels, A, Detector.JANITOR)

    assert claim == Claimed(container.container_id, labels.generation, labels.db, EndReason.ORPHAN)
    assert scene.state() == State.ENDING
    assert scene.beat() == 0
    assert await actor.registry.adopt_orphan(container, labels, A, Detector.JANITOR) == claim
    assert await actor.registry.adopt_orphan(container, labels, B, Detector.JANITOR) == Other()
    await actor.registry.delete(S1, A)


async def test_adopt_orphan_yields_to_any_record(scene: Scene) -> None:
    """Somebody reserved the session meanwhile."""
    actor = await scene.actor()
    container, labels = await _orphan(actor, scene)
    await actor.reserved(B)

    assert await actor.registry.adopt_orphan(container, labels, A, Detector.JANITOR) == Other()
    assert scene.state() == State.STARTING


async def _registered(actor: Actor, container_id: ContainerId, **more: Any) -> ContainerId | None:
    container = await actor.runtime.inspect(container_id)
    assert container is not None
    assert container.labels is not None
    record = await actor.registry.register(container, container.labels, instead_of=more.get("instead_of"))
    return None if record is None else record.container_id


@pytest.mark.parametrize("instead_of", [None, B])
async def test_register_gives_a_container_from_before_a_data_loss_its_record_back(
    scene: Scene, instead_of: Token | None
) -> None:
    """With its own generation and a full TTL; once."""
    actor = await scene.actor()
    _, granted, container = await actor.spawn()
    scene.flush()
    if instead_of is not None:
        await actor.reserved(instead_of)

    for _ in range(2):
        assert await _registered(actor, container, instead_of=instead_of) == container
    assert scene.record()["generation"] == str(granted.generation)
    assert scene.redis.ttl(scene.keys.heartbeat(S1)) > 890
    assert scene.score() == int(scene.record()["deadline"]) + 1
    assert len(scene.events("adopted")) == 1


async def test_register_refuses_a_container_of_this_very_database(scene: Scene) -> None:
    """It is an orphan, not a survivor."""
    actor = await scene.actor()
    container, _ = await _orphan(actor, scene)

    assert await _registered(actor, container.container_id) is None
    assert scene.record() == {}


@pytest.mark.parametrize("instead_of", [None, A])
async def test_register_never_replaces_somebody_elses_live_record(scene: Scene, instead_of: Token | None) -> None:
    """A spawn may be replaced by its own caller only."""
    actor = await scene.actor()
    _, _, container = await actor.spawn()
    scene.flush()
    await actor.reserved(B)
    before = scene.record()

    assert await _registered(actor, container, instead_of=instead_of) is None
    assert scene.record() == before


async def test_request_end_marks_another_hosts_session_for_its_reactors(scene: Scene) -> None:
    """Due at once there; its client may send what it likes, its owner ends it."""
    here, there = await scene.actor(), await scene.actor(host=H2)
    generation = (await there.spawn())[1].generation

    assert await here.registry.request_end(S1, H2, generation) is True
    assert await here.registry.request_end(S1, H2, generation) is True
    assert scene.beat() == 1
    assert (scene.score(host=H2) or 0) <= scene.now_ms()
    assert await there.registry.look([S1]) == {S1: Claimable()}
    ended = await there.tear_down()
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.TERMINATED
    assert await here.registry.request_end(S1, H2, generation) is False


async def test_request_end_is_about_one_hosts_session_and_one_generation(scene: Scene) -> None:
    """It moved, or was followed by another one meanwhile: nothing is marked."""
    here, there = await scene.actor(), await scene.actor(host=H2)
    generation = (await here.spawn())[1].generation

    assert await there.registry.request_end(S1, HostName("h3"), generation) is False
    assert await there.registry.request_end(S1, here.registry.host, Generation(generation - 1)) is False
    assert "end_requested" not in scene.record()


async def test_an_end_that_was_asked_for_is_not_forgotten_by_the_next_acquire(scene: Scene) -> None:
    """The mark makes callers wait until its owner has ended the session."""
    actor = await scene.actor()
    first = await actor.acquire()
    await actor.registry.request_end(S1, HOST, first.generation)

    second = await actor.acquire()

    assert second.container_id != first.container_id
    assert scene.running() == [second.container_id]
    assert "end_requested" not in scene.record()
