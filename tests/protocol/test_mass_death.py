"""Mass death: many keys gone before their deadline, and nobody was heard to delete them."""

import pytest

from reactor.registry.verdicts import Alive, Busy, Claimed, Grace, Mode, Verdict
from reactor.session import Detector, EndReason, SessionId, Token
from reactor.teardown import Ended
from tests.protocol.actor import HOST, Actor
from tests.protocol.scene import Scene

TOKEN = Token("t")


def _ids(count: int) -> list[SessionId]:
    return [SessionId(f"s-{number:03}") for number in range(count)]


async def _many(scene: Scene, count: int) -> tuple[Actor, list[SessionId]]:
    actor = await scene.actor()
    for session_id in _ids(count):
        await actor.spawn(session_id)
    return actor, _ids(count)


def _quarantine(scene: Scene) -> str:
    return scene.redis.hget(scene.keys.seen(HOST), "quarantine") or ""


def _let_pass(scene: Scene, ms: int) -> None:
    """Make what was counted so far as old as if so much time had passed."""
    kept = (scene.redis.hget(scene.keys.seen(HOST), "early") or "").split()
    older = [f"{int(at) - ms}:{count}" for at, count in (entry.split(":") for entry in kept)]
    scene.redis.hset(scene.keys.seen(HOST), "early", " ".join(older))


def _held_long_enough(scene: Scene, ids: list[SessionId]) -> None:
    for session_id in ids:
        scene.redis.hset(scene.keys.record(session_id), "early_at", scene.now_ms() - 1000)


async def _look_at(actor: Actor, ids: list[SessionId], mode: Mode = Mode.CLAIM) -> list[Verdict]:
    return [await actor.examine(mode, TOKEN, session_id) for session_id in ids]


@pytest.mark.parametrize("count, dead", [(30, 11), (60, 13), (12, 11)])
async def test_mass_death_is_doubted_and_each_of_them_gets_one_grace(scene: Scene, count: int, dead: int) -> None:
    """R25: more than max(10, 20 %) within a minute. The first ones were held for a moment, so that none is lost."""
    actor, ids = await _many(scene, count)
    for session_id in ids[:dead]:
        scene.end_by_hand(session_id)

    first = await _look_at(actor, ids[:dead])
    again = await _look_at(actor, ids[:dead])

    assert [type(verdict) for verdict in first] == [Busy] * (dead - 1) + [Grace]
    assert [type(verdict) for verdict in again] == [Grace] * (dead - 1) + [Alive]
    assert _quarantine(scene).startswith("mass:")
    assert [entry["reason"] for entry in scene.events("quarantine")] == [_quarantine(scene)]
    assert all(scene.has_key(session_id) for session_id in ids)


@pytest.mark.parametrize("count, dead", [(30, 10), (60, 12), (10, 10)])
async def test_as_many_as_clients_may_end_are_believed(scene: Scene, count: int, dead: int) -> None:
    """Up to max(10, 20 %): ended by their clients, after a moment where the host has many sessions."""
    actor, ids = await _many(scene, count)
    for session_id in ids[:dead]:
        scene.end_by_hand(session_id)

    if count > 10:
        assert {type(verdict) for verdict in await _look_at(actor, ids[:dead])} == {Busy}
        _held_long_enough(scene, ids[:dead])
    verdicts = await _look_at(actor, ids[:dead])

    assert {type(verdict) for verdict in verdicts} == {Claimed}
    assert {verdict.reason for verdict in verdicts if isinstance(verdict, Claimed)} == {EndReason.ENDED_BY_CLIENT}
    assert _quarantine(scene) == ""


async def test_a_del_that_was_heard_is_the_clients_own_end(scene: Scene) -> None:
    """However many they are: never counted, never delayed, not even in a quarantine."""
    actor, ids = await _many(scene, 30)
    for session_id in ids:
        scene.end_by_hand(session_id)
    scene.redis.hset(scene.keys.seen(HOST), mapping={"quarantine": "q1", "quarantine_at": scene.now_ms()})

    verdicts = await _look_at(actor, ids, Mode.DELETED)

    assert {type(verdict) for verdict in verdicts} == {Claimed}
    assert scene.redis.hget(scene.keys.seen(HOST), "early") is None


async def test_a_del_that_was_heard_of_another_history_is_no_wish_of_a_client(scene: Scene) -> None:
    """V16: a replica tells of each key that ended as of a deletion; since then it was made a primary."""
    actor, ids = await _many(scene, 1)
    heard = actor.registry.evidence.db
    scene.end_by_hand(ids[0])
    scene.redis.replicaof("127.0.0.1", 1)
    scene.redis.replicaof("NO", "ONE")

    assert isinstance(await actor.examine(Mode.DELETED, TOKEN, ids[0], heard=heard), Grace)
    assert _quarantine(scene).startswith("role:")


async def test_a_del_that_was_heard_before_a_data_loss_is_doubted_after_it(scene: Scene) -> None:
    """The hint waited in the queue meanwhile."""
    actor, ids = await _many(scene, 1)
    heard = actor.registry.evidence.db
    scene.redis.hset(scene.keys.meta, "db", "another")
    scene.end_by_hand(ids[0])

    assert isinstance(await actor.examine(Mode.DELETED, TOKEN, ids[0], heard=heard), Grace)


async def test_a_del_that_was_heard_ends_nobody_whose_key_lives(scene: Scene) -> None:
    """R35: an event is a hint, and may be forged."""
    actor, ids = await _many(scene, 1)

    assert isinstance(await actor.examine(Mode.DELETED, TOKEN, ids[0]), Alive)


async def test_sessions_that_ended_on_time_are_no_mass_death(scene: Scene) -> None:
    """R37: a thousand deadlines in one second are what they are."""
    actor, ids = await _many(scene, 40)
    for session_id in ids:
        scene.overdue(session_id)

    assert {type(verdict) for verdict in await _look_at(actor, ids)} == {Claimed}
    assert _quarantine(scene) == ""


async def test_keys_that_go_over_a_long_time_are_no_mass_death(scene: Scene) -> None:
    """What is older than a minute counts no more: what clients end over an hour is theirs to end."""
    actor, ids = await _many(scene, 30)
    for session_id in ids:
        scene.end_by_hand(session_id)
        assert isinstance(await actor.examine(Mode.CLAIM, TOKEN, session_id), Busy)
        _held_long_enough(scene, [session_id])
        assert isinstance(await actor.examine(Mode.CLAIM, TOKEN, session_id), Claimed)
        _let_pass(scene, 7000)

    assert _quarantine(scene) == ""


async def test_a_mass_death_is_one_wherever_in_the_minute_it_falls(scene: Scene) -> None:
    """R25: any sixty seconds count, not those that begin at some instant."""
    actor, ids = await _many(scene, 40)
    for session_id in ids[:20]:
        scene.end_by_hand(session_id)
    assert {type(verdict) for verdict in await _look_at(actor, ids[:10])} == {Busy}
    _let_pass(scene, 30_000)
    verdicts = await _look_at(actor, ids[10:20])

    assert type(verdicts[0]) is Grace
    assert {type(verdict) for verdict in verdicts} == {Grace}
    assert len(scene.events("quarantine")) == 1


async def test_who_is_held_and_beats_again_was_never_in_danger(scene: Scene) -> None:
    """The acquire revives it; the next look finds it alive and forgets."""
    actor, ids = await _many(scene, 12)
    scene.end_by_hand(ids[0])
    assert isinstance(await actor.examine(Mode.CLAIM, TOKEN, ids[0]), Busy)
    await actor.acquire(ids[0])

    assert isinstance(await actor.examine(Mode.CLAIM, TOKEN, ids[0]), Alive)
    assert "early_at" not in scene.record(ids[0])


async def test_a_graced_mass_that_stays_silent_is_removed_afterwards(scene: Scene) -> None:
    """One grace, then it is judged: nothing leaks."""
    actor, ids = await _many(scene, 12)
    for session_id in ids:
        scene.end_by_hand(session_id)
    await _look_at(actor, ids)
    assert {type(verdict) for verdict in await _look_at(actor, ids)} <= {Grace, Alive}
    for session_id in ids:
        scene.overdue(session_id)

    verdicts = [await actor.tear_down(session_id) for session_id in ids]

    assert {type(verdict) for verdict in verdicts} == {Ended}


async def test_a_mass_death_that_a_script_found_is_logged_by_the_reactor(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """The event is written by the script; whoever tells of his presence hears of it, and says it once."""
    actor, ids = await _many(scene, 12)
    for session_id in ids:
        scene.end_by_hand(session_id)
    await _look_at(actor, ids)
    for _ in range(3):
        await actor.registry.evidence.watch(watched_ms=1000, ahead_ms=0)

    said = [record for record in caplog.records if getattr(record, "reason", "").startswith("mass:")]
    assert len(said) == 1
    assert said[0].getMessage() == (
        "many heartbeat keys went before their deadline, and nobody was heard to delete them: "
        "a missing heartbeat key proves nothing for a while, each session gets one grace"
    )


async def test_a_worker_passes_on_what_was_heard(scene: Scene) -> None:
    """From the event to the verdict: the hint travels with the id."""
    actor, ids = await _many(scene, 12)
    for session_id in ids:
        scene.end_by_hand(session_id)
        await actor.worked_off(session_id, Detector.EVENT, deleted=True)

    assert len(scene.events("ended")) == 12
