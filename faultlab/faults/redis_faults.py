"""What happens to Redis itself (rows R1 to R26).

What this is: one context manager for each fault; leaving it heals. What it is not: a fault of the wire (`wire_faults`).
The invariant: healing runs also when the laboratory is stopped in the middle.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from faultlab.children import state_of, until
from faultlab.faults.scene import Scene
from faultlab.parts import PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

NOTIFICATIONS = "KExge"


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
async def subscribers_killed(scene: Scene) -> AsyncGenerator[None]:
    """R17: every subscriber's connection is cut, five times a second."""
    killed = 0

    async def kill() -> None:
        nonlocal killed
        while True:
            killed += int(await scene.world.admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub"))
            await asyncio.sleep(0.2)

    task = asyncio.create_task(kill())
    try:
        yield
    finally:
        task.cancel()
    scene.saw(f"{killed} subscribers cut", really=killed > 0)


@asynccontextmanager
async def connections_killed(scene: Scene) -> AsyncGenerator[None]:
    """R20: every client's connection is cut, three times a second; a command in it may have had its effect."""
    killed = 0

    async def kill() -> None:
        nonlocal killed
        while True:
            killed += int(await scene.world.admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
            await asyncio.sleep(0.3)

    task = asyncio.create_task(kill())
    try:
        yield
    finally:
        task.cancel()
    scene.saw(f"{killed} connections cut", really=killed > 0)


@asynccontextmanager
async def notifications_off(scene: Scene) -> AsyncGenerator[None]:
    """R15: keyspace notifications are switched off, and on again."""
    await scene.world.admin.config_set("notify-keyspace-events", "")
    try:
        yield
        found = await scene.world.admin.config_get("notify-keyspace-events")
        scene.saw("switched off", really=found["notify-keyspace-events"] == "")
    finally:
        await scene.world.admin.config_set("notify-keyspace-events", NOTIFICATIONS)


@asynccontextmanager
async def evicting(scene: Scene) -> AsyncGenerator[None]:
    """R6: too little memory and a policy that takes keys with a TTL: heartbeats are evicted."""
    admin = scene.world.admin
    before = int((await admin.info("stats"))["evicted_keys"])
    await admin.config_set("maxmemory-policy", "volatile-random")
    await admin.config_set("maxmemory", "1mb")
    try:
        yield
    finally:
        await admin.config_set("maxmemory", "0")
        await admin.config_set("maxmemory-policy", "noeviction")
    evicted = int((await admin.info("stats"))["evicted_keys"]) - before
    scene.saw(f"{evicted} keys evicted", really=evicted > 0)


@asynccontextmanager
async def without_replicas(scene: Scene) -> AsyncGenerator[None]:
    """R11: every write is refused with NOREPLICAS."""
    admin = scene.world.admin
    await admin.config_set("min-replicas-to-write", "1")
    try:
        yield
        errors = await admin.info("errorstats")
        scene.saw("writes refused", really="errorstat_NOREPLICAS" in errors)
    finally:
        await admin.config_set("min-replicas-to-write", "0")


@asynccontextmanager
async def mass_death(scene: Scene) -> AsyncGenerator[None]:
    """R25: every heartbeat key ends at once, with real events, as after a clock that jumped ahead.

    The clients stand still meanwhile: none of them can revive its session before anybody has seen it dead.
    """
    clients = list(scene.world.clients.values())
    try:
        for client in clients:
            client.send(signal.SIGSTOP)
        keys = await scene.heartbeat_keys()
        for key in keys:
            scene.act("expire", session=key.split(":")[2])
        pipe = scene.world.admin.pipeline(transaction=True)
        for key in keys:
            pipe.pexpire(key, 1)
        await pipe.execute()
        scene.saw(f"{len(keys)} keys ended", really=len(keys) > 0)
        yield
    finally:
        for client in clients:
            client.send(signal.SIGCONT)


@asynccontextmanager
async def immortal(scene: Scene) -> AsyncGenerator[None]:
    """B4, B5: some keys lose their TTL, others get one of years."""
    keys = await scene.heartbeat_keys()
    done = 0
    for key in scene.chance.sample(keys, min(4, len(keys))):
        if done % 2:
            done += await scene.world.admin.expire(key, 10**9)
        else:
            done += await scene.world.admin.persist(key)
        scene.act("immortal", session=key.split(":")[2])
    scene.saw(f"{done} keys without an end", really=done > 0)
    yield


@asynccontextmanager
async def forged(scene: Scene) -> AsyncGenerator[None]:
    """R35, R36: events that are not true, and events that are not even events."""
    admin = scene.world.admin
    heard = 0
    for key in await scene.heartbeat_keys():
        for event in ("expired", "del", "evicted", "rename_from"):
            heard += await admin.publish(f"__keyspace@0__:{key}", event)
    for text in ("", "x" * 100_000, "\x00\xff", "expired"):
        heard += await admin.publish(f"__keyspace@0__:{PREFIX}:session:../../x:heartbeat", text)
        heard += await admin.publish(f"__keyspace@0__:{PREFIX}:session::heartbeat", text)
    scene.saw(f"{heard} forged events heard", really=heard > 0)
    yield


@asynccontextmanager
async def lazy(scene: Scene) -> AsyncGenerator[None]:
    """R22: Redis no longer looks for expired keys by itself."""
    answer = await scene.world.admin.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    scene.saw("active expiry off", really=bool(answer))
    try:
        yield
    finally:
        await scene.world.admin.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "1")
