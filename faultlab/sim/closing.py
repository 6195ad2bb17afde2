"""The end of a world: its tasks and its connections are let go of without running any of them further.

What this is: the throwing away of what was killed. What it is not: a shutdown of the product. The invariant: nothing of
a world runs, or complains, after it was closed.
"""

from __future__ import annotations

import gc
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from anyio._backends import _asyncio
from redis.asyncio import Connection

if TYPE_CHECKING:
    import asyncio

    from faultlab.sim.world import World


class Connections:
    """What redis-py opened in a world. Whoever held it was killed, so nobody closes it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: WeakSet[Any] = WeakSet()

    def patch(self) -> tuple[object, str, object]:
        """Return what has to stand in place of what, for connections to be known."""
        owner: Any = Connection
        connect: Any = owner._connect

        async def connected(connection: Any) -> None:
            self._known.add(connection)
            await connect(connection)

        return (owner, "_connect", connected)

    def let_go(self) -> None:
        """Let none of them complain that it was never closed."""
        for connection in list(self._known):
            connection._writer = None


def end_task(task: asyncio.Task[Any]) -> None:
    """Let go of a task without running any of it further."""
    # Nothing of it may run later, when it is collected: what it was about to do is thrown away here.
    unknown: Any = task
    unknown._log_destroy_pending = False
    coroutine: Any = task.get_coro()
    for _ in range(20):
        if coroutine is None or coroutine.cr_frame is None:
            break
        with suppress(BaseException):
            coroutine.close()
    states: Any = _asyncio
    states._task_states.pop(task, None)  # its scope names the task, which would stay for ever


def take_down(world: World) -> None:
    """Let go of every task of a world, and of all that holds another."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _let_go(world)
            for _ in range(3):  # what a finaliser brings back to life goes with the next
                gc.collect()
    finally:
        sys.unraisablehook = hook


def _let_go(world: World) -> None:
    loop = world.loop
    loop.network = None
    loop.close()
    for task in list(loop.tasks):
        end_task(task)
    for member in world.members.values():
        member.process.forget()
    for one in (loop.tasks, world.members, world.redis.sessions):
        one.clear()
    for engine in world.engines.values():
        engine.forget()
    world.network.forget()
    loop.forget()
    world.redis.lua.close()
    world.connections.let_go()
