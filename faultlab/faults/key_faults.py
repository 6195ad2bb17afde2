"""What happens to single keys (rows R25, B4, B5): they die in a mass, lose their end, or lose their record.

What this is: deeds on keys of sessions, each written down before it is done. What it is not: a loss of all data
(`redis_faults`). The invariant: a mass is more than the rule's bound on the host that it strikes; with fewer the fault
has not fired.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from faultlab.checks.destruction import BRAKE_COUNT, BRAKE_SHARE, MASS_COUNT, MASS_SHARE
from faultlab.children import until
from faultlab.leftovers import containers_of
from faultlab.parts import IDLE_S, JANITOR_S, PREFIX, environment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from faultlab.faults.scene import Held, Scene

MANY = 14
"""Idle sessions beside those of the clients: alone they are beyond both bounds."""
AHEAD_MS = 1500
"""A key that its host looks at sooner is left: it is believed to end at that time, mass or no mass."""
LONG_TTL = 120
BRAKE_WITHIN = 30.0


@asynccontextmanager
async def mass_death(scene: Scene) -> AsyncGenerator[None]:
    """R25: a mass of heartbeat keys ends at once, with real events, as after a clock that jumped ahead."""
    await scene.idle(MANY, IDLE_S)
    struck = 0
    for host in scene.world.hosts:
        ids, there = await _far_from_due(scene, host.name)
        for session in ids:
            scene.act("expire", session=session)
        pipe = scene.world.admin.pipeline(transaction=True)
        for session in ids:
            pipe.pexpire(f"{PREFIX}:session:{session}:heartbeat", 1)
        ended = sum(await pipe.execute())
        if ended > max(MASS_COUNT, MASS_SHARE * there):
            struck += 1
            scene.saw(f"{ended} of {there} keys of {host.name} ended")
    yield


async def _far_from_due(scene: Scene, host: str) -> tuple[list[str], int]:
    """Return the sessions of a host that it looks at later than soon, and how many it has."""
    admin = scene.world.admin
    seconds, micros = await admin.time()
    scored = cast("list[tuple[str, float]]", await admin.zrange(f"{PREFIX}:host:{host}:due", 0, -1, withscores=True))
    soon = seconds * 1000 + micros / 1000 + AHEAD_MS
    return [session for session, score in scored if score > soon], len(scored)


@asynccontextmanager
async def immortal(scene: Scene) -> AsyncGenerator[None]:
    """B4, B5: some keys lose their TTL, others get one of years."""
    keys = await scene.heartbeat_keys()
    done = 0
    for key in scene.chance.sample(keys, min(4, len(keys))):
        scene.act("immortal", session=key.split(":")[2])
        if done % 2:
            done += await scene.world.admin.expire(key, 10**9)
        else:
            done += await scene.world.admin.persist(key)
    scene.saw(f"{done} keys without an end", really=done > 0)
    yield


@asynccontextmanager
async def records_deleted(scene: Scene) -> AsyncGenerator[None]:
    """The brake: many sessions of a host lose their records, with the database id intact; a human confirms it later."""
    held = await scene.idle(MANY, LONG_TTL)
    began = await scene.last_entry()
    bound = max(BRAKE_COUNT, BRAKE_SHARE * len(await containers_of(scene.world)))
    await _unrecord(scene, held)
    braked = await until(lambda: _braked(scene, began), BRAKE_WITHIN)
    yield
    for one in held:
        scene.act("force", container=one.container, session=one.session)
    code, said = await _forced(scene, held)
    there = set(await containers_of(scene.world)) & {one.container for one in held}
    text = f"{len(held)} containers without a record, braked; {len(there)} left after --force (exit code {code})"
    scene.saw(text, really=braked and len(held) > bound)
    if code != 0:
        scene.world.mark("force", said[-400:])


async def _unrecord(scene: Scene, held: list[Held]) -> None:
    pipe = scene.world.admin.pipeline(transaction=True)
    for one in held:
        scene.act("unrecord", container=one.container, session=one.session)
        key = f"{PREFIX}:session:{one.session}"
        pipe.delete(key, f"{key}:heartbeat")
        pipe.zrem(f"{PREFIX}:host:{one.door.host.name}:due", one.session)
    await pipe.execute()


async def _braked(scene: Scene, began: str) -> bool:
    await asyncio.sleep(JANITOR_S / 10)
    entries = await scene.world.admin.xrange(f"{PREFIX}:events", f"({began}", "+")
    return any(fields.get("event") == "brake" for _, fields in entries)


async def _forced(scene: Scene, held: list[Held]) -> tuple[int | None, str]:
    """Confirm it as a human does, on the host that it is about."""
    env = environment(scene.world.plan, scene.world.deployment, held[0].door)
    command = (sys.executable, "-m", "reactor", "reconcile", "--force")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=env
    )
    try:
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(errors="replace")
