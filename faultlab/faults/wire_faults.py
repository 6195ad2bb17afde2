"""What happens to the wires: the links of reactors and clients to Redis and to the engine (rows R18 to R21, D8, D9,
D25, P6, P7).

What this is: faults of the proxies. What it is not: a fault of a server. The invariant: a wire that was broken is whole
again afterwards, and has counted what the fault did.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from faultlab.docker_proxy import LoseReply
from faultlab.proxy import BlackHole, Cut, Delay, Drip, Fault, FaultProxy, Pass, Refuse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from faultlab.faults.scene import Inject, Scene

HOLE = BlackHole()
SLOW = Delay(0.15, 0.25)
GONE = Refuse()
DRIP = Drip(64, 0.005)
ENGINE_DRIP = Drip(256, 0.005)
"""A list of containers is long."""
SCRIPT_LOST = Cut(matching=rb"EVALSHA", times=3, applied=True)
_REQUESTS = {
    "create": ("POST", "/containers/create"),
    "start": ("POST", "/containers/[0-9a-f]+/start"),
    "stop": ("POST", "/containers/[0-9a-f]+/(stop|kill)"),
    "remove": ("DELETE", "/containers/[0-9a-f]+"),
}


@asynccontextmanager
async def _broken(scene: Scene, proxies: list[FaultProxy], fault: Fault) -> AsyncGenerator[None]:
    name = type(fault).__name__
    before = sum(proxy.hits[name] for proxy in proxies)
    for proxy in proxies:
        proxy.become(fault)
        if isinstance(fault, Refuse):
            proxy.reset()
    try:
        yield
    finally:
        for proxy in proxies:
            proxy.become(Pass())
            if isinstance(fault, BlackHole):
                proxy.reset()  # what was withheld is lost, as when a route is gone
    hits = sum(proxy.hits[name] for proxy in proxies) - before
    scene.saw(f"{name} {hits} times", really=hits > 0)


@asynccontextmanager
async def _reactors_redis(scene: Scene, fault: Fault) -> AsyncGenerator[None]:
    async with _broken(scene, [one.door.redis for one in scene.world.sidecars], fault):
        yield


@asynccontextmanager
async def _one_reactors_redis(scene: Scene, fault: Fault) -> AsyncGenerator[None]:
    async with _broken(scene, [scene.chance.choice(scene.world.sidecars).door.redis], fault):
        yield


@asynccontextmanager
async def _clients_redis(scene: Scene, fault: Fault) -> AsyncGenerator[None]:
    async with _broken(scene, [door.redis for door in scene.world.doors], fault):
        yield


@asynccontextmanager
async def _reactors_docker(scene: Scene, fault: Fault) -> AsyncGenerator[None]:
    async with _broken(scene, [one.door.docker for one in scene.world.sidecars if one.door.docker], fault):
        yield


@asynccontextmanager
async def _clients_docker(scene: Scene, fault: Fault) -> AsyncGenerator[None]:
    async with _broken(scene, [door.docker for door in scene.world.doors if door.docker], fault):
        yield


def reactors_redis(fault: Fault) -> Inject:
    """Return a fault of every reactor's link to Redis."""
    return partial(_reactors_redis, fault=fault)


def one_reactors_redis(fault: Fault) -> Inject:
    """Return a fault of one reactor's link to Redis."""
    return partial(_one_reactors_redis, fault=fault)


def clients_redis(fault: Fault) -> Inject:
    """Return a fault of the link over which clients acquire."""
    return partial(_clients_redis, fault=fault)


def reactors_docker(fault: Fault) -> Inject:
    """Return a fault of every reactor's link to its engine."""
    return partial(_reactors_docker, fault=fault)


def clients_docker(fault: Fault) -> Inject:
    """Return a fault of the clients' links to their engines."""
    return partial(_clients_docker, fault=fault)


@asynccontextmanager
async def _lost(scene: Scene, what: str) -> AsyncGenerator[None]:
    """The engine does what it is asked, three times, and nobody hears of it."""
    method, path = _REQUESTS[what]
    doors = [*scene.world.doors, *(one.door for one in scene.world.sidecars)]
    proxies = [door.docker for door in doors if door.docker is not None]
    rules = [proxy.add(LoseReply(), method, path, times=3) for proxy in proxies]
    try:
        yield
    finally:
        for proxy in proxies:
            proxy.heal()
    hits = sum(rule.hits for rule in rules)
    scene.saw(f"{hits} answers lost", really=hits > 0)


def lost(what: str) -> Inject:
    """Return the loss of the engine's answers to `create`, `start`, `stop` or `remove`, whoever asked."""
    return partial(_lost, what=what)
