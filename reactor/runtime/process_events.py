"""Starts and deaths of local processes, seen by looking again and again.

What this is: the difference between two looks, as events. What it is not: proof of anything; what starts and dies
between two looks is told as a death. The invariant: a container that was seen running and is so no more is told once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from reactor.runtime.protocol import Container, ContainerState, EngineEvent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from reactor.session import ContainerId

EVERY: Final = 0.25
"""Seconds between two looks."""

_View = dict["ContainerId", Container]


async def watch(first: list[Container], look: Callable[[], Awaitable[list[Container]]]) -> AsyncGenerator[EngineEvent]:
    """Yield what changes after `first`, for ever; an `Unavailable` of `look` ends it."""
    before = _view(first)
    while True:
        await anyio.sleep(EVERY)
        now = _view(await look())
        for event in _changes(before, now):
            yield event
        before = now


def _view(containers: list[Container]) -> _View:
    return {container.container_id: container for container in containers}


def _changes(before: _View, now: _View) -> Iterator[EngineEvent]:
    for container_id, container in {**before, **now}.items():
        labels = container.labels
        if labels is None:
            continue
        was, is_now = _state(before, container_id), _state(now, container_id)
        if was is not is_now and ContainerState.RUNNING in (was, is_now):
            started = is_now is ContainerState.RUNNING
            yield EngineEvent(container_id=container_id, session_id=labels.session, started=started)
        elif is_now is ContainerState.DEAD and was is not is_now:
            yield EngineEvent(container_id=container_id, session_id=labels.session, started=False)


def _state(view: _View, container_id: ContainerId) -> ContainerState | None:
    found = view.get(container_id)
    return None if found is None else found.state
