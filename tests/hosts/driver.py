"""A program whose copies die or stop themselves at a chosen call: one acquire or teardown each, as a real process.

    python -m tests.hosts.driver acquire|terminate SIGKILL|SIGSTOP ID:CALL ID:CALL ...

What this is: a process that counts its calls to Redis (scripts) and to the engine, and sends itself a signal right
before the effect of call number CALL; so the signals of all numbers fall between any two calls. What it is not: a
claim. It keeps this: each copy prints one line, `ID PID calls=N`, where it got to its end, and nothing otherwise.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from unittest.mock import patch

import anyio

from reactor import SessionManager, Settings
from reactor.crew import connect_runtime
from reactor.errors import ReactorError
from reactor.registry import RedisLink
from reactor.registry.scripts import Script

VERBS = frozenset({"create", "start", "rename", "inspect", "containers", "remove", "last_output"})


class Trap:
    """Counts calls while it is set, and springs at one of them."""

    def __init__(self, number: int, how: signal.Signals) -> None:
        """Spring at the call of this number, counted from 0."""
        self.number, self.how = number, how
        self.calls = 0
        self.is_set = False

    def step(self) -> None:
        """Count one call."""
        if not self.is_set:
            return
        self.calls += 1
        if self.calls == self.number + 1:
            os.kill(os.getpid(), self.how)


class TrappedRuntime:
    """An engine whose calls are counted; everything else is the engine's own."""

    def __init__(self, runtime: Any, trap: Trap) -> None:
        """Stand in front of a connected engine."""
        self._runtime, self._trap = runtime, trap

    def __getattr__(self, name: str) -> Any:
        """Hand out the engine's own attribute, its verbs counted."""
        found = getattr(self._runtime, name)
        return self._counted(found) if name in VERBS else found

    def _counted(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*args: Any, **named: Any) -> Any:
            self._trap.step()
            return await call(*args, **named)

        return counted


def trapped_link(trap: Trap) -> type[RedisLink]:
    """Return a connection to Redis whose scripts are counted."""

    class Link(RedisLink):
        async def run(self, name: Script, keys: Sequence[str], args: Any) -> Any:
            trap.step()
            return await super().run(name, keys, args)

    return Link


async def act(what: str, session_id: str, trap: Trap) -> str:
    """Acquire or terminate one session; return what came of it."""
    settings = Settings.load()
    runtime = await connect_runtime(settings)
    try:
        with patch("reactor.crew.RedisLink", trapped_link(trap)):
            runtime_at_hand: Any = TrappedRuntime(runtime, trap)
            async with SessionManager(settings, runtime=runtime_at_hand) as sessions:
                trap.is_set = True
                try:
                    if what == "acquire":
                        return str((await sessions.acquire(session_id)).container_id)
                    await sessions.terminate(session_id)
                except ReactorError as error:
                    return type(error).__name__
                return "-"
    finally:
        await runtime.aclose()


def copy(what: str, how: signal.Signals, job: str) -> int:
    """Fork a copy that does one job; return its process ID."""
    session_id, _, number = job.partition(":")
    child = os.fork()
    if child:
        return child
    trap = Trap(int(number), how)
    outcome = anyio.run(act, what, session_id, trap)
    line = f"{session_id} {os.getpid()} {trap.calls} {outcome}\n"
    os.write(1, line.encode())
    os._exit(0)


def main(what: str, how: str, *jobs: str) -> None:
    """Run all jobs at once; say which process has which, and wait for them."""
    children = {copy(what, signal.Signals[how], job): job.partition(":")[0] for job in jobs}
    for child, session_id in children.items():
        os.write(1, f"{session_id} {child} - forked\n".encode())
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
