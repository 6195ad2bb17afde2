"""Clocks: the world's virtual time, and each server's and host's idea of it.

What this is: a wall clock that can jump or stand still without the world noticing, and the patch that puts the virtual
clock (and a seeded generator) in place of the machine's while a world runs. What it is not: the loop. The invariant:
while the patch holds, nothing that the product reads comes from this machine.
"""

from __future__ import annotations

import random
import secrets
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from types import FunctionType
from unittest.mock import patch

from anyio._backends import _asyncio
from tenacity import _utils as tenacity_utils

if TYPE_CHECKING:
    from collections.abc import Generator
    from random import Random

    from faultlab.sim.loop import SimLoop

EPOCH_US = 1_800_000_000_000_000
"""Where wall clocks begin: 2027."""


class ServerClock:
    """A wall clock over virtual time."""

    def __init__(self, loop: SimLoop) -> None:
        """Begin right."""
        self._loop = loop
        self._ahead_us = 0
        self._stands: int | None = None
        self._since = loop.time()

    def now_us(self) -> int:
        """Return microseconds since the epoch."""
        if self._stands is not None:
            return self._stands
        return EPOCH_US + int(self._loop.time() * 1e6) + self._ahead_us

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return self.now_us() // 1000

    def jump(self, seconds: float) -> None:
        """Set it forward or back."""
        self._ahead_us += int(seconds * 1e6)

    def stop(self) -> None:
        """Let it stand still."""
        self._stands = self.now_us()

    def go_on(self, *, caught_up: bool) -> None:
        """Let it run again, from the right time or from where it stood."""
        if self._stands is None:
            return
        stood, self._stands = self._stands, None
        if not caught_up:
            self._ahead_us += stood - self.now_us()

    def uptime(self) -> float:
        """Return for how long it has been going, in seconds."""
        return self._loop.time() - self._since


class OrderedSet(dict[Any, None]):
    """A set that is iterated in the order of insertion, so that a run can be repeated."""

    def add(self, one: Any) -> None:
        """Put in."""
        self[one] = None

    def discard(self, one: Any) -> None:
        """Take out if there."""
        self.pop(one, None)

    def remove(self, one: Any) -> None:
        """Take out."""
        del self[one]


@contextmanager
def virtual(loop: SimLoop, seed: int) -> Generator[None]:
    """Put the loop's clock and a seeded generator in place of the machine's."""
    chance = random.Random(f"product/{seed}")

    def token_hex(size: int = 16) -> str:
        return f"{chance.getrandbits(size * 8):0{size * 2}x}"

    def wall() -> float:
        return EPOCH_US / 1e6 + loop.time()

    def read(_clock: int) -> float:
        return loop.time()

    scope_init: Any = _asyncio.CancelScope.__init__
    group_init: Any = _asyncio.TaskGroup.__init__

    def ordered_scope(self: Any, *args: Any, **more: Any) -> None:
        scope_init(self, *args, **more)
        self._child_scopes, self._tasks = OrderedSet(), OrderedSet()

    def ordered_group(self: Any, *args: Any, **more: Any) -> None:
        group_init(self, *args, **more)
        self._tasks = OrderedSet()

    slow: Any = tenacity_utils.is_coroutine_callable

    def is_coroutine_callable(call: Any) -> bool:
        # The same answer for plain functions, without a walk through `inspect` at each attempt.
        return bool(call.__code__.co_flags & 0x80) if type(call) is FunctionType else slow(call)

    patches: list[tuple[Any, str, Any]] = [
        (time, "monotonic", loop.time),
        (time, "monotonic_ns", lambda: int(loop.time() * 1e9)),
        (time, "time", wall),
        (time, "time_ns", lambda: int(wall() * 1e9)),
        (time, "clock_gettime", read),
        (time, "clock_gettime_ns", lambda _clock: int(loop.time() * 1e9)),
        (secrets, "token_hex", token_hex),
        (tenacity_utils, "is_coroutine_callable", is_coroutine_callable),
        (_asyncio.CancelScope, "__init__", ordered_scope),
        (_asyncio.TaskGroup, "__init__", ordered_group),
    ]
    before = random.getstate()
    random.seed(f"jitter/{seed}")
    with ExitStack() as stack:
        for owner, name, replacement in patches:
            stack.enter_context(patch.object(owner, name, replacement))
        try:
            yield
        finally:
            random.setstate(before)
