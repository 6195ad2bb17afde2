"""Traces of a naive lock, each with its number: what they lead to does not happen here.

The lock of a session is its record; the heartbeat key is the client's alone.
"""

from datetime import timedelta

import pytest

from reactor.registry import Superseded
from reactor.registry.verdicts import Live, Spawn, Wait
from reactor.session import ContainerId, State, Token
from reactor.teardown import Ended
from tests.protocol.actor import HOST, S1
from tests.protocol.scene import Scene

OLD, NEW, OTHER = Token("old"), Token("new"), Token("other")


async def test_v01_an_old_clients_expire_answers_0_while_the_next_generation_is_only_reserved(scene: Scene) -> None:
    """A heartbeat is confirmed for a container, never for somebody's intention to start one."""
    actor = await scene.actor()
    await actor.spawn()
    await scene.run_out()
    assert isinstance(await actor.tear_down(), Ended)

    await actor.reserved(NEW)

    assert scene.beat() == 0
    assert not scene.has_key()


async def test_v02_a_client_cannot_keep_the_lock_of_a_dead_spawner_alive(scene: Scene) -> None:
    """However often the old client sends EXPIRE, the dead spawner's lease ends and the next acquire is served."""
    actor = await scene.actor()
    await actor.spawn()
    await scene.run_out()
    await actor.tear_down()
    dead = await actor.reserved(OLD)

    assert scene.beat() == 0
    assert isinstance(await actor.reserve(NEW), Wait)
    assert scene.beat() == 0
    scene.pass_lease()
    assert scene.beat() == 0

    served = await actor.reserved(NEW)
    assert served.generation > dead.generation


async def test_v02_a_reactor_claims_the_spawn_of_a_dead_spawner_whatever_its_old_client_sends(scene: Scene) -> None:
    """The same with nobody asking for the session: a reactor ends it."""
    actor = await scene.actor()
    await actor.reserved(OLD)
    scene.beat()
    scene.pass_lease()

    assert isinstance(await actor.tear_down(), Ended)
    assert scene.score() is None


async def test_v02b_a_key_that_outlived_its_record_keeps_nobody_out(scene: Scene) -> None:
    """The record decides: an evicted record is no session, and the stray key of its client goes."""
    actor = await scene.actor()
    await actor.spawn()
    scene.redis.delete(scene.keys.record(S1))
    assert scene.beat() == 1

    assert isinstance(await actor.reserve(NEW), Spawn)
    assert scene.beat() == 0


async def test_v11_a_late_renewal_of_the_spawner_does_not_shorten_the_committed_heartbeat(scene: Scene) -> None:
    """The lease belongs to the record of a starting session; after the commit there is nothing to renew."""
    actor = await scene.actor()
    token, reserved, _ = await actor.spawn()
    deadline, score = scene.redis.pexpiretime(scene.keys.heartbeat(S1)), scene.score()

    with pytest.raises(Superseded):
        await actor.registry.renew(S1, token, reserved.db)

    assert scene.redis.pexpiretime(scene.keys.heartbeat(S1)) == deadline
    assert scene.score() == score
    assert scene.state() == State.RUNNING
    assert "lease_until" not in scene.record()


@pytest.mark.parametrize("forgetting", ["the tombstone goes", "everything is lost"])
async def test_v13_a_generation_is_never_used_again(scene: Scene, forgetting: str) -> None:
    """It comes from Redis' clock: neither the end of the tombstone nor a FLUSHALL lets it start over."""
    actor = await scene.actor()
    _, first, container = await actor.spawn()
    await actor.terminate()
    if forgetting == "everything is lost":
        scene.flush()
    else:
        scene.redis.delete(scene.keys.record(S1))

    _, second, other = await actor.spawn()

    assert second.generation > first.generation
    assert other != container


async def test_v13_a_generation_rises_even_when_the_clock_was_set_back(scene: Scene) -> None:
    """A record from what is now the future is followed by its generation plus one."""
    actor = await scene.actor()
    await actor.spawn()
    await actor.terminate()
    ahead = (scene.now_ms() + timedelta(days=1) // timedelta(milliseconds=1)) * 1000
    scene.redis.hset(scene.keys.record(S1), "generation", ahead)

    reserved = await actor.reserved(NEW)

    assert reserved.generation == ahead + 1
    assert scene.record()["generation"] == str(ahead + 1)


async def test_v10_a_repeated_finish_leaves_the_next_generation_in_the_index(scene: Scene) -> None:
    """Leaving the index is part of the finish and bound to its token; a late one finds nothing of its own."""
    actor = await scene.actor()
    await actor.spawn()
    await scene.run_out()
    claim = await actor.claimed(OLD)
    await actor.runtime.remove(claim.container_id or ContainerId(""), grace=timedelta(0))
    await actor.registry.delete(S1, OLD)
    await actor.spawn()
    score = scene.score()

    with pytest.raises(Superseded):
        await actor.registry.delete(S1, OLD)

    assert score is not None
    assert scene.score() == score


async def test_v10_a_late_look_at_a_tombstone_does_not_take_the_next_generation_out_of_the_index(scene: Scene) -> None:
    """What a look saw and what it removes are one step."""
    actor = await scene.actor()
    await actor.spawn()
    await actor.terminate()
    await actor.spawn()

    await actor.registry.look([S1])

    assert scene.score() is not None


async def test_v10_a_late_renewal_of_an_older_spawn_does_not_lower_the_newer_ones_score(scene: Scene) -> None:
    """The spawner of g1 wakes after g2 was committed; nothing that it writes reaches the index."""
    actor = await scene.actor()
    first = await actor.reserved(OLD)
    scene.pass_lease()
    second = await actor.reserved(NEW)
    container = await actor.create(NEW, second)
    await actor.runtime.start(container)
    await actor.save(NEW, second, container)
    score = scene.score()

    with pytest.raises(Superseded):
        await actor.registry.renew(S1, OLD, first.db)

    assert scene.score() == score


async def test_v10_a_live_record_that_fell_out_of_the_index_is_put_back_by_the_janitor(scene: Scene) -> None:
    """Nobody would ever look at a `starting` record without an entry; the scan of the records finds it."""
    actor = await scene.actor()
    await actor.reserved(OLD)
    scene.redis.zrem(scene.keys.due(HOST), S1)

    await actor.reconcile()
    assert scene.score() is not None

    scene.pass_lease()
    await actor.reconcile()
    assert scene.state() == State.ENDED
    assert scene.score() is None


async def test_v12_a_waiter_asks_again_and_so_never_hands_out_a_dead_heartbeat(scene: Scene) -> None:
    """Between WAIT and the next reserve the session was committed and ran out: it is revived, key and all."""
    spawner, waiter = await scene.actor(), await scene.actor()
    reserved = await spawner.reserved(OLD)
    assert isinstance(await waiter.reserve(OTHER), Wait)
    container = await spawner.create(OLD, reserved)
    await spawner.runtime.start(container)
    await spawner.save(OLD, reserved, container)
    await scene.run_out()

    answer = await waiter.reserve(OTHER)

    assert isinstance(answer, Live)
    assert scene.beat() == 1
    assert answer.record.heartbeat_left is not None


async def test_v12_a_waiter_does_not_get_the_container_that_was_claimed_meanwhile(scene: Scene) -> None:
    """The same with the claim first: the record still names the container, the answer is to wait."""
    spawner, waiter = await scene.actor(), await scene.actor()
    _, _, container = await spawner.spawn()
    await scene.run_out()
    await spawner.claimed(OLD)

    assert isinstance(await waiter.reserve(OTHER), Wait)
    scene.pass_lease()
    session = await waiter.acquire()

    assert session.container_id != container
    assert scene.running() == [session.container_id]
