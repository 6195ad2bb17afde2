"""Reserve: each word that it answers, and the same answer to the same token."""

from datetime import timedelta

from reactor.registry.verdicts import Live, Mode, Spawn, Wait
from reactor.session import Address, ContainerId, Endpoint, State, Token, milliseconds
from tests.protocol.actor import HOST, S1
from tests.protocol.scene import Scene
from tests.waiting import wait_until

A, B = Token("a"), Token("b")
C1 = ContainerId("c1")
ADDRESS = Address(ip="10.0.0.2", ports={"8000/tcp": Endpoint(host="127.0.0.1", port=32768)})


async def test_reserve_grants_a_new_session_to_the_first(scene: Scene) -> None:
    """The record is `starting`, indexed for the end of its lease, and there is no heartbeat key."""
    actor = await scene.actor()

    granted = await actor.reserved(A)

    record = scene.record()
    assert granted == Spawn(granted.generation, actor.registry.evidence.db)
    assert record["generation"] == str(granted.generation)
    assert (record["state"], record["token"], record["host"], record["ttl_ms"]) == ("starting", A, HOST, "900000")
    assert scene.score() == int(record["lease_until"])
    assert not scene.has_key()
    assert scene.redis.smembers(scene.keys.hosts) == {HOST}


async def test_reserve_grants_the_same_spawn_again_to_the_same_token(scene: Scene) -> None:
    """Its answer was lost; nothing is written a second time."""
    actor = await scene.actor()
    first = await actor.reserve(A)
    before = scene.record()

    assert await actor.reserve(A) == first
    assert scene.record() == before


async def test_reserve_lets_others_wait_while_the_lease_lasts(scene: Scene) -> None:
    """With the generation whose error they would get."""
    actor = await scene.actor()
    granted = await actor.reserved(A)

    answer = await actor.reserve(B)

    assert isinstance(answer, Wait)
    assert (answer.state, answer.host, answer.generation) == (State.STARTING, HOST, granted.generation)
    assert timedelta(0) < answer.lease_left <= actor.registry.terms.spawn_lease


async def test_reserve_takes_over_after_the_lease(scene: Scene) -> None:
    """With a new generation."""
    actor = await scene.actor(spawn_lease=timedelta(milliseconds=1))
    first = await actor.reserved(A)
    await scene.lease_over()

    second = await actor.reserved(B)

    assert second.generation > first.generation
    assert scene.record()["token"] == B


async def test_reserve_leaves_another_hosts_spawn_to_that_host(scene: Scene) -> None:
    """The container's name is the mutex of one engine only."""
    there = await scene.actor(spawn_lease=timedelta(milliseconds=1))
    here = await scene.actor(host="h2")
    await there.reserved(A)
    await scene.lease_over()

    answer = await here.reserve(B)

    assert isinstance(answer, Wait)
    assert answer.host == HOST
    assert answer.lease_left < timedelta(0)


async def test_reserve_refreshes_what_lives(scene: Scene) -> None:
    """LIVE comes with the record; the client has its full TTL again."""
    actor = await scene.actor()
    _, granted, container = await actor.spawn()
    scene.redis.pexpire(scene.keys.heartbeat(S1), 1000)

    answer = await actor.reserve(B)

    assert isinstance(answer, Live)
    assert (answer.record.container_id, answer.record.generation) == (container, granted.generation)
    assert scene.redis.pttl(scene.keys.heartbeat(S1)) > 890_000


async def test_reserve_never_shortens_what_the_client_set(scene: Scene) -> None:
    """A client may have asked for longer; whether that may stand is the reactor's business."""
    actor = await scene.actor()
    await actor.spawn()
    scene.redis.expire(scene.keys.heartbeat(S1), 5000)

    await actor.reserve(B)

    assert scene.redis.ttl(scene.keys.heartbeat(S1)) > 4000


async def test_reserve_revives_what_nobody_claimed(scene: Scene) -> None:
    """The key ran out a moment ago; the container is still there and the audit stream says so."""
    actor = await scene.actor()
    _, granted, container = await actor.spawn()
    await scene.run_out()

    answer = await actor.reserve(B)

    assert isinstance(answer, Live)
    assert answer.record.container_id == container
    assert scene.redis.get(scene.keys.heartbeat(S1)) == str(granted.generation)
    assert len(scene.events("revived")) == 1


async def test_reserve_waits_for_an_end_in_progress(scene: Scene) -> None:
    """Also after the claim's lease: a teardown takes over, not a spawn."""
    actor = await scene.actor(claim_lease=timedelta(milliseconds=1))
    await actor.spawn()
    await actor.claimed(A, mode=Mode.END)
    await scene.lease_over()

    answer = await actor.reserve(B)

    assert isinstance(answer, Wait)
    assert answer.state is State.ENDING
    assert answer.lease_left < timedelta(0)


async def test_reserve_waits_where_the_hard_end_is_over(scene: Scene) -> None:
    """A living key does not help; the reactor is to look at once."""
    actor = await scene.actor(max_lifetime=timedelta(milliseconds=1))
    await actor.spawn()
    hard_end = int(scene.record()["hard_end"])
    await wait_until(lambda: scene.now_ms() > hard_end, what="the hard end is over")

    answer = await actor.reserve(B)

    assert isinstance(answer, Wait)
    assert answer.state is State.RUNNING
    assert (scene.score() or 0) <= scene.now_ms()


async def test_reserve_says_whether_the_hosts_engine_is_watched(scene: Scene) -> None:
    """A short-lived word of its reactors; another host's word does not count."""
    here, there = await scene.actor(), await scene.actor(host="h2")
    await here.spawn()
    before = await here.reserve(B)
    await here.registry.evidence.watch(watched_ms=5000, ahead_ms=0)
    after, elsewhere = await here.reserve(B), await there.reserve(B)

    assert [isinstance(one, Live) and one.watched for one in (before, after, elsewhere)] == [False, True, False]


async def test_a_tombstones_end_does_not_pass_on_to_the_next_record(scene: Scene) -> None:
    """A session acquired over a tombstone is still there, record and container, when the tombstone would have gone."""
    actor = await scene.actor(tombstone=timedelta(milliseconds=30))
    await actor.acquire()
    await actor.terminate()
    gone_at = scene.redis.pexpiretime(scene.keys.record(S1))
    session = await actor.acquire()

    await wait_until(lambda: scene.now_ms() > gone_at, what="the tombstone's time is over")

    assert scene.redis.ttl(scene.keys.record(S1)) == -1
    assert scene.state() == State.RUNNING
    assert scene.running() == [session.container_id]
    assert "error" not in scene.record()


async def test_a_tombstone_goes_after_its_time(scene: Scene) -> None:
    """Until then it says how the session ended."""
    actor = await scene.actor()
    await actor.spawn()
    await actor.terminate()

    assert scene.record()["reason"] == "terminated"
    assert 0 < scene.redis.pttl(scene.keys.record(S1)) <= milliseconds(actor.registry.terms.tombstone)
