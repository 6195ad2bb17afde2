"""Many at once: one winner, whatever they contend for, and the same answer for everybody else."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import anyio
import pytest

from reactor.errors import SessionLost
from reactor.registry.verdicts import Busy, Claimed, Gone, Mode, Spawn, Wait
from reactor.session import Session, SessionId, Token
from reactor.teardown import Ended
from tests.protocol.actor import S1
from tests.protocol.scene import Scene

T = TypeVar("T")


async def _all_at_once(calls: list[Callable[[], Awaitable[T]]]) -> list[T]:
    answers: list[T] = []

    async def note(call: Callable[[], Awaitable[T]]) -> None:
        answers.append(await call())

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(note, call)
    return answers


async def test_one_of_50_reserves_may_spawn(scene: Scene) -> None:
    """The others wait for its generation."""
    actors = [await scene.actor() for _ in range(3)]
    tokens = [Token(f"t{n}") for n in range(50)]

    answers = await _all_at_once([lambda n=n, t=t: actors[n % 3].reserve(t) for n, t in enumerate(tokens)])

    (granted,) = [one for one in answers if isinstance(one, Spawn)]
    waits = [one for one in answers if isinstance(one, Wait)]
    assert len(waits) == 49
    assert {one.generation for one in waits} == {granted.generation}


async def test_one_of_50_reserves_takes_an_abandoned_spawn_over(scene: Scene) -> None:
    """The same after a lease that ended."""
    dead, actor = await scene.actor(spawn_lease=timedelta(milliseconds=1)), await scene.actor()
    await dead.reserved(Token("dead"))
    await scene.lease_over()

    answers = await _all_at_once([lambda n=n: actor.reserve(Token(f"t{n}")) for n in range(50)])

    assert sum(isinstance(one, Spawn) for one in answers) == 1


@pytest.mark.parametrize("mode", [Mode.CLAIM, Mode.END])
async def test_one_of_40_claims_wins(scene: Scene, mode: Mode) -> None:
    """The others hear that somebody holds it."""
    actors = [await scene.actor() for _ in range(4)]
    await actors[0].spawn()
    scene.end_by_hand()

    answers = await _all_at_once([lambda n=n: actors[n % 4].examine(mode, Token(f"t{n}")) for n in range(40)])

    assert sum(isinstance(one, Claimed) for one in answers) == 1
    assert sum(isinstance(one, Busy) for one in answers) == 39


async def test_one_of_20_finishes_counts(scene: Scene) -> None:
    """Only the claim's token finishes, and it finishes once."""
    actor = await scene.actor()
    await actor.spawn()
    await actor.claimed(Token("t0"), mode=Mode.END)

    async def finish(token: Token) -> bool:
        try:
            await actor.registry.delete(S1, token)
        except SessionLost:
            return False
        return True

    answers = await _all_at_once([lambda n=n: finish(Token(f"t{n % 2}")) for n in range(20)])

    assert sum(answers) == 10, "those with the claim's token"
    assert len(scene.events("ended")) == 1


async def test_50_acquires_of_one_new_session_make_one_container(scene: Scene) -> None:
    """And 50 equal answers; one of them made it."""
    actors = [await scene.actor() for _ in range(3)]

    sessions: list[Session] = await _all_at_once([actors[n % 3].acquire for n in range(50)])

    assert len({session.container_id for session in sessions}) == 1
    assert len({session.generation for session in sessions}) == 1
    assert sum(session.created is True for session in sessions) == 1
    assert scene.engine.created[S1] == 1
    assert len(scene.running()) == 1


async def test_acquires_and_terminates_at_once_leave_one_container_or_none(scene: Scene) -> None:
    """Whoever comes last decides; nothing is left of the others."""
    actors = [await scene.actor() for _ in range(3)]

    async def acquire(n: int) -> None:
        await actors[n % 3].acquire()

    async def terminate(n: int) -> None:
        await actors[n % 3].terminate()

    async with anyio.create_task_group() as tasks:
        for n in range(30):
            tasks.start_soon(acquire if n % 2 else terminate, n)

    assert [session.container_id for session in [await actors[0].acquire()]] == scene.running()
    assert len(scene.engine.held) == 1
    assert isinstance(await actors[0].terminate(), Ended)
    assert scene.engine.held == {}


async def test_two_reactors_end_many_sessions_once_each(scene: Scene) -> None:
    """Each session has one end in the audit stream and one removal on the engine."""
    one, other = await scene.actor(), await scene.actor()
    ids = [SessionId(f"s{n}") for n in range(20)]
    for session_id in ids:
        await one.acquire(session_id)
        scene.overdue(session_id)

    verdicts = await _all_at_once([lambda a=a, i=i: a.tear_down(i) for i in ids for a in (one, other, one)])

    assert sum(isinstance(verdict, Ended) for verdict in verdicts) == 20
    assert all(isinstance(verdict, Ended | Busy | Gone) for verdict in verdicts)
    assert {entry["session_id"] for entry in scene.events("ended")} == set(ids)
    assert len(scene.events("ended")) == 20
    assert set(scene.engine.removed.values()) == {1}
