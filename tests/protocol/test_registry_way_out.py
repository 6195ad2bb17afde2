"""The verbs of the way out: each word that they answer, and what each does to key, index and audit stream."""

from datetime import timedelta

import pytest

from reactor.errors import SessionLost
from reactor.registry.verdicts import Alive, Busy, Claimable, Claimed, Foreign, Gone, Mode
from reactor.session import ContainerId, EndReason, HostName, SessionId, State, Token
from tests.protocol.actor import HOST, S1
from tests.protocol.scene import Scene
from tests.waiting import wait_until

A, B = Token("a"), Token("b")
H2 = HostName("h2")


@pytest.mark.parametrize("mode", Mode)
async def test_examine_says_gone_where_there_is_nothing_or_a_tombstone(scene: Scene, mode: Mode) -> None:
    """And takes the id out of the index."""
    actor = await scene.actor()
    scene.redis.zadd(scene.keys.due(HOST), {S1: 0})
    assert await actor.examine(mode, A) == Gone()
    assert scene.score() is None

    await actor.spawn()
    await actor.terminate()
    scene.redis.zadd(scene.keys.due(HOST), {S1: 0})
    assert await actor.examine(mode, A) == Gone()
    assert scene.score() is None


@pytest.mark.parametrize("mode", Mode)
async def test_examine_leaves_another_hosts_session_alone(scene: Scene, mode: Mode) -> None:
    """It is only taken out of this host's index."""
    here, there = await scene.actor(), await scene.actor(host=H2)
    await there.spawn()
    await scene.run_out()
    scene.redis.zadd(scene.keys.due(HOST), {S1: 0})
    before = scene.record()

    assert await here.examine(mode, A) == Foreign(H2)
    assert scene.record() == before
    assert (scene.score(), scene.score(host=H2)) == (None, int(before["deadline"]) + 1)


@pytest.mark.parametrize("mode", [Mode.LOOK, Mode.CLAIM])
async def test_examine_moves_the_score_of_the_living_to_their_deadline(scene: Scene, mode: Mode) -> None:
    """Wherever the client's EXPIRE put it; the record remembers it."""
    actor = await scene.actor()
    await actor.spawn()
    scene.redis.expire(scene.keys.heartbeat(S1), 100)

    verdict = await actor.examine(mode, A)

    deadline = scene.redis.pexpiretime(scene.keys.heartbeat(S1))
    assert isinstance(verdict, Alive)
    assert not verdict.repaired
    assert scene.score() == deadline + 1
    assert scene.record()["deadline"] == str(deadline)


async def test_examine_looks_no_further_ahead_than_the_host_can_hear(scene: Scene) -> None:
    """Without notifications an early DEL is seen by looking."""
    actor = await scene.actor()
    await actor.spawn()
    await actor.registry.evidence.watch(watched_ms=0, ahead_ms=30_000)

    await actor.registry.look([S1])

    assert (scene.score() or 0) <= scene.now_ms() + 30_000


@pytest.mark.parametrize("broken", ["for ever", "for too long"])
async def test_examine_puts_a_heartbeat_that_would_stay_right(scene: Scene, broken: str) -> None:
    """A SET without a TTL, or an EXPIRE beyond the session's: it gets the session's own."""
    actor = await scene.actor()
    await actor.spawn()
    if broken == "for ever":
        scene.redis.persist(scene.keys.heartbeat(S1))
    else:
        scene.redis.expire(scene.keys.heartbeat(S1), 86_400)

    verdict = await actor.examine(Mode.CLAIM, A)

    assert isinstance(verdict, Alive)
    assert verdict.repaired
    assert 890_000 < scene.redis.pttl(scene.keys.heartbeat(S1)) <= 900_000
    assert len(scene.events("repaired")) == 1


@pytest.mark.parametrize("how", ["ran out", "was deleted"])
async def test_examine_claims_what_has_ended(scene: Scene, how: str) -> None:
    """The reason tells the two apart, and the lag from deadline to claim is kept."""
    actor = await scene.actor()
    _, granted, container = await actor.spawn(ttl=timedelta(milliseconds=20 if how == "ran out" else 900_000))
    if how == "ran out":
        deadline = int(scene.record()["deadline"])
        await wait_until(lambda: not scene.has_key() and scene.now_ms() > deadline, what="the deadline is past")
        reason = EndReason.EXPIRED
    else:
        scene.end_by_hand()
        reason = EndReason.ENDED_BY_CLIENT

    claim = await actor.claimed(A)

    assert claim == Claimed(container, granted.generation, granted.db, reason)
    record = scene.record()
    assert (record["state"], record["claim_token"]) == ("ending", A)
    assert ("lag_ms" in record) is (how == "ran out")
    assert scene.score() == int(record["lease_until"])


async def test_examine_gives_the_same_token_the_same_claim(scene: Scene) -> None:
    """Its answer was lost; others hear that somebody holds it."""
    actor, other = await scene.actor(), await scene.actor()
    await actor.spawn()
    scene.end_by_hand()
    claim = await actor.claimed(A)
    before = scene.record()

    assert await actor.claimed(A) == claim
    assert await actor.claimed(A, mode=Mode.END) == claim
    assert isinstance(await other.examine(Mode.CLAIM, B), Busy)
    assert isinstance(await other.examine(Mode.END, B), Busy)
    assert scene.record() == before


async def test_a_look_claims_nothing(scene: Scene) -> None:
    """It says that a claim would succeed, and comes back to it soon."""
    actor = await scene.actor()
    await actor.spawn()
    scene.end_by_hand()
    before = scene.record()

    assert await actor.registry.look([S1]) == {S1: Claimable()}
    assert scene.record() == before
    assert scene.now_ms() < (scene.score() or 0) <= scene.now_ms() + 1000


@pytest.mark.parametrize("mode", [Mode.LOOK, Mode.CLAIM])
async def test_examine_leaves_a_spawn_under_its_lease_alone(scene: Scene, mode: Mode) -> None:
    """BUSY until then, and looked at again right after."""
    actor = await scene.actor()
    await actor.reserved(A)

    assert isinstance(await actor.examine(mode, B), Busy)
    assert scene.score() == int(scene.record()["lease_until"]) + 1


async def test_examine_claims_a_spawn_whose_lease_is_over(scene: Scene) -> None:
    """Its container is not known yet."""
    actor = await scene.actor(spawn_lease=timedelta(milliseconds=1))
    granted = await actor.reserved(A)
    await scene.lease_over()

    assert await actor.examine(Mode.LOOK, B) == Claimable()
    claim = await actor.claimed(B)
    assert claim == Claimed(None, granted.generation, granted.db, EndReason.SPAWN_FAILED, committed=False)


async def test_end_claims_whatever_lives(scene: Scene) -> None:
    """A spawn in flight too; it loses its record at once."""
    actor = await scene.actor()
    granted = await actor.reserved(A)
    claim = await actor.claimed(B, mode=Mode.END)

    assert claim == Claimed(None, granted.generation, granted.db, EndReason.TERMINATED, committed=False)
    with pytest.raises(SessionLost):
        await actor.registry.renew(S1, A, granted.db)


async def test_end_for_a_container_does_not_reach_a_spawn(scene: Scene) -> None:
    """What died belonged to an earlier generation."""
    actor = await scene.actor()
    await actor.reserved(A)

    assert isinstance(await actor.examine(Mode.END, B, expected=ContainerId("c0")), Busy)
    assert scene.state() == State.STARTING


@pytest.mark.parametrize("mode", [Mode.CLAIM, Mode.END])
async def test_examine_takes_an_abandoned_claim_over(scene: Scene, mode: Mode) -> None:
    """With its reason, which the second token cannot change; the first one holds nothing any more."""
    actor = await scene.actor(claim_lease=timedelta(milliseconds=1))
    await actor.spawn()
    scene.end_by_hand()
    first = await actor.claimed(A)
    await scene.lease_over()

    assert await actor.examine(Mode.LOOK, B) == Claimable()
    assert await actor.claimed(B, mode=mode) == first
    with pytest.raises(SessionLost):
        await actor.registry.extend(S1, A)
    with pytest.raises(SessionLost):
        await actor.registry.delete(S1, A)
    await actor.registry.extend(S1, B)


async def test_examine_ends_a_session_at_its_hard_end_whatever_its_client_does(scene: Scene) -> None:
    """Its score is the sooner of the two ends."""
    actor = await scene.actor(max_lifetime=timedelta(milliseconds=100))
    await actor.spawn()
    hard_end = int(scene.record()["hard_end"])
    assert scene.score() == hard_end + 1
    scene.beat()
    await wait_until(lambda: scene.now_ms() > hard_end, what="the hard end is over")

    claim = await actor.claimed(A)

    assert claim.reason is EndReason.MAX_LIFETIME
    assert not scene.has_key()


async def test_extend_moves_lease_and_score_of_the_holder_only(scene: Scene) -> None:
    """A short lease hands a teardown on."""
    actor = await scene.actor()
    await actor.spawn()
    await actor.claimed(A, mode=Mode.END)

    for _ in range(2):
        await actor.registry.extend(S1, A, timedelta(seconds=60))
        assert scene.score() == int(scene.record()["lease_until"]) > scene.now_ms() + 50_000
    before = scene.record()
    with pytest.raises(SessionLost):
        await actor.registry.extend(S1, B)
    assert scene.record() == before


async def test_delete_finishes_once(scene: Scene) -> None:
    """A tombstone, out of the index, one audit entry with what led to it; the second time changes nothing."""
    actor = await scene.actor()
    _, granted, container = await actor.spawn()
    await actor.claimed(A, mode=Mode.END)
    await actor.registry.delete(S1, A)
    before = scene.record()

    await actor.registry.delete(S1, A)

    assert scene.record() == before
    assert (before["state"], before["reason"], scene.score()) == ("ended", "terminated", None)
    (entry,) = scene.events("ended")
    assert entry["generation"] == str(granted.generation)
    assert entry | {"took_ms": ""} == {
        "event": "ended", "session_id": S1, "generation": str(granted.generation), "container_id": container,
        "host": HOST, "reason": "terminated", "detector": "manual", "took_ms": "",
    }  # fmt: skip


@pytest.mark.parametrize("state", [None, State.STARTING, State.RUNNING, State.ENDING])
async def test_delete_and_extend_need_the_claims_token(scene: Scene, state: State | None) -> None:
    """Not a spawn's, not another claim's, not none."""
    actor = await scene.actor()
    if state is State.STARTING:
        await actor.reserved(A)
    elif state is not None:
        await actor.spawn()
    if state is State.ENDING:
        await actor.claimed(A, mode=Mode.END)
    before = scene.record()

    for verb in (actor.registry.delete, actor.registry.extend):
        with pytest.raises(SessionLost):
            await verb(S1, B)
    assert scene.record() == before


async def test_a_look_at_many_answers_each_by_itself(scene: Scene) -> None:
    """One round trip."""
    actor = await scene.actor()
    ids = [SessionId(name) for name in ("alive", "over", "starting", "none")]
    await actor.spawn(ids[0])
    await actor.spawn(ids[1])
    scene.end_by_hand(ids[1])
    await actor.reserved(A, ids[2])

    found = await actor.registry.look(ids)

    assert [type(found[i]) for i in ids] == [Alive, Claimable, Busy, Gone]
