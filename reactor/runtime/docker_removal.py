"""Taking a container away, until the engine has it no more.

What this is: stop signal, grace, forced removal by ID, and patience with a removal that is under way. What it is not:
the decision to remove. The invariant: the answer is given only when the container is certainly gone; `REMOVED` goes to
the one caller whose request the engine carried out.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import anyio

from reactor.errors import Unavailable
from reactor.retry import removal_policy
from reactor.runtime.docker_answers import state_of
from reactor.runtime.docker_client import DockerClient, container_path
from reactor.runtime.docker_errors import understood
from reactor.runtime.protocol import ContainerState, Removal

if TYPE_CHECKING:
    from collections.abc import Generator

    from reactor.session import ContainerId

REMOVAL_LIMIT: Final = 60.0
"""Seconds, after the grace, for one removal with all its waiting; then the outcome is unknown."""


class _Refused(Unavailable):
    """The engine answered that it could not remove it, this time."""


async def remove(client: DockerClient, container_id: ContainerId, grace: float) -> Removal:
    """Stop the container within `grace` seconds (none: kill it), then remove it; see the protocol."""
    with anyio.move_on_after(grace + REMOVAL_LIMIT):
        if grace > 0 and not await _stop(client, container_id, grace):
            return Removal.ABSENT
        async for attempt in removal_policy(_Refused):
            with attempt:
                return await _delete(client, container_id)
    raise Unavailable(f"container {container_id[:12]} is still not removed after {REMOVAL_LIMIT:.0f} s")


async def _stop(client: DockerClient, container_id: ContainerId, grace: float) -> bool:
    """Send the stop signal and wait for the end; False if the container is gone already.

    Not the engine's own stop, which counts whole seconds and would hold a thread for all of them.
    """
    found = await client.look(container_id)
    if found is None:
        return False
    with understood(client.where):
        if state_of(found) is not ContainerState.RUNNING:
            return True
        signal = str(found["Config"].get("StopSignal") or "SIGTERM")
    answer = await client.call("POST", f"{container_path(container_id)}/kill", params={"signal": signal})
    if answer.no_container:
        return False
    if answer.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.CONFLICT):  # 409: it ended by itself meanwhile
        raise client.unknown("stop", answer)
    with anyio.move_on_after(grace):
        for pause in _pauses():
            await anyio.sleep(pause)
            found = await client.look(container_id)
            if found is None:
                return False
            with understood(client.where):
                if state_of(found) is not ContainerState.RUNNING:
                    break
    return True


async def _delete(client: DockerClient, container_id: ContainerId) -> Removal:
    while True:
        answer = await client.call("DELETE", container_path(container_id), params={"force": "1", "v": "1"})
        if answer.status == HTTPStatus.NO_CONTENT:
            return Removal.REMOVED
        if answer.no_container:
            return Removal.ABSENT
        if answer.status == HTTPStatus.CONFLICT:
            # Another's removal is under way: wait for it, and do it ourselves should it fail.
            if await _gone_soon(client, container_id):
                return Removal.ABSENT
            continue
        raise _Refused(str(client.unknown("remove", answer)))


async def _gone_soon(client: DockerClient, container_id: ContainerId) -> bool:
    with anyio.move_on_after(2):
        for pause in _pauses():
            await anyio.sleep(pause)
            if await client.look(container_id) is None:
                return True
    return False


def _pauses() -> Generator[float]:
    """Yield how long to pause between two looks at a change that is under way: 10 ms at first, then up to 250 ms."""
    pause = 0.01
    while True:
        yield pause
        pause = min(pause * 2, 0.25)
