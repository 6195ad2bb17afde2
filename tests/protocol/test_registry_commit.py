"""The verbs of a granted spawn: renew, save and abort, for its token and nobody else."""

from typing import Any

import pytest

from reactor.registry import DataLost, Superseded
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Failed, Spawn
from reactor.session import Address, ContainerId, Endpoint, SessionId, State, Token
from tests.protocol.actor import HOST, S1, TTL, Actor
from tests.protocol.scene import Scene

A, B = Token("a"), Token("b")
C1 = ContainerId("c1")
ADDRESS = Address(ip="10.0.0.2", ports={"8000/tcp": Endpoint(host="127.0.0.1", port=32768)})


async def test_save_commits_once(scene: Scene) -> None:
    """Record, heartbeat, index and audit stream change in one step; the second time nothing does."""
    actor = await scene.actor()
    granted = await actor.reserved(A)

    async def save() -> Any:
        return await actor.registry.save(S1, A, container_id=C1, db=granted.db, address=ADDRESS)

    record = await save()
    deadline = scene.redis.pexpiretime(scene.keys.heartbeat(S1))
    again = await save()

    assert (record.state, record.container_id, record.address) == (State.RUNNING, C1, ADDRESS)
    assert (again.state, again.container_id, again.address) == (State.RUNNING, C1, ADDRESS)
    assert scene.redis.get(scene.keys.heartbeat(S1)) == str(granted.generation)
    assert scene.redis.pexpiretime(scene.keys.heartbeat(S1)) == deadline == int(scene.record()["deadline"])
    assert scene.score() == deadline + 1
    assert len(scene.events("started")) == 1
    assert "lease_until" not in scene.record()


async def test_a_save_that_comes_again_does_not_refresh_or_revive(scene: Scene) -> None:
    """A repeated commit is no heartbeat."""
    actor = await scene.actor()
    token, granted, container = await actor.spawn()
    await scene.run_out()

    record = await actor.save(token, granted, container)

    assert record.heartbeat_left is None
    assert not scene.has_key()


@pytest.mark.parametrize("host", ["h1", "h2"])
@pytest.mark.parametrize("token", [A, B])
async def test_save_and_renew_need_token_and_host(scene: Scene, host: str, token: Token) -> None:
    """Each alone is not enough."""
    owner, actor = await scene.actor(), await scene.actor(host=host)
    granted = await owner.reserved(A)
    if (host, token) == (HOST, A):
        await actor.registry.renew(S1, token, granted.db)
        await actor.registry.save(S1, token, container_id=C1, db=granted.db, address=None)
        return

    with pytest.raises(Superseded):
        await actor.registry.renew(S1, token, granted.db)
    with pytest.raises(Superseded):
        await actor.registry.save(S1, token, container_id=C1, db=granted.db, address=None)
    assert scene.state() == State.STARTING


async def test_renew_keeps_the_lease_and_the_score_together(scene: Scene) -> None:
    """The reactor looks when the lease is over, not before."""
    actor = await scene.actor()
    granted = await actor.reserved(A)
    scene.redis.hset(scene.keys.record(S1), "lease_until", scene.now_ms() + 10)

    await actor.registry.renew(S1, A, granted.db)

    assert int(scene.record()["lease_until"]) > scene.now_ms() + 9000
    assert scene.score() == int(scene.record()["lease_until"])


async def test_renew_and_save_say_when_the_data_was_lost(scene: Scene) -> None:
    """No record, nothing superseded: nothing may be concluded."""
    actor = await scene.actor()
    granted = await actor.reserved(A)
    scene.redis.delete(scene.keys.record(S1))

    with pytest.raises(DataLost):
        await actor.registry.renew(S1, A, granted.db)
    with pytest.raises(DataLost):
        await actor.registry.save(S1, A, container_id=C1, db=granted.db, address=None)


async def _failed(actor: Actor, scene: Scene, error: str) -> Spawn:
    granted = await actor.reserved(A)
    await actor.registry.abort(S1, A, error)
    assert scene.score() is None
    return granted


async def test_abort_tells_waiters_of_that_generation_and_nobody_else(scene: Scene) -> None:
    """Who saw it being spawned gets the error; who comes later gets a new spawn."""
    actor = await scene.actor()
    granted = await _failed(actor, scene, "SpawnFailed: no such command")

    assert await actor.reserve(B, waited=granted.generation) == Failed("SpawnFailed: no such command")
    later = await actor.reserve(B)
    assert isinstance(later, Spawn)
    assert later.generation > granted.generation
    assert scene.events("failed")[0]["error"] == "SpawnFailed: no such command"


async def test_abort_repeated_changes_nothing(scene: Scene) -> None:
    """One tombstone, one audit entry; a lost abort of an old spawn does not reach the next one."""
    actor = await scene.actor()
    await _failed(actor, scene, "SpawnFailed: x")
    before = scene.record()

    await actor.registry.abort(S1, A, "SpawnFailed: x")
    assert scene.record() == before
    assert len(scene.events("failed")) == 1

    await actor.reserved(B)
    await actor.registry.abort(S1, A, "SpawnFailed: x")
    assert scene.state() == State.STARTING


async def test_abort_without_an_error_only_lets_the_id_go(scene: Scene) -> None:
    """As before a pull: no tombstone, no audit entry."""
    actor = await scene.actor()
    await _failed(actor, scene, "")

    assert scene.record() == {}
    assert scene.events() == []


async def test_abort_keeps_an_error_short_enough_for_the_record(scene: Scene) -> None:
    """At most 512 bytes, cut between characters."""
    actor = await scene.actor()
    await _failed(actor, scene, "SpawnFailed: " + "é" * 400)

    kept = scene.record()["error"]
    assert 500 < len(kept.encode()) <= 512
    assert kept.endswith("é")


@pytest.mark.parametrize("verb", [Script.COMMIT, Script.ABORT])
async def test_waiters_are_woken_by_a_message(scene: Scene, verb: Script) -> None:
    """Commit and abort publish the id on the host's channel."""
    actor = await scene.actor()
    granted = await actor.reserved(A)
    with scene.redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(scene.keys.wake(HOST))
        listener.get_message(timeout=1)
        if verb is Script.COMMIT:
            await actor.registry.save(S1, A, container_id=C1, db=granted.db, address=None)
        else:
            await actor.registry.abort(S1, A, "SpawnFailed: x")
        message = listener.get_message(timeout=5)

    assert message["data"] == S1


async def test_two_sessions_have_nothing_to_do_with_each_other(scene: Scene) -> None:
    """Each id is its own lock."""
    actor = await scene.actor()
    other = SessionId("s-2")

    assert isinstance(await actor.reserve(A), Spawn)
    assert isinstance(await actor.reserve(B, other, ttl=TTL), Spawn)
    assert scene.record(other)["token"] == B
