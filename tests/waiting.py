"""Waiting for something to become true: the only place in the tests that sleeps.

It is not a way to let time pass: say what you wait for.
It keeps this: a condition that never comes true fails with its description, never hangs.
"""

import inspect
import time
from collections.abc import Awaitable, Callable

import anyio

PAUSE_S = 0.01


async def wait_until(condition: Callable[[], bool | Awaitable[bool]], timeout: float = 10.0, what: str = "") -> None:
    """Return when the condition (plain or async) holds; after `timeout` seconds raise AssertionError."""
    ends = time.monotonic() + timeout
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        if time.monotonic() > ends:
            raise AssertionError(_late(condition, timeout, what))
        await anyio.sleep(PAUSE_S)


def block_until(condition: Callable[[], bool], timeout: float = 10.0, what: str = "") -> None:
    """Do the same from code that is not async."""
    ends = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > ends:
            raise AssertionError(_late(condition, timeout, what))
        time.sleep(PAUSE_S)


def _late(condition: Callable[[], object], timeout: float, what: str) -> str:
    return f"not true within {timeout} s: {what or inspect.getsource(condition).strip()}"
