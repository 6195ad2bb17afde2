"""The queue of sessions to examine: many sessions at once, one hand per session, nothing forgotten."""

import anyio
import pytest

from reactor.queueing import Hint, WorkQueue
from reactor.registry.verdicts import Claimed
from reactor.session import ContainerId, DatabaseId, Detector, EndReason, Generation, SessionId, Token
from reactor.teardown import Claim

A, B, C = SessionId("a"), SessionId("b"), SessionId("c")


async def _hold(queue: WorkQueue, taken: list[SessionId], free: anyio.Event) -> None:
    session_id, _ = await queue.take()
    with queue.holding(session_id):
        taken.append(session_id)
        await free.wait()


async def test_every_idle_hand_gets_to_work_at_once() -> None:
    """Sessions do not wait behind one slow teardown while other hands are free."""
    queue, taken, free = WorkQueue(), list[SessionId](), anyio.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(_hold, queue, taken, free)
        await anyio.wait_all_tasks_blocked()
        for session_id in (A, B, C):
            queue.add(session_id, Detector.DEADLINE)
        await anyio.wait_all_tasks_blocked()
        assert taken == [A, B, C]
        assert queue.in_hand == 3
        free.set()
    assert queue.in_hand == 0
    assert len(queue) == 0


async def test_an_idle_hand_gets_what_is_added_while_another_one_works() -> None:
    """The same with the work coming one by one."""
    queue, taken, free = WorkQueue(), list[SessionId](), anyio.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(_hold, queue, taken, free)
        await anyio.wait_all_tasks_blocked()
        queue.add(A, Detector.EVENT)
        await anyio.wait_all_tasks_blocked()
        queue.add(B, Detector.EVENT)
        await anyio.wait_all_tasks_blocked()
        assert taken == [A, B]
        free.set()


async def test_an_id_added_twice_is_taken_once() -> None:
    """Adding is noting, not counting; the first detector has the honour, a death is not forgotten."""
    queue = WorkQueue()
    queue.add(A, Detector.EVENT)
    queue.add(A, Detector.ENGINE, ContainerId("c1"))
    queue.add(A, Detector.DEADLINE)

    assert len(queue) == 1
    assert await queue.take() == (A, Hint(Detector.EVENT, ContainerId("c1")))
    assert len(queue) == 0


async def test_a_session_is_never_in_two_hands() -> None:
    """Added while in hand, it waits until it is given back, and is then taken once more."""
    queue = WorkQueue()
    queue.add(A, Detector.EVENT)
    session_id, _ = await queue.take()

    with queue.holding(session_id):
        queue.add(A, Detector.DEADLINE)
        queue.add(A, Detector.DEADLINE)
        with anyio.move_on_after(0) as nothing_to_take:
            await queue.take()
        assert nothing_to_take.cancelled_caught
        assert len(queue) == 1

    assert await queue.take() == (A, Hint(Detector.DEADLINE))
    assert len(queue) == 0


async def test_an_id_is_given_back_when_its_work_fails() -> None:
    """Whatever ends the body."""
    queue = WorkQueue()
    queue.add(A, Detector.EVENT)
    session_id, _ = await queue.take()

    with pytest.raises(RuntimeError), queue.holding(session_id):
        raise RuntimeError

    assert queue.in_hand == 0
    queue.add(A, Detector.EVENT)
    assert (await queue.take())[0] == A


async def test_a_cancelled_take_takes_nothing() -> None:
    """The next hand gets what came."""
    queue = WorkQueue()
    with anyio.move_on_after(0):
        await queue.take()
    queue.add(A, Detector.EVENT)

    assert queue.in_hand == 0
    assert (await queue.take())[0] == A


async def test_ids_are_taken_in_the_order_in_which_they_came() -> None:
    """None is overtaken for ever."""
    queue = WorkQueue()
    for session_id in (C, A, B, A):
        queue.add(session_id, Detector.DEADLINE)

    assert [(await queue.take())[0] for _ in range(3)] == [C, A, B]


def _claim(token: str) -> Claim:
    claimed = Claimed(ContainerId("c1"), Generation(1), DatabaseId("db"), EndReason.EXPIRED)
    return Claim(claimed, Token(token))


async def test_what_is_claimed_comes_first() -> None:
    """Its lease is running; what is only to be examined can wait."""
    queue = WorkQueue()
    queue.add(A, Detector.EVENT)
    queue.add(B, Detector.DEADLINE, claim=_claim("b"))
    queue.add(A, Detector.DEADLINE, claim=_claim("a"))
    queue.add(C, Detector.EVENT)
    assert (len(queue), queue.claimed) == (3, 2)
    assert await queue.take() == (B, Hint(Detector.DEADLINE, claim=_claim("b")))
    assert await queue.take() == (A, Hint(Detector.EVENT, claim=_claim("a")))
    assert await queue.take() == (C, Hint(Detector.EVENT))
    assert (len(queue), queue.claimed) == (0, 0)


async def test_a_claim_on_a_session_in_hand_waits_for_that_hand() -> None:
    """Claimed while another hint is being looked into: it is taken next, and not forgotten."""
    queue = WorkQueue()
    queue.add(A, Detector.EVENT)
    session_id, _ = await queue.take()
    with queue.holding(session_id):
        queue.add(A, Detector.DEADLINE, claim=_claim("a"))
        queue.add(B, Detector.EVENT)
        assert await queue.take() == (B, Hint(Detector.EVENT))
    assert queue.claimed == 1
    assert await queue.take() == (A, Hint(Detector.DEADLINE, claim=_claim("a")))
