"""Graces: how many a session gets while a missing key proves nothing, and how long each is."""

from datetime import timedelta

import pytest

from reactor.registry.verdicts import Alive, Busy, Claimed, Grace, Live, Mode
from reactor.session import EndReason, SessionId, Token
from tests.protocol.actor import HOST, S1
from tests.protocol.scene import Scene
from tests.waiting import wait_until

A, B = Token("a"), Token("b")


def _doubt(scene: Scene, number: int) -> None:
    scene.redis.hset(scene.keys.seen(HOST), mapping={"quarantine": f"q{number}", "quarantine_at": scene.now_ms()})


def _grace_over(scene: Scene) -> None:
    over = scene.now_ms() - 1
    fields = {"graces_at": over - 2_000_000, "grace_until": over, "deadline": over}
    scene.redis.hset(scene.keys.record(S1), mapping=fields)


async def test_no_session_gets_more_than_three_graces_in_a_row(scene: Scene) -> None:
    """A Redis that is in doubt all day must not keep everything alive for ever."""
    actor = await scene.actor()
    await actor.spawn()
    for number in range(3):
        scene.end_by_hand()
        _doubt(scene, number)
        assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
        assert scene.record()["graces"] == str(number + 1)
        _grace_over(scene)
    scene.end_by_hand()
    _doubt(scene, 3)

    assert isinstance(await actor.examine(Mode.CLAIM, A), Claimed)


async def test_doubts_that_come_within_one_grace_are_one_in_the_row(scene: Scene) -> None:
    """R6: a full Redis evicts the key as soon as it is set again; that costs one grace, not three in a millisecond."""
    actor = await scene.actor()
    await actor.spawn()
    for number in range(5):
        scene.end_by_hand()
        _doubt(scene, number)
        assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
        assert scene.record()["graces"] == "1"
        scene.end_by_hand()
        _doubt(scene, 10 + number)
        assert isinstance(await actor.examine(Mode.CLAIM, A), Busy), "set again once a second at the most"
        set_at = int(scene.record()["grace_until"]) - 1001
        scene.redis.hset(scene.keys.record(S1), "grace_until", set_at)


async def test_the_third_grace_in_a_row_is_a_whole_one(scene: Scene) -> None:
    """What is in doubt within it is set again; when it is over the session is judged, whatever the evidence."""
    actor = await scene.actor()
    await actor.spawn()
    scene.end_by_hand()
    began = scene.now_ms() - 100_000
    scene.redis.hset(scene.keys.record(S1), mapping={"graces": 3, "graces_at": began, "graced": "q0"})
    _doubt(scene, 1)
    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
    _grace_over(scene)
    scene.end_by_hand()
    _doubt(scene, 2)

    assert isinstance(await actor.examine(Mode.CLAIM, A), Claimed)


@pytest.mark.parametrize("sign", ["a touch", "an acquire"])
async def test_a_sign_of_life_gives_the_graces_back(scene: Scene, sign: str) -> None:
    """Three in a row means without one."""
    actor = await scene.actor()
    await actor.spawn()
    for number in range(6):
        scene.end_by_hand()
        _doubt(scene, number)
        assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
        if sign == "a touch":
            graced_at = scene.now_ms()
            await wait_until(lambda at=graced_at: scene.now_ms() > at, what="the touch is later than the grace")
            scene.beat()
            await actor.examine(Mode.CLAIM, A)
        else:
            await actor.reserve(B)


async def test_a_session_in_grace_is_looked_at_often_enough_to_see_a_touch(scene: Scene) -> None:
    """R6: a Redis that evicts the key again and again would hide each touch from a look at the grace's end."""
    actor = await scene.actor()
    await actor.spawn(ttl=timedelta(seconds=60))
    scene.end_by_hand()
    _doubt(scene, 1)
    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
    assert (scene.score() or 0) <= scene.now_ms() + 10_000
    assert isinstance(await actor.examine(Mode.CLAIM, A), Alive)
    assert "graces" in scene.record(), "not touched yet"
    assert (scene.score() or 0) <= scene.now_ms() + 10_000
    graced_at = scene.now_ms()
    await wait_until(lambda: scene.now_ms() > graced_at, what="the touch is later than the grace")
    scene.beat()
    assert isinstance(await actor.examine(Mode.CLAIM, A), Alive)
    assert "graces" not in scene.record()
    assert (scene.score() or 0) > scene.now_ms() + 10_000


async def test_a_hard_end_that_a_clock_came_to_by_a_jump_waits_for_one_grace(scene: Scene) -> None:
    """R25: its client beats, and an hour that nobody lived through is over; then it ends, touched or not."""
    actor = await scene.actor(max_lifetime=timedelta(hours=2))
    await actor.spawn()
    planned = scene.now_ms() - 1
    scene.redis.hset(scene.keys.record(S1), "hard_end", planned)
    scene.redis.hset(scene.keys.seen(HOST), mapping={"quarantine": "clock:1", "quarantine_at": scene.now_ms()})

    assert isinstance(await actor.examine(Mode.CLAIM, A), Alive)
    assert isinstance(await actor.reserve(B), Live)
    assert scene.now_ms() + 800_000 < (scene.score() or 0) <= scene.now_ms() + 900_000
    scene.redis.hset(scene.keys.record(S1), "hard_grace", scene.now_ms() - 1)
    assert (await actor.claimed(A)).reason is EndReason.MAX_LIFETIME


@pytest.mark.parametrize("doubt", ["", "run:1", "evicted:1:1"])
async def test_a_hard_end_is_kept_where_no_clock_is_in_doubt(scene: Scene, doubt: str) -> None:
    """It is no missing key, so nothing else speaks against it."""
    actor = await scene.actor(max_lifetime=timedelta(hours=2))
    await actor.spawn()
    scene.redis.hset(scene.keys.record(S1), "hard_end", scene.now_ms() - 1)
    scene.redis.hset(scene.keys.seen(HOST), mapping={"quarantine": doubt, "quarantine_at": scene.now_ms()})

    assert (await actor.claimed(A)).reason is EndReason.MAX_LIFETIME


@pytest.mark.parametrize(
    "asked, ttl_ms, given_ms", [(None, 900_000, 900_000), (1, 900_000, 600_000), (3600, 900_000, 3_600_000)]
)
async def test_a_grace_fits_one_heartbeat(scene: Scene, asked: int | None, ttl_ms: int, given_ms: int) -> None:
    """The session's TTL, or what was configured, but never below two thirds of the TTL."""
    actor = await scene.actor(grace=None if asked is None else timedelta(seconds=asked))
    await actor.spawn(ttl=timedelta(milliseconds=ttl_ms))
    scene.end_by_hand()
    _doubt(scene, 1)

    verdict = await actor.examine(Mode.CLAIM, A)

    assert isinstance(verdict, Grace)
    assert timedelta(0) <= verdict.left - timedelta(milliseconds=given_ms) <= timedelta(seconds=30)
    assert int(scene.record()["grace_until"]) >= scene.now_ms() + given_ms - 60_000
    assert isinstance(await actor.examine(Mode.CLAIM, B), Alive), "a grace longer than the TTL is no fault"
    assert scene.events("repaired") == []


async def test_a_quarantine_is_over_when_a_grace_has_passed(scene: Scene) -> None:
    """What ends later ends for good."""
    actor = await scene.actor()
    await actor.spawn()
    scene.end_by_hand()
    _doubt(scene, 1)
    scene.redis.hset(scene.keys.seen(HOST), "quarantine_at", scene.now_ms() - 900_001)

    assert isinstance(await actor.examine(Mode.CLAIM, A), Claimed)


async def test_an_end_that_nobody_doubts_keeps_its_reason(scene: Scene) -> None:
    """A grace that ran out is an expiry like any other."""
    actor = await scene.actor(grace=timedelta(milliseconds=1))
    await actor.spawn(ttl=timedelta(milliseconds=40))
    scene.end_by_hand()
    _doubt(scene, 1)
    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
    await scene.run_out()
    deadline = int(scene.record()["deadline"])
    await wait_until(lambda: scene.now_ms() > deadline, what="the grace is over")

    assert (await actor.claimed(A)).reason is EndReason.EXPIRED


@pytest.mark.parametrize("ttl_ms, doubted", [(299_000, True), (300_000, False), (900_000, False)])
async def test_an_outage_counts_for_those_whose_heartbeats_it_can_have_cost(
    scene: Scene, ttl_ms: int, *, doubted: bool
) -> None:
    """Commands failed for 100 s: longer than a third of the one TTL, not of the other."""
    actor = await scene.actor()
    await actor.spawn(ttl=timedelta(milliseconds=ttl_ms))
    scene.end_by_hand()
    outage = {"outage": "outage:1", "outage_at": scene.now_ms(), "outage_ms": 100_000}
    scene.redis.hset(scene.keys.seen(HOST), mapping=outage)

    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace) is doubted


async def test_one_grace_covers_every_doubt_that_stood_when_it_was_given(scene: Scene) -> None:
    """A restart and the outage around it are two names of one thing to a session."""
    actor = await scene.actor()
    await actor.spawn()
    scene.end_by_hand()
    _doubt(scene, 1)
    outage = {"outage": "outage:1", "outage_at": scene.now_ms(), "outage_ms": 900_000}
    scene.redis.hset(scene.keys.seen(HOST), mapping=outage)
    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
    _grace_over(scene)
    scene.end_by_hand()

    assert isinstance(await actor.examine(Mode.CLAIM, A), Claimed)


async def test_a_wave_of_graces_does_not_end_at_once(scene: Scene) -> None:
    """Each is a little longer than asked for, by its session's id: at most a tenth, and at most 30 s."""
    actor = await scene.actor(grace=timedelta(seconds=100))
    ids = [SessionId(f"s-{number}") for number in range(20)]
    lengths: list[float] = []
    for session_id in ids:
        await actor.spawn(session_id, ttl=timedelta(seconds=90))
        scene.end_by_hand(session_id)
    _doubt(scene, 1)
    for session_id in ids:
        verdict = await actor.examine(Mode.CLAIM, A, session_id)
        assert isinstance(verdict, Grace)
        lengths.append(verdict.left.total_seconds())

    assert min(lengths) >= 100
    assert max(lengths) <= 110
    assert max(lengths) - min(lengths) > 3
    assert len(set(lengths)) == len(ids)
