"""Another engine answers at the same address while everything runs: what it does not have proves nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from reactor import teardown
from reactor.engine_watch import EngineWatch
from reactor.errors import Unavailable
from reactor.queueing import WorkQueue
from reactor.session import Detector, SessionId
from reactor.teardown import Ended
from reactor.trouble import Trouble
from tests.fakes.runtime import Held
from tests.protocol.actor import S1, Actor
from tests.protocol.scene import Scene
from tests.waiting import wait_until

OTHERS = [SessionId(f"other-{number}") for number in range(3)]


@pytest.fixture
async def swapped(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> tuple[Actor, dict[str, Held]]:
    """A process with four sessions, whose daemon came back with another data root; and what the right one holds."""
    monkeypatch.setattr(teardown, "ENGINE_LIMIT", timedelta(0))
    actor = await scene.actor()
    for session_id in (S1, *OTHERS):
        await actor.acquire(session_id)
    right = {str(container_id): held for container_id, held in scene.engine.held.items()}
    scene.engine.held.clear()
    actor.runtime.identity = replace(actor.runtime.identity, root="/elsewhere")
    return actor, right


def _put_right(scene: Scene, actor: Actor, right: dict[str, Held]) -> None:
    actor.runtime.identity = replace(actor.runtime.identity, root="/")
    scene.engine.held.update({held.container.container_id: held for held in right.values()})


async def test_a_reconcile_with_another_engine_finds_nothing_lost(
    scene: Scene, swapped: tuple[Actor, dict[str, Held]]
) -> None:
    """Fewer than the brake would hold: it is said, and every client's EXPIRE goes on answering 1."""
    actor, right = swapped
    with pytest.raises(Unavailable, match="the engine is not the one of host 'h1' any more"):
        await actor.reconcile()
    assert {scene.beat(session_id) for session_id in (S1, *OTHERS)} == {1}
    _put_right(scene, actor, right)
    assert await actor.reconcile() == []


async def test_a_death_that_another_engine_tells_of_is_not_believed(
    scene: Scene, swapped: tuple[Actor, dict[str, Held]]
) -> None:
    """It answers 404 for each container that it never had."""
    actor, right = swapped
    container_id = next(held.container.container_id for held in right.values())
    await actor.worked_off(S1, Detector.ENGINE, container_id)
    with pytest.raises(Unavailable):
        await actor.acquire(S1)
    assert scene.state() == "running"
    assert scene.beat() == 1


async def test_a_teardown_that_meets_another_engine_goes_on_when_the_right_one_is_back(
    scene: Scene, swapped: tuple[Actor, dict[str, Held]]
) -> None:
    """The claim is handed on, not finished: the container would live on, and its name with it."""
    actor, right = swapped
    scene.overdue()
    with pytest.raises(Unavailable, match="the engine is not the one"):
        await actor.tear_down()
    assert scene.state() == "ending"
    _put_right(scene, actor, right)
    scene.pass_lease()
    assert isinstance(await actor.tear_down(), Ended)
    assert scene.running() == []
    assert len(scene.engine.held) == len(OTHERS)


async def test_another_engine_is_not_watched(swapped: tuple[Actor, dict[str, Held]], scene: Scene) -> None:
    """`/readyz` says why; nobody relies on a watch of the wrong containers."""
    actor, right = swapped
    book: dict[str, str] = {}
    watch = EngineWatch(actor.crew, WorkQueue(), lambda: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.listen, Trouble("engine", book))
        await wait_until(lambda: "not the one of host" in book.get("engine", ""))
        assert watch.stands is False
        _put_right(scene, actor, right)
        await wait_until(lambda: watch.stands)
        tasks.cancel_scope.cancel()
