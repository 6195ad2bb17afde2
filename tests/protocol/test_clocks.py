"""Redis' clock against this machine's: a clock that jumped, went back or stands still proves no end."""

from collections.abc import AsyncIterator, Iterator

import pytest

from reactor.observation import ClockReading
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Alive, Claimed, Grace, Mode
from reactor.session import Token
from reactor.teardown import Ended
from tests.protocol.actor import HOST
from tests.protocol.scene import Scene
from tests.services.clock import SetClock, redis_with_a_clock
from tests.waiting import wait_until

A, B = Token("a"), Token("b")
HOUR = 3600


@pytest.fixture
def clock() -> Iterator[SetClock]:
    """A Redis whose clock is right so far."""
    with redis_with_a_clock() as found:
        yield found


@pytest.fixture
async def set_scene(clock: SetClock) -> AsyncIterator[Scene]:
    """A stage on that Redis."""
    async with Scene(clock.server) as stage:
        yield stage


def _quarantine(scene: Scene) -> str:
    return scene.redis.hget(scene.keys.seen(HOST), "quarantine") or ""


async def test_a_clock_that_jumped_forward_ends_nobody(clock: SetClock, set_scene: Scene) -> None:
    """R25, D7: every key is dead at once, by a clock that was wrong a moment ago; each session gets its grace."""
    scene = set_scene
    actor = await scene.actor()
    await actor.spawn()
    clock.shift(HOUR)
    await wait_until(lambda: not scene.has_key(), what="Redis dropped the key")

    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
    assert _quarantine(scene) == "clock:1"
    assert scene.beat() == 1
    assert isinstance(await actor.examine(Mode.CLAIM, A), Alive)


async def test_a_jump_is_found_by_a_process_that_was_not_there_before(clock: SetClock, set_scene: Scene) -> None:
    """The last reading is written down with the name of the host's clock: a kill -9 forgets nothing."""
    scene = set_scene
    await (await scene.actor()).spawn()
    clock.shift(HOUR)
    await wait_until(lambda: not scene.has_key(), what="Redis dropped the key")

    newcomer = await scene.actor()

    assert isinstance(await newcomer.examine(Mode.CLAIM, A), Grace)


async def test_a_reading_of_another_boot_is_compared_with_nothing(clock: SetClock, set_scene: Scene) -> None:
    """The host was restarted: its clock began anew, and so does the comparison."""
    scene = set_scene
    await (await scene.actor()).spawn()
    scene.redis.hset(scene.keys.seen(HOST), "clock_boot", "another boot")
    clock.shift(HOUR)
    await scene.run_out()

    newcomer = await scene.actor()

    assert isinstance(await newcomer.examine(Mode.CLAIM, A), Claimed)
    assert _quarantine(scene) == ""


async def test_two_reactors_find_one_jump_once(clock: SetClock, set_scene: Scene) -> None:
    """The second finds the new reading written down; a session that used its grace gets no other for the same jump."""
    scene = set_scene
    one, other = await scene.actor(), await scene.actor()
    await one.spawn()
    clock.shift(HOUR)
    await wait_until(lambda: not scene.has_key(), what="Redis dropped the key")

    assert isinstance(await one.examine(Mode.CLAIM, A), Grace)
    scene.overdue()
    assert isinstance(await other.examine(Mode.CLAIM, B), Claimed)
    assert [entry["reason"] for entry in scene.events("quarantine")] == ["clock:1"]


async def test_a_clock_that_went_back_keeps_nobody_alive_for_longer(clock: SetClock, set_scene: Scene) -> None:
    """R26: keys and leases lie an hour ahead then; a look brings both back to what they may be."""
    scene = set_scene
    actor = await scene.actor()
    await actor.spawn()
    clock.shift(-HOUR)

    await actor.registry.evidence.watch(watched_ms=5000, ahead_ms=0)
    assert _quarantine(scene) == "clock:1"
    assert actor.registry.evidence.clock_was_moved()
    verdict = await actor.examine(Mode.LOOK, A)

    assert isinstance(verdict, Alive)
    assert verdict.repaired
    assert verdict.left.total_seconds() <= 900
    score = scene.score()
    assert score is not None
    assert score <= scene.now_ms() + 900_001


async def test_a_lease_from_before_a_clock_went_back_is_cut(clock: SetClock, set_scene: Scene) -> None:
    """R26: a reactor that was killed in the middle of a teardown does not block it for an hour."""
    scene = set_scene
    actor = await scene.actor()
    await actor.spawn()
    scene.end_by_hand()
    await actor.claimed(A, mode=Mode.END)
    clock.shift(-HOUR)
    await actor.examine(Mode.LOOK, B)

    assert int(scene.record()["lease_until"]) <= scene.now_ms() + 60_000


async def test_a_clock_that_stands_still_is_doubted(clock: SetClock, set_scene: Scene) -> None:
    """B10: keys never end then, and when it goes on they all do at once."""
    scene = set_scene
    actor = await scene.actor()
    await actor.spawn()
    clock.freeze()

    async def found() -> bool:
        await actor.registry.evidence.watch(watched_ms=5000, ahead_ms=0)
        await actor.registry.evidence.witness()
        return _quarantine(scene) != ""

    await wait_until(found, 30, "the clock was found to stand still")
    assert _quarantine(scene).startswith("clock:")
    scene.end_by_hand()
    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)


async def test_a_small_step_is_nobodys_business(clock: SetClock, set_scene: Scene) -> None:
    """NTP moves clocks all the time."""
    scene = set_scene
    actor = await scene.actor()
    await actor.spawn()
    clock.shift(1.0)
    scene.end_by_hand()

    assert isinstance(await actor.examine(Mode.CLAIM, A), Claimed)
    assert _quarantine(scene) == ""


async def test_a_slow_redis_is_not_a_clock_that_moved(set_scene: Scene) -> None:
    """The question was long under way: asked again, nothing is in doubt, and the verdict stands."""
    scene = set_scene
    actor = await scene.actor()
    await actor.spawn()
    scene.overdue()

    evidence = actor.registry.evidence
    here = evidence.clock.now_ms()
    late = ClockReading(redis_ms=scene.now_ms() - 10_000, asked_ms=here, told_ms=here, boot=evidence.clock.boot)
    evidence.expectation.note(late)  # as if the question had been under way for ten seconds

    assert isinstance(await actor.tear_down(), Ended)
    assert actor.link.answered.count(Script.EXAMINE) == 2, "the first one was not answered with a verdict"
    assert _quarantine(scene) == ""
