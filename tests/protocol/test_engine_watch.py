"""The engine's event stream as a detector: what may have been missed is asked for once it stands."""

from __future__ import annotations

import anyio

from reactor.engine_watch import EngineWatch
from reactor.queueing import WorkQueue
from reactor.trouble import Trouble
from tests.protocol.scene import Scene
from tests.waiting import wait_until


async def test_d25_each_stream_that_stands_is_a_gap_and_stands_before_anybody_lists(scene: Scene) -> None:
    """Subscribed, then listed: a death in between is told by one of both; listed first it would be told by none."""
    actor = await scene.actor()
    stood: list[bool] = []
    watch = EngineWatch(actor.crew, WorkQueue(), lambda: stood.append(watch.stands))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.listen, Trouble("engine", {}))
        await wait_until(lambda: len(stood) == 1)
        actor.runtime.break_events()
        await wait_until(lambda: len(stood) == 2)
        tasks.cancel_scope.cancel()
    assert stood == [True, True]
