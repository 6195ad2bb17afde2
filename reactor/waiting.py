"""Waiting for another caller's spawn or teardown: woken by a message, or after a quarter of a second.

What this is: one subscription per process to the wake channel of a host, and who waits on which id. What it is not: an
answer; whoever wakes reserves again and hears the verdict from Redis. The invariant: a lost message costs a quarter of
a second, never more.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anyio

from reactor.registry.subscription import Subscription
from reactor.session import SessionId
from reactor.trouble import Trouble

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from reactor.registry import SessionRegistry

RELOOK_SECONDS = 0.25
"""How long a waiter waits at most before it reserves again."""


class WakeUps:
    """Lets many tasks of one process wait for changes of sessions; the subscription begins with the first waiter."""

    def __init__(self, registry: SessionRegistry, tasks: TaskGroup) -> None:
        """Take the task group in which the subscription runs until it is cancelled."""
        self._registry = registry
        self._tasks = tasks
        self._listening = False
        self._waiting: dict[SessionId, list[anyio.Event]] = {}

    async def wait(self, session_id: SessionId) -> None:
        """Return when the session changed, or after about a quarter of a second (with jitter)."""
        if not self._listening:
            self._listening = True
            self._tasks.start_soon(self._listen)
        event = anyio.Event()
        self._waiting.setdefault(session_id, []).append(event)
        try:
            with anyio.move_on_after(RELOOK_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 (jitter)
                await event.wait()
        finally:
            if event in (others := self._waiting.get(session_id, [])):
                others.remove(event)
                if not others:
                    del self._waiting[session_id]

    async def _listen(self) -> None:
        channel = self._registry.keys.wake(self._registry.host)
        subscription = Subscription(
            self._registry.link, channels=[channel], patterns=[], on_message=self._woken, on_gap=self._everybody
        )
        trouble = Trouble("wake-ups", {})
        while True:
            await trouble.persist(subscription.run)

    def _woken(self, _channel: bytes, data: bytes) -> None:
        for event in self._waiting.pop(SessionId(data.decode(errors="replace")), []):
            event.set()

    def _everybody(self) -> None:
        for session_id in list(self._waiting):
            self._woken(b"", session_id.encode())
