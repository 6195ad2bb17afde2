"""A generation that lies ahead of Redis' clock, which was set back: nobody stays young by it."""

from datetime import timedelta

import anyio
import pytest

from reactor.ages import Ages
from reactor.errors import AcquireTimeout
from reactor.plan import Action, Kind, plan
from reactor.session import DatabaseId, Generation, State, Token
from tests.protocol.scene import Scene
from tests.protocol.views import LIMIT, NOW_MS, Row, before, record, view
from tests.waiting import wait_until

A = Token("a")
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


async def test_an_age_is_told_by_redis_clock_where_that_knows_it() -> None:
    """Ahead of it, the age begins with the first sight; a janitor's look counts as one."""
    ages = Ages()
    assert ages.of(Generation((NOW_MS - 5000) * 1000), NOW_MS) == timedelta(seconds=5)
    assert ages.of(AHEAD, NOW_MS) == timedelta(0)
    assert ages.of(AHEAD, NOW_MS + 1) >= timedelta(0)
    assert ages.of(AHEAD, AHEAD // 1000 + 7) == timedelta(milliseconds=7)


async def test_r26_a_dead_container_ahead_of_a_clock_set_back_blocks_its_session_for_one_spawn(scene: Scene) -> None:
    """Found by simulation: its generation never became old, so the id could not be had until the clock caught up."""
    actor = await scene.actor()
    spec = actor.spec(A, Generation((scene.now_ms() + 3_600_000) * 1000), DatabaseId("before"))
    dead = scene.engine.put(spec, running=False)

    with pytest.raises(AcquireTimeout):
        await actor.acquire(limit=0.3)
    session = await actor.acquire(limit=1)

    assert scene.running() == [session.container_id]
    assert dead not in scene.engine.held


async def test_r26_a_janitor_adopts_what_is_ahead_of_a_clock_set_back_once_a_spawn_has_had_its_time(
    scene: Scene,
) -> None:
    """Found by simulation: planned and then left alone for ever, as the second look had forgotten the first sight."""
    actor = await scene.actor(limit=timedelta(milliseconds=100))
    scene.engine.put(actor.spec(A, Generation((scene.now_ms() + 3_600_000) * 1000), DatabaseId("before")))
    outcomes: list[list[str]] = []

    async def adopted() -> bool:
        outcomes.append([outcome for _, outcome in await actor.reconcile()])
        return outcomes[-1] == ["done"]

    await wait_until(adopted, what="the janitor gave it its record back")
    assert outcomes[0] == ["wait"]
    assert scene.beat() == 1
