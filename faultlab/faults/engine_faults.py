"""What happens to a Docker engine (rows D1 to D4, D23, D24).

What this is: its daemons stopped and killed, and a container that cannot be removed. What it is not: a fault of the
wire to it. The invariant: the engine answers again when the fault is over.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from faultlab.children import NotStarted, state_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from faultlab.faults.scene import Scene
    from faultlab.servers import LabEngine

BACK = 60.0


def _engine(scene: Scene) -> LabEngine:
    engine = scene.chance.choice(scene.world.hosts).engine
    assert engine is not None  # noqa: S101 (these need one)
    return engine


@asynccontextmanager
async def dockerd_frozen(scene: Scene) -> AsyncGenerator[None]:
    """D2: SIGSTOP of the daemon."""
    async with _stopped(scene, _engine(scene).dockerd):
        yield


@asynccontextmanager
async def containerd_frozen(scene: Scene) -> AsyncGenerator[None]:
    """D3: SIGSTOP of containerd, while the daemon's ping still answers."""
    async with _stopped(scene, _engine(scene).containerd):
        yield


@asynccontextmanager
async def _stopped(scene: Scene, pids: Sequence[int]) -> AsyncGenerator[None]:
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        frozen = await until(lambda: all(state_of(pid) == "T" for pid in pids), 5)
        scene.saw(f"{len(pids)} stopped", really=frozen and bool(pids))
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def dockerd_killed(scene: Scene) -> AsyncGenerator[None]:
    """D23, without live-restore: kill -9; when it comes back it ends every container."""
    engine = _engine(scene)
    scene.world.engine_died = True
    engine.hold()
    try:
        pids = engine.dockerd
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        gone = await until(lambda: not engine.dockerd, 10)
        scene.saw("killed", really=gone and bool(pids))
        yield
    finally:
        engine.release()
        if not await until(engine.answers, BACK):
            raise NotStarted("the engine did not come back")


@asynccontextmanager
async def stuck(scene: Scene) -> AsyncGenerator[None]:
    """D4: the files of one container cannot be removed: its removal fails, again and again."""
    chosen = await scene.running(1)
    paths = [
        str(engine.directory / "data/containers" / container)
        for _, container, door in chosen
        if (engine := door.host.engine) is not None
    ]
    for session, container, _ in chosen:
        scene.act("stuck", container=container, session=session)
    done = await asyncio.to_thread(subprocess.run, ["chattr", "+i", *paths], check=False, capture_output=True)
    scene.saw("its files cannot be removed", really=bool(paths) and done.returncode == 0)
    try:
        yield
    finally:
        await asyncio.to_thread(subprocess.run, ["chattr", "-i", *paths], check=False, capture_output=True)
