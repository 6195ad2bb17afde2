"""The programs of a wave: the client that makes the sessions, and a reactor whose engine is the tests' fake one.

What this is: `python -m faultlab.wave_parts all|client|reactor DIRECTORY [SESSIONS]`, to be killed; `all` is a
client and a reactor in one process, as the fake engine lives in it. What it is not: the measurement (`wave`). The
invariant: the fake engine's containers lie in a file, so that they outlive a killed program as an engine's do.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reactor import Reactor, SessionManager, Settings
from reactor.runtime.protocol import Container, ContainerState, Labels
from reactor.session import ContainerId
from tests.fakes.runtime import FakeRuntime, Held

if TYPE_CHECKING:
    from reactor.runtime.protocol import Runtime

AT_ONCE: Final = 16
ACQUIRED: Final = "all acquired"
_FILE: Final = "containers.json"


def ttl_s(sessions: int) -> int:
    """Return the TTL (seconds) that so many sessions need so that all live at once, each kept while others are made."""
    return max(5, sessions // 25)


def save(runtime: FakeRuntime, directory: Path) -> None:
    """Write a fake engine's containers down."""
    found = {
        held.container.container_id: (held.container.name, held.container.labels.as_dict())
        for held in runtime.held.values()
        if held.container.labels is not None
    }
    (directory / _FILE).write_text(json.dumps(found))


def load(directory: Path) -> FakeRuntime:
    """Return a fake engine with the containers that were written down, all running."""
    runtime = FakeRuntime(host="wave")
    path = directory / _FILE
    for container_id, (name, labels) in json.loads(path.read_text() if path.exists() else "{}").items():
        container = Container(
            container_id=ContainerId(container_id),
            name=name,
            labels=Labels.parse(labels),
            state=ContainerState.RUNNING,
            created_at=datetime.now(UTC),
        )
        runtime.held[container.container_id] = Held(container, None)
    return runtime


async def acquire_all(sessions: int, runtime: FakeRuntime | None, directory: Path) -> None:
    """Acquire them all, keep them until all are there, say so, and wait to be killed."""
    limit = asyncio.Semaphore(AT_ONCE)
    given: Runtime | None = runtime
    async with SessionManager(Settings.load(), runtime=given) as manager:

        async def one(number: int) -> None:
            async with limit:
                await manager.acquire(f"wave-{number}", ttl=timedelta(seconds=ttl_s(sessions)))
            while True:
                await asyncio.sleep(ttl_s(sessions) / 3)
                await manager.heartbeat(f"wave-{number}")

        async with asyncio.TaskGroup() as tasks:
            for number in range(sessions):
                tasks.create_task(one(number))
            live = 0
            while live < sessions:
                await asyncio.sleep(0.2)
                live = len([session async for session in manager.sessions() if session.expires_in is not None])
            if runtime is not None:
                save(runtime, directory)
            print(ACQUIRED, flush=True)


async def react(directory: Path) -> None:
    """Be a reactor until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Reactor(Settings.load(), runtime=load(directory)):
        await stop.wait()


async def be_all(sessions: int, directory: Path) -> None:
    """Be both, on one fake engine."""
    fake = FakeRuntime(host="wave")
    async with Reactor(Settings.load(), runtime=fake):
        await acquire_all(sessions, fake, directory)


if __name__ == "__main__":
    part, where = sys.argv[1], Path(sys.argv[2])
    match part:
        case "reactor":
            asyncio.run(react(where))
        case "all":
            asyncio.run(be_all(int(sys.argv[3]), where))
        case _:
            asyncio.run(acquire_all(int(sys.argv[3]), None, where))
