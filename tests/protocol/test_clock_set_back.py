"""A generation that lies ahead of Redis' clock, which was set back: nobody stays young by it."""

from datetime import timedelta

import anyio
import pytest

from reactor.ages import Ages
from reactor.plan import Action, Kind, plan
from reactor.session import Generation, State
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
