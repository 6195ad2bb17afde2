"""A generation that lies ahead of Redis' clock, which was set back: nobody stays young by it, none is given twice."""

from datetime import timedelta

import anyio
import pytest

from reactor.ages import Ages
from reactor.plan import Action, Kind, plan
from reactor.registry.verdicts import Spawn
from reactor.session import Generation, State, Token
from tests.protocol.actor import S1, Actor
from tests.protocol.scene import Scene
from tests.protocol.views import LIMIT, NOW_MS, Row, before, record, view

AHEAD = Generation((NOW_MS + 3_600_000) * 1000)
DAY_US = 86_400_000_000


@pytest.mark.parametrize("known, action", [(timedelta(0), Action.WAIT), (LIMIT + timedelta(seconds=1), Action.ADOPT)])
def test_r26_a_rewound_redis_with_a_clock_set_back_keeps_what_runs(known: timedelta, action: Action) -> None:
    """It may be a spawn in flight when first seen; seen for longer than a spawn takes, it is given its record back."""
    row = Row(id="", containers=before(AHEAD), found=record(State.ENDED), view={"ahead": {AHEAD: known}})
    assert [(line.action, line.kind) for line in plan(view(row))] == [(action, Kind.ORPHAN)]


async def test_ages_are_counted_from_the_first_sight_and_forgotten() -> None:
    """Only of what is ahead; once Redis' clock has reached it, or it is gone, it has no such age."""
    ages, there = Ages(), before(AHEAD)
    assert ages.ahead(there, NOW_MS) == {AHEAD: timedelta(0)}
    first = anyio.current_time()
    while anyio.current_time() == first:
        await anyio.lowlevel.checkpoint()
    assert ages.ahead(there, NOW_MS)[AHEAD] > timedelta(0)
    assert ages.ahead(there, AHEAD // 1000) == {}
    assert ages.ahead(there, NOW_MS) == {AHEAD: timedelta(0)}
    assert ages.ahead([], NOW_MS) == {}


async def _after(actor: Actor, scene: Scene, token: str) -> Generation:
    """Return the generation that follows a record from the future, which a rewind brought back."""
    await actor.reserved(Token("future"))
    at = int(scene.record()["generation"]) + DAY_US
    scene.redis.hset(scene.keys.record(S1), mapping={"generation": str(at), "state": "ended"})
    granted = await actor.reserve(Token(token))
    assert isinstance(granted, Spawn)
    assert granted.generation > at
    return Generation(granted.generation - at)


async def test_r28_a_step_that_a_rewind_makes_again_gives_another_generation(scene: Scene) -> None:
    """Two spawns that follow the same record are two generations, also where no clock tells them apart."""
    actor = await scene.actor()
    steps: list[Generation] = []
    for token in ("a", "b", "c"):
        steps.append(await _after(actor, scene, token))
        scene.redis.delete(scene.keys.record(S1))
    assert len(set(steps)) == 3
