"""The way in as a whole: what others hold, what fails at which step, and what is left of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import pytest

from reactor.errors import AcquireTimeout, SpawnFailed, Unavailable
from reactor.keys import container_name
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Mode
from reactor.session import ContainerId, DatabaseId, Deployment, Generation, Session, SessionId, State, Token
from reactor.templates import Template
from tests.fakes.script import Verb
from tests.protocol.actor import HOST, S1, Actor
from tests.protocol.scene import Scene
from tests.waiting import wait_until

A, B = Token("a"), Token("b")
LOST = Unavailable("the answer was lost")


@pytest.mark.parametrize("after_effect", [False, True], ids=["not done", "done, answer lost"])
@pytest.mark.parametrize("verb", ["create", "start", "inspect"])
async def test_an_engine_call_of_unknown_outcome_is_repeated(scene: Scene, verb: Verb, *, after_effect: bool) -> None:
    """A create that was done answers with the name taken by ourselves: it goes on with that container."""
    actor = await scene.actor()
    actor.runtime.fail(verb, LOST, after_effect=after_effect)

    session = await actor.acquire()

    assert scene.running() == [session.container_id]
    assert scene.engine.created[S1] == 1
    assert scene.engine.started[S1] == 1


async def _older(actor: Actor, scene: Scene) -> ContainerId:
    """Leave a container of an older spawn under the name."""
    container_id = await actor.create(A, await actor.reserved(A))
    scene.pass_lease()
    return container_id


async def test_a_name_held_by_an_older_spawn_is_freed(scene: Scene) -> None:
    """Its container is removed by ID, and the create repeated."""
    actor = await scene.actor()
    older = await _older(actor, scene)

    session = await actor.acquire()

    assert list(scene.engine.held) == [session.container_id]
    assert session.container_id != older


async def test_a_name_whose_holder_went_meanwhile_is_tried_again(scene: Scene) -> None:
    """Between the 409 and the look at the holder it was removed."""
    actor = await scene.actor()
    older = await _older(actor, scene)

    async def gone() -> None:
        scene.engine.held.pop(older)

    actor.runtime.hook("inspect", gone)
    session = await actor.acquire()

    assert scene.running() == [session.container_id]


async def test_a_name_held_by_a_newer_spawn_is_left_to_it(scene: Scene) -> None:
    """The lease ended while we paused before create; the newer one's container is what everybody gets."""
    late, other = await scene.actor(), await scene.actor()
    sessions: list[Session] = []

    async def meanwhile() -> None:
        scene.pass_lease()
        sessions.append(await other.acquire())

    late.runtime.hook("create", meanwhile)
    sessions.append(await late.acquire())

    assert len({session.container_id for session in sessions}) == 1
    assert scene.engine.created[S1] == 1


@pytest.mark.parametrize("foreign", ["no labels", "another deployment", "another prefix", "another session"])
async def test_a_name_held_by_a_foreign_container_is_left_alone(scene: Scene, foreign: str) -> None:
    """The acquire fails and says so; nothing of it is left but the tombstone."""
    actor = await scene.actor()
    spec = actor.spec(A, Generation(1), DatabaseId("x"))
    name = container_name("mcp", Deployment("test"), S1)
    changes: dict[str, Any] = {
        "no labels": {}, "another deployment": {"deployment": Deployment("e")}, "another prefix": {"prefix": "x"},
        "another session": {"session": SessionId("s-2")},
    }[foreign]  # fmt: skip
    held = scene.engine.put(replace(spec, name=name, labels=replace(spec.labels, **changes)))
    if foreign == "no labels":
        scene.engine.held[held].container = replace(scene.engine.held[held].container, labels=None)

    with pytest.raises(SpawnFailed, match="held by a foreign container"):
        await actor.acquire()

    assert list(scene.engine.held) == [held]
    assert scene.state() == State.ENDED


async def test_a_name_held_by_a_survivor_of_a_data_loss_is_its_session(scene: Scene) -> None:
    """It runs: it has its record again, and is what the caller gets."""
    actor = await scene.actor()
    first = await actor.acquire()
    scene.flush()

    again = await actor.acquire()

    assert (again.container_id, again.generation, again.created) == (first.container_id, first.generation, False)
    assert scene.beat() == 1


async def test_a_name_held_by_a_dead_container_from_before_a_data_loss_is_freed_when_it_is_old(scene: Scene) -> None:
    """It might be a spawn about to start; after the longest time that a spawn may take, it is not."""
    actor = await scene.actor()
    spec = actor.spec(A, Generation((scene.now_ms() - 60_000) * 1000), DatabaseId("before"))
    dead = scene.engine.put(spec, running=False)

    session = await actor.acquire()

    assert scene.running() == [session.container_id]
    assert dead not in scene.engine.held


async def test_a_young_spawn_from_before_a_data_loss_is_waited_for(scene: Scene) -> None:
    """It starts while we wait: it is registered, not removed."""
    actor = await scene.actor()
    spec = actor.spec(A, Generation(scene.now_ms() * 1000), DatabaseId("before"))
    young = scene.engine.put(spec, running=False)

    async def starts() -> None:
        await scene.engine.start(young)

    async def at_the_second_look() -> None:
        actor.runtime.hook("inspect", starts)

    actor.runtime.hook("inspect", at_the_second_look, after_effect=True)
    session = await actor.acquire()

    assert session.container_id == young
    assert scene.engine.removed[S1] == 0


async def test_an_answer_older_than_the_lease_that_it_gave_is_asked_again(scene: Scene) -> None:
    """S10: the process stood still before it read that the spawn is its own; somebody else's may have begun since."""
    actor = await scene.actor(spawn_lease=timedelta(milliseconds=100))
    reserved = await actor.reserved(A)

    async def stands_still() -> None:
        over = anyio.current_time() + 0.15
        await wait_until(lambda: anyio.current_time() > over, what="it was longer than the lease")

    actor.link.after(Script.RENEW, stands_still)

    await actor.registry.renew(S1, A, reserved.db)

    assert actor.link.answered.count(Script.RENEW) == 2


@pytest.mark.parametrize("watched", [True, False])
async def test_a_live_session_is_inspected_unless_its_engine_is_watched(scene: Scene, *, watched: bool) -> None:
    """A watched engine's deaths are found by its reactors, so the acquire is one round trip."""
    actor = await scene.actor()
    await actor.acquire()
    await actor.registry.evidence.watch(watched_ms=5000 if watched else 0, ahead_ms=0)
    before = actor.runtime.count("inspect")

    assert (await actor.acquire()).created is False

    assert actor.runtime.count("inspect") == before + (0 if watched else 1)


async def test_a_rewound_record_is_not_handed_out_because_its_engine_was_watched(scene: Scene) -> None:
    """R3: Redis came back from before the container was removed, and so did the word of those who watched."""
    actor = await scene.actor()
    gone = await actor.acquire()
    await actor.registry.evidence.watch(watched_ms=60_000, ahead_ms=0)
    scene.engine.vanish(ContainerId(str(gone.container_id)))
    scene.redis.hset(scene.keys.seen(HOST), "run_id", "the one before")

    session = await (await scene.actor()).acquire()

    assert scene.running() == [session.container_id]


async def test_another_hosts_session_is_handed_out_without_its_address(scene: Scene) -> None:
    """It lives, as that host's reactor watches; its ports are on another machine."""
    there, here = await scene.actor(host="h2"), await scene.actor()
    template = Template(name="default", image="idle", ports=("80/tcp",), network="bridge")
    first = await there.acquire(template=template)
    await there.registry.evidence.watch(watched_ms=60_000, ahead_ms=0)

    second = await here.acquire()

    assert first.address is not None
    assert (second.container_id, second.host, second.address) == (first.container_id, "h2", None)


async def test_another_host_that_does_not_answer_is_said_to_be_so(scene: Scene) -> None:
    """Its abandoned spawn is its own to repair."""
    there, here = await scene.actor(host="h2"), await scene.actor()
    await there.reserved(A)
    scene.pass_lease()

    with pytest.raises(AcquireTimeout, match="still starting on host h2, which does not answer"):
        await here.acquire(limit=0.5)


@pytest.mark.parametrize("ended", ["past its hard end", "expired and abandoned by its reactor"])
async def test_an_acquire_does_the_teardown_that_it_waits_for(scene: Scene, ended: str) -> None:
    """Nobody else may be there to do it."""
    actor = await scene.actor(max_lifetime=timedelta(seconds=60))
    first = await actor.acquire()
    if ended == "past its hard end":
        scene.redis.hset(scene.keys.record(S1), "hard_end", scene.now_ms() - 1)
    else:
        await actor.claimed(A, mode=Mode.END)
        scene.pass_lease()

    second = await actor.acquire()

    assert second.container_id != first.container_id
    assert list(scene.engine.held) == [second.container_id]


async def test_an_acquire_whose_teardown_is_overtaken_goes_on(scene: Scene) -> None:
    """Somebody took its claim over while it paused; it simply asks again."""
    actor, other = await scene.actor(), await scene.actor()
    await actor.acquire()
    await actor.claimed(A, mode=Mode.END)
    scene.pass_lease()

    async def meanwhile() -> None:
        scene.pass_lease()
        await other.tear_down()

    actor.runtime.hook("remove", meanwhile)
    session = await actor.acquire()

    assert list(scene.engine.held) == [session.container_id]
