"""Work that is kept up beside a body ends with it, whatever it takes."""

import anyio
import pytest

from reactor.beside import beside_long


async def test_work_that_forgets_its_cancellation_is_cancelled_until_it_has_ended() -> None:
    """Python 3.11's wait_for does that; a lease that is extended for ever would keep everybody from its session."""
    forgotten, over, begun, ended = 0, False, anyio.Event(), anyio.Event()

    async def work() -> None:
        nonlocal forgotten
        begun.set()
        while forgotten < 2 and not over:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                forgotten += 1
        try:
            if not over:
                await anyio.sleep_forever()
        finally:
            ended.set()

    with anyio.fail_after(10):
        async with beside_long(work, 0.001):
            await begun.wait()
    over = True  # a work that was left behind may end now
    assert forgotten == 2
    assert ended.is_set()


async def test_it_has_ended_also_where_the_body_was_cancelled() -> None:
    """A caller who has no more time does not leave it behind."""
    begun, ended = anyio.Event(), anyio.Event()

    async def work() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            ended.set()

    with anyio.CancelScope() as scope:
        async with beside_long(work, 0.001):
            await begun.wait()
            scope.cancel()
            await anyio.sleep_forever()
    assert begun.is_set()
    assert ended.is_set()


async def test_nothing_is_made_for_a_short_body() -> None:
    """And its error comes out as it is."""

    async def work() -> None:
        raise AssertionError("it was begun")

    with pytest.raises(KeyError):
        async with beside_long(work, 10):
            raise KeyError
