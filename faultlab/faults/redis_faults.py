"""What happens to Redis itself (rows R1 to R11, R20, R24).

What this is: one context manager for each fault; leaving it heals. What it is not: a fault of the wire (`wire_faults`),
of notifications (`pubsub_faults`) or of single keys (`key_faults`). The invariant: healing runs also when the
laboratory is stopped in the middle.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from faultlab.children import state_of, until
from faultlab.faults.scene import Scene, going_on

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def killed(scene: Scene) -> AsyncGenerator[None]:
    """R1: kill -9, back with its append-only file, which lacks up to a second."""
    async with _another_process(scene):
        yield


@asynccontextmanager
async def restarted_empty(scene: Scene) -> AsyncGenerator[None]:
    """R2: kill -9, back with nothing."""
    async with _another_process(scene):
        scene.world.redis.forget()
        yield
    await scene.world.decoys.plant_keys()


@asynccontextmanager
async def rewound(scene: Scene) -> AsyncGenerator[None]:
    """R3: kill -9, back with data of some seconds before."""
    redis = scene.world.redis
    saved = redis.directory / "saved"
    shutil.rmtree(saved, ignore_errors=True)
    shutil.copytree(redis.data, saved)
    await asyncio.sleep(scene.chance.uniform(1, 4))
    async with _another_process(scene):
        redis.forget()
        shutil.copytree(saved, redis.data)
        yield


@asynccontextmanager
async def _another_process(scene: Scene) -> AsyncGenerator[None]:
    before = await scene.run_id()
    await scene.world.redis.crash()
    try:
        yield
    finally:
        await scene.world.redis.up()
    scene.saw("another run id", really=await scene.run_id() != before)


@asynccontextmanager
async def flushed(scene: Scene) -> AsyncGenerator[None]:
    """R4, R5: FLUSHALL or FLUSHDB under living clients."""
    before = len(await scene.heartbeat_keys())
    if scene.chance.random() < 0.5:
        await scene.world.admin.flushall()
    else:
        await scene.world.admin.flushdb()
    await scene.world.decoys.plant_keys()
    scene.saw(f"{before} heartbeat keys gone", really=before > 0)
    yield


@asynccontextmanager
async def frozen(scene: Scene) -> AsyncGenerator[None]:
    """R24: SIGSTOP, perhaps beyond every TTL, then SIGCONT."""
    redis = scene.world.redis
    redis.freeze()
    try:
        scene.saw("stopped", really=await until(lambda: state_of(redis.pid) == "T", 5))
        yield
    finally:
        redis.thaw()


@asynccontextmanager
async def connections_killed(scene: Scene) -> AsyncGenerator[None]:
    """R20: every client's connection is cut, three times a second; a command in it may have had its effect."""
    killed = 0

    async def kill() -> None:
        nonlocal killed
        while True:
            product, beating = await scene.connections()
            killed += await scene.cut(product)
            await scene.cut(beating)
            await asyncio.sleep(0.3)

    async with going_on(kill()):
        yield
    scene.saw(f"{killed} connections of the product cut", really=killed > 0)


@asynccontextmanager
async def evicting(scene: Scene) -> AsyncGenerator[None]:
    """R6: too little memory and a policy that takes keys with a TTL: heartbeats are evicted."""
    admin = scene.world.admin
    before = int((await admin.info("stats"))["evicted_keys"])
    keys = set(await scene.heartbeat_keys())
    await admin.config_set("maxmemory-policy", "volatile-random")
    await admin.config_set("maxmemory", "1mb")
    hearts = len(keys - set(await scene.heartbeat_keys()))
    try:
        yield
    finally:
        await admin.config_set("maxmemory", "0")
        await admin.config_set("maxmemory-policy", "noeviction")
    evicted = int((await admin.info("stats"))["evicted_keys"]) - before
    scene.saw(f"{evicted} keys evicted, {hearts} heartbeats among them", really=evicted > 0 and hearts > 0)


@asynccontextmanager
async def without_replicas(scene: Scene) -> AsyncGenerator[None]:
    """R11: every write is refused with NOREPLICAS."""
    admin = scene.world.admin
    proxies = [one.door.redis for one in scene.world.sidecars]
    before = sum(proxy.hits["Word"] for proxy in proxies)
    for proxy in proxies:
        proxy.word = b"NOREPLICAS"
    await admin.config_set("min-replicas-to-write", "1")
    try:
        yield
    finally:
        await admin.config_set("min-replicas-to-write", "0")
        for proxy in proxies:
            proxy.word = b""
    refused = sum(proxy.hits["Word"] for proxy in proxies) - before
    scene.saw(f"{refused} answers to reactors were refusals", really=refused > 0)
