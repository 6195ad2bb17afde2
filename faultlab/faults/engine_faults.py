"""What happens to a Docker engine (rows D1 to D4, D23 to D25).

What this is: its daemons stopped and killed, containers that cannot be removed, an event stream that breaks or tells
nothing. What it is not: a fault of the wire for requests. The invariant: the engine answers again when the fault is
over.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from faultlab.children import NotStarted, state_of, until
from faultlab.faults.process_faults import by_hand
from faultlab.faults.scene import going_on

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from faultlab.docker_proxy import DockerProxy
    from faultlab.faults.scene import Scene
    from faultlab.parts import Host
    from faultlab.servers import LabEngine

BACK = 60.0
STUCK, BESIDE = 5, 5
STUCK_TTL = 8
"""Both kinds end while the fault lasts."""
EVENTS = "/events"


def _engine(scene: Scene) -> LabEngine:
    return _engine_of(scene.chance.choice(scene.world.hosts))


def _engine_of(host: Host) -> LabEngine:
    assert host.engine is not None  # noqa: S101 (these need one)
    return host.engine


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
    host = scene.chance.choice(scene.world.hosts)
    engine = _engine_of(host)
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
    await scene.world.decoys.engine_came_back(host)


@asynccontextmanager
async def stuck(scene: Scene) -> AsyncGenerator[None]:
    """D4: the files of some containers cannot be removed: their removal fails, again and again, and others end too."""
    chosen = (await scene.idle(STUCK + BESIDE, STUCK_TTL))[:STUCK]
    paths = [str(_engine_of(one.door.host).directory / "data/containers" / one.container) for one in chosen]
    for one in chosen:
        scene.act("stuck", container=one.container, session=one.session)
    await asyncio.to_thread(subprocess.run, ["chattr", "+i", *paths], check=False, capture_output=True)
    try:
        yield
    finally:
        await asyncio.to_thread(subprocess.run, ["chattr", "-i", *paths], check=False, capture_output=True)
    names = {f"/containers/{one.container}" for one in chosen}
    asked = [request for proxy in _reactors(scene) for request in proxy.log if request.path in names]
    refused = {request.path for request in asked if request.status is not None and request.status >= 500}
    scene.saw(f"the removal of {len(refused)} containers was refused", really=len(refused) > 1)


@asynccontextmanager
async def events_cut(scene: Scene) -> AsyncGenerator[None]:
    """D25: the event stream breaks off, twice a second, and a container dies meanwhile."""
    cut = 0

    async def again() -> None:
        nonlocal cut
        while True:
            cut += sum(proxy.cut(EVENTS) for proxy in _reactors(scene))
            await asyncio.sleep(0.5)

    async with going_on(again()):
        killed = await by_hand(scene, ("kill",), "kill", many=1)
        yield
    scene.saw(f"{cut} event streams cut; {killed}", really=cut > 0 and bool(killed))


@asynccontextmanager
async def events_silent(scene: Scene) -> AsyncGenerator[None]:
    """D25: the event stream stands and tells nothing more, and a container dies meanwhile."""
    proxies = _reactors(scene)
    silenced = sum(proxy.silence(EVENTS) for proxy in proxies)
    try:
        killed = await by_hand(scene, ("kill",), "kill", many=1)
        yield
        opened = any(link.label == EVENTS and not link.silenced.is_set() for proxy in proxies for link in proxy.links)
        scene.saw(
            f"{silenced} event streams silent, and noticed; {killed}", really=bool(silenced and opened and killed)
        )
    finally:
        for proxy in proxies:
            proxy.drop_hushed()


def _reactors(scene: Scene) -> list[DockerProxy]:
    return [one.door.docker for one in scene.world.sidecars if one.door.docker is not None]
