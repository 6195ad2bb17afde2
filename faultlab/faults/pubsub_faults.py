"""What happens to notifications (rows R15 to R18, R22, R35, R36).

What this is: subscribers cut, overrun or half-open, notifications switched off, forged or late. What it is not: a loss
of data; every deadline is kept through all of it. The invariant: what a fault did is measured at the product's own
connections, never at those of the laboratory.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from faultlab.faults.scene import going_on
from faultlab.parts import PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from faultlab.faults.scene import Scene

NOTIFICATIONS = "KExge"
SUBSCRIBER = rb"PSUBSCRIBE"
LIMIT = "pubsub 1mb 0 0"
CHUNK = 256 * 1024
MOST_CHUNKS = 400
"""Far more than the buffers of the kernel hold."""
SHORT_TTL = 6


@asynccontextmanager
async def subscribers_killed(scene: Scene) -> AsyncGenerator[None]:
    """R17: every subscriber's connection is cut, five times a second."""
    killed = 0

    async def kill() -> None:
        nonlocal killed
        while True:
            killed += await scene.cut(await scene.subscribers())
            await asyncio.sleep(0.2)

    await scene.idle(5, SHORT_TTL)
    async with going_on(kill()):
        yield
    scene.saw(f"{killed} subscribers cut", really=killed > 0)


@asynccontextmanager
async def overrun(scene: Scene) -> AsyncGenerator[None]:
    """R16: subscribers that cannot read are cut off by Redis, when what waits for them outgrows the limit."""
    admin = scene.world.admin
    usual = (await admin.config_get("client-output-buffer-limit"))["client-output-buffer-limit"]
    proxies = [one.door.redis for one in scene.world.sidecars]
    await scene.idle(5, SHORT_TTL)
    before = await scene.listeners()
    for proxy in proxies:
        proxy.hush(SUBSCRIBER)
    await admin.config_set("client-output-buffer-limit", LIMIT)
    try:
        left = before
        for _ in range(MOST_CHUNKS):
            await admin.publish(f"__keyspace@0__:{PREFIX}:session:overrun:heartbeat", "x" * CHUNK)
            await asyncio.sleep(0.01)
            left = before & await scene.listeners()
            if not left:
                break
        scene.saw(f"{len(before)} subscribers overrun", really=bool(before) and not left)
        _let_go(scene)
        yield
    finally:
        _let_go(scene)
        await admin.config_set("client-output-buffer-limit", usual)


@asynccontextmanager
async def half_open(scene: Scene) -> AsyncGenerator[None]:
    """R18: the subscribers' connections stand, and nothing comes over them any more."""
    await scene.idle(5, SHORT_TTL)
    before = await scene.listeners()
    hushed = sum(one.door.redis.hush(SUBSCRIBER) for one in scene.world.sidecars)
    try:
        yield
        noticed = await scene.deaf_hosts() > 0 or bool(await scene.listeners() - before)
        scene.saw(f"{hushed} subscriptions half-open, and noticed", really=hushed > 0 and noticed)
    finally:
        _let_go(scene)


def _let_go(scene: Scene) -> None:
    for one in scene.world.sidecars:
        one.door.redis.drop_hushed()


@asynccontextmanager
async def notifications_off(scene: Scene) -> AsyncGenerator[None]:
    """R15: keyspace notifications are switched off, and on again."""
    await scene.idle(5, SHORT_TTL)
    await scene.world.admin.config_set("notify-keyspace-events", "")
    try:
        yield
        deaf = await scene.deaf_hosts()
        scene.saw(f"reactors of {deaf} host(s) found themselves deaf", really=deaf > 0)
    finally:
        await scene.world.admin.config_set("notify-keyspace-events", NOTIFICATIONS)


@asynccontextmanager
async def lazy(scene: Scene) -> AsyncGenerator[None]:
    """R22: Redis no longer looks for expired keys by itself."""
    await scene.idle(4, SHORT_TTL)
    began = await scene.last_entry()
    await scene.world.admin.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    try:
        yield
    finally:
        await scene.world.admin.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "1")
    ended = await scene.ended_since(began, "expired")
    scene.saw(f"{ended} sessions expired, and Redis looked for none", really=ended > 0)


@asynccontextmanager
async def forged(scene: Scene) -> AsyncGenerator[None]:
    """R35, R36: events that are not true, and events that are not even events."""
    admin = scene.world.admin
    product, others = await scene.listeners(), await scene.eavesdroppers()
    heard = told = 0
    for key in await scene.heartbeat_keys():
        for event in ("expired", "del", "evicted", "rename_from"):
            heard += await admin.publish(f"__keyspace@0__:{key}", event)
            told += 1
    for text in ("", "x" * 100_000, "\x00\xff", "expired"):
        for name in ("../../x", ""):
            heard += await admin.publish(f"__keyspace@0__:{PREFIX}:session:{name}:heartbeat", text)
            told += 1
    really = bool(product) and heard > told * others
    scene.saw(f"reactors heard {heard - told * others} forged events", really=really)
    yield
