"""Clocks: the world's virtual time, and each server's and host's idea of it.

What this is: a wall clock that can jump or stand still without the world noticing, and the patch that puts the virtual
clock (and a seeded generator) in place of the machine's while a world runs. What it is not: the loop. The invariant:
while the patch holds, nothing that the product reads comes from this machine.
"""

from __future__ import annotations

import random
import secrets
import time
from contextlib import ExitStack
from types import FunctionType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from anyio._backends import _asyncio
from tenacity import _utils  # pyright: ignore[reportPrivateUsage]

if TYPE_CHECKING:
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

    @property
    def standing(self) -> bool:
        """Whether it stands still."""
        return self._stands is not None

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


class Virtual:
    """Puts the loop's clock and a seeded generator in the machine's place; entered again, it goes on where it was."""

    def __init__(self, loop: SimLoop, seed: int, *more: tuple[Any, str, Any]) -> None:
        """Seed the generators; `more` is put in place of something else meanwhile: owner, name, replacement."""
        self._more = more
        self._loop = loop
        self._chance = random.Random(f"product/{seed}")
        self._jitter = random.Random(f"jitter/{seed}").getstate()
        self._stack = ExitStack()
        self._outside: Any = None

    def __enter__(self) -> None:
        """Take over."""
        for owner, name, replacement in self._patches():
            self._stack.enter_context(patch.object(owner, name, replacement))
        self._outside = random.getstate()
        random.setstate(self._jitter)

    def __exit__(self, *_: object) -> None:
        """Give back."""
        self._jitter = random.getstate()
        random.setstate(self._outside)
        self._stack.close()

    def _token_hex(self, size: int = 16) -> str:
        return f"{self._chance.getrandbits(size * 8):0{size * 2}x}"

    def _patches(self) -> list[tuple[Any, str, Any]]:
        now = self._loop.time
        scope: Any = _asyncio.CancelScope.__init__
        group: Any = _asyncio.TaskGroup.__init__
        slow: Any = _utils.is_coroutine_callable

        def ordered_scope(scope_self: Any, *args: Any, **more: Any) -> None:
            scope(scope_self, *args, **more)
            scope_self._child_scopes, scope_self._tasks = OrderedSet(), OrderedSet()

        def ordered_group(group_self: Any, *args: Any, **more: Any) -> None:
            group(group_self, *args, **more)
            group_self._tasks = OrderedSet()

        def is_coroutine_callable(call: Any) -> bool:
            # The same answer for plain functions, without a walk through `inspect` at each attempt.
            return bool(call.__code__.co_flags & 0x80) if type(call) is FunctionType else slow(call)

        def seconds(_clock: int) -> float:
            return now()

        def nanoseconds(_clock: int) -> int:
            return int(now() * 1e9)

        return [
            (time, "monotonic", now),
            (time, "monotonic_ns", lambda: int(now() * 1e9)),
            (time, "time", lambda: EPOCH_US / 1e6 + now()),
            (time, "time_ns", lambda: int(now() * 1e9) + EPOCH_US * 1000),
            (time, "clock_gettime", seconds),
            (time, "clock_gettime_ns", nanoseconds),
            (secrets, "token_hex", self._token_hex),
            (_asyncio.CancelScope, "__init__", ordered_scope),
            (_asyncio.TaskGroup, "__init__", ordered_group),
            (_utils, "is_coroutine_callable", is_coroutine_callable),
            *self._more,
        ]
