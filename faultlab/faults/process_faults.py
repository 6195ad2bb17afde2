"""What happens to the reactors and the clients (rows P1 to P4), and what operators do by hand (D19, D27, D28, B8).

What this is: signals, and the docker command. What it is not: a fault of Redis, the engine or the wire. The invariant:
each deed that ends a container or a key by hand is written down before it is done, as it explains what follows.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from faultlab.children import state_of, until
from faultlab.history import now
from faultlab.parts import PREFIX
from tests.services.engine import EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from faultlab.faults.scene import Scene

LABEL = "session-reactor."


@asynccontextmanager
async def reactor_killed(scene: Scene) -> AsyncGenerator[None]:
    """P1: kill -9 of one reactor or all; it is started again."""
    chosen = scene.some_reactors()
    for one in chosen:
        assert one.child is not None  # noqa: S101 (chosen among the running)
        code = await one.child.end(signal.SIGKILL)
        scene.world.note_reactor(one, "exit", code=code)
        scene.saw(f"{one.name} killed", really=code == -signal.SIGKILL)
    try:
        yield
    finally:
        for one in chosen:
            scene.world.start_reactor(one)
        await asyncio.gather(*(scene.world.ready(one) for one in chosen))


@asynccontextmanager
async def reactor_ended(scene: Scene) -> AsyncGenerator[None]:
    """P2: SIGTERM of one reactor or all in the middle of its work; it is started again."""
    chosen = scene.some_reactors()
    await asyncio.gather(*(scene.world.stop_reactor(one) for one in chosen))
    ended = [one.name for one in chosen if one.child is not None and not one.child.running]
    scene.saw(f"{', '.join(ended)} ended", really=len(ended) == len(chosen))
    try:
        yield
    finally:
        for one in chosen:
            scene.world.start_reactor(one)
        await asyncio.gather(*(scene.world.ready(one) for one in chosen))


@asynccontextmanager
async def reactor_frozen(scene: Scene) -> AsyncGenerator[None]:
    """P3: SIGSTOP of one reactor or all, perhaps past every lease, then SIGCONT."""
    chosen = [one.child for one in scene.some_reactors() if one.child is not None]
    try:
        for child in chosen:
            child.send(signal.SIGSTOP)
            scene.saw("stopped", really=await until(lambda child=child: state_of(child.pid) == "T", 5))
        yield
    finally:
        for child in chosen:
            child.send(signal.SIGCONT)


@asynccontextmanager
async def clients_killed(scene: Scene) -> AsyncGenerator[None]:
    """One client process, with all its users, is killed; it comes back."""
    crowd = scene.world.crowd
    name = scene.chance.choice(sorted(crowd.clients))
    code = await crowd.clients[name].end(signal.SIGKILL)
    scene.saw(f"{name} killed", really=code == -signal.SIGKILL)
    try:
        yield
    finally:
        crowd.restart(name)


@asynccontextmanager
async def client_frozen(scene: Scene) -> AsyncGenerator[None]:
    """P3: SIGSTOP of a client process, with all its acquires, perhaps past every lease, then SIGCONT."""
    name = scene.chance.choice(sorted(scene.world.crowd.clients))
    child = scene.world.crowd.clients[name]
    try:
        child.send(signal.SIGSTOP)
        scene.saw(f"{name} stopped", really=await until(lambda: state_of(child.pid) == "T", 5))
        yield
    finally:
        child.send(signal.SIGCONT)


async def by_hand(scene: Scene, command: tuple[str, ...], act: str, *, many: int = 3) -> list[str]:
    """Use the docker command on some running containers; returns what was done."""
    done: list[str] = []
    for session, container, door in await scene.running(many):
        engine = door.host.engine
        assert engine is not None  # noqa: S101 (these need one)
        scene.act(act, container=container, session=session)
        try:
            await asyncio.to_thread(engine.command.run, *command, container)
        except EngineError:
            continue  # it was gone already
        done.append(f"{act} of {container[:12]}")
    return done


async def _operator(scene: Scene, command: tuple[str, ...], act: str, *, many: int = 3) -> None:
    for what in await by_hand(scene, command, act, many=many):
        scene.saw(what)


@asynccontextmanager
async def operator_removes(scene: Scene) -> AsyncGenerator[None]:
    """D27: `docker rm -f`."""
    await _operator(scene, ("rm", "--force"), "rm")
    yield


@asynccontextmanager
async def operator_kills(scene: Scene) -> AsyncGenerator[None]:
    """D22: `docker kill`: the program dies, the container stays."""
    await _operator(scene, ("kill",), "kill")
    yield


@asynccontextmanager
async def operator_restarts(scene: Scene) -> AsyncGenerator[None]:
    """D28: `docker restart`: the session keeps its container."""
    await _operator(scene, ("restart", "--time", "0"), "restart", many=2)
    yield


@asynccontextmanager
async def operator_pauses(scene: Scene) -> AsyncGenerator[None]:
    """D19: `docker pause`, for ever: the session ends all the same when its time has come."""
    await _operator(scene, ("pause",), "pause")
    yield


@asynccontextmanager
async def orphaned(scene: Scene) -> AsyncGenerator[None]:
    """A container with our labels and no record, of this very database, as a spawner leaves it that was killed."""
    world = scene.world
    for host in world.hosts:
        assert host.engine is not None  # noqa: S101 (this needs one)
        labels = {
            "prefix": PREFIX,
            "deployment": world.deployment,
            "host": host.name,
            "db": await world.admin.hget(f"{PREFIX}:meta", "db"),
            "session": f"orphan-{secrets.token_hex(3)}",
            "generation": str(time.time_ns() // 1000),
            "template": "default",
            "ttl": "3000",
            "token": secrets.token_hex(8),
        }
        words = [word for key, value in labels.items() for word in ("--label", f"{LABEL}{key}={value}")]
        name = f"{PREFIX}-{secrets.token_hex(10)}"
        command = ("run", "--detach", "--name", name, "--network", "none", *words, host.engine.image)
        made = await asyncio.to_thread(host.engine.command.run, *command)
        scene.act("orphan", container=made.split()[-1], session=labels["session"])
        scene.saw(f"orphan {made.split()[-1][:12]} at {now():.1f}")
    yield
