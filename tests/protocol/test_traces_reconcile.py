"""Traces of a reconcile, each with its number: the order in which both sides are read, and what a data loss does to it.

Whatever happens between two reads, no plan names a container that somebody was given.
"""

import pytest

from reactor.plan import Action, Kind
from reactor.registry.verdicts import Other
from reactor.session import Detector, Session, Token
from tests.protocol.actor import HOST, S1
from tests.protocol.scene import Scene

OLD, NEW = Token("old"), Token("new")


@pytest.mark.parametrize("after_list", [False, True], ids=["before the list", "after the list"])
async def test_v14_a_session_that_starts_during_a_reconcile_is_no_orphan(scene: Scene, *, after_list: bool) -> None:
    """The engine is listed first: what is listed was reserved before, so its record is there when it is read."""
    janitor, other = await scene.actor(), await scene.actor()
    janitor.runtime.hook("containers", other.acquire, after_effect=after_list)

    assert await janitor.janitor.plan() == []
    assert len(scene.running()) == 1


async def test_v14_a_session_that_starts_between_plan_and_action_is_left_alone(scene: Scene) -> None:
    """The orphan that was planned for is gone, its session lives: the second look sees another container."""
    janitor, other = await scene.actor(), await scene.actor()
    _, _, orphan = await other.spawn()
    scene.redis.delete(scene.keys.record(S1))
    handed_out: list[Session] = []

    async def meanwhile() -> None:
        handed_out.append(await other.acquire())

    janitor.runtime.hook("inspect", meanwhile)
    ((line, outcome),) = [pair for pair in await janitor.reconcile() if pair[0].container_id == orphan]

    assert (line.action, line.kind, outcome) == (Action.REMOVE, Kind.ORPHAN, "gone already")
    assert scene.running() == [handed_out[0].container_id]


@pytest.mark.parametrize("witnessed", [False, True], ids=["unseen", "seen by another"])
async def test_v14b_a_data_loss_during_a_reconcile_makes_no_orphan(scene: Scene, *, witnessed: bool) -> None:
    """The database id is read after the record: no record in a database that lost it proves nothing."""
    janitor, other = await scene.actor(), await scene.actor()
    session = await other.acquire()

    async def meanwhile() -> None:
        scene.flush()
        if witnessed:
            await other.registry.evidence.witness()

    janitor.runtime.hook("containers", meanwhile, after_effect=True)
    outcomes = await janitor.reconcile()

    assert [(line.action, line.kind) for line, _ in outcomes] == [(Action.WAIT, Kind.ORPHAN)]
    assert scene.running() == [session.container_id]


async def test_v14b_a_data_loss_between_plan_and_action_removes_nothing(scene: Scene) -> None:
    """What was an orphan may be a living client's session by then."""
    janitor, other = await scene.actor(), await scene.actor()
    _, _, container = await other.spawn()
    scene.redis.delete(scene.keys.record(S1))

    async def meanwhile() -> None:
        scene.flush()

    janitor.runtime.hook("inspect", meanwhile, after_effect=True)
    (pair,) = [pair for pair in await janitor.reconcile() if pair[0].container_id == container]

    assert pair[1] == "left alone: it changed meanwhile"
    assert scene.running() == [container]


async def test_v14b_a_data_loss_before_the_claim_of_an_orphan_removes_nothing(scene: Scene) -> None:
    """The claim itself compares the database id, after both looks."""
    actor, other = await scene.actor(), await scene.actor()
    _, _, container_id = await other.spawn()
    container = await actor.runtime.inspect(container_id)
    assert container is not None
    assert container.labels is not None
    scene.flush()

    claim = await actor.registry.adopt_orphan(container, container.labels, NEW, Detector.JANITOR)

    assert isinstance(claim, Other)
    assert scene.record() == {}
    assert scene.running() == [container_id]


async def test_v14c_a_newer_generation_after_a_data_loss_does_not_make_the_older_one_stale(scene: Scene) -> None:
    """The list, a FLUSHALL, a reserve: the running container is the one that the reserve will register."""
    janitor, other = await scene.actor(), await scene.actor()
    session = await other.acquire()

    async def meanwhile() -> None:
        scene.flush()
        await other.reserved(NEW)

    janitor.runtime.hook("containers", meanwhile, after_effect=True)
    outcomes = await janitor.reconcile()

    assert [(line.action, line.kind) for line, _ in outcomes] == [(Action.WAIT, Kind.ORPHAN)]
    assert scene.running() == [session.container_id]
    scene.pass_lease()
    again = await other.acquire()
    assert again.container_id == session.container_id


@pytest.mark.parametrize("after_list", [False, True], ids=["before the list", "after the list"])
async def test_v15_a_session_that_starts_during_a_reconcile_is_not_lost(scene: Scene, *, after_list: bool) -> None:
    """A record that names an unlisted container is followed by an inspection of that container."""
    janitor, other = await scene.actor(), await scene.actor()
    janitor.runtime.hook("containers", other.acquire, after_effect=after_list)

    outcomes = await janitor.reconcile()

    assert outcomes == []
    assert len(scene.running()) == 1
    assert scene.beat() == 1
    assert scene.score(S1, HOST) is not None
