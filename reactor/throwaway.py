"""What a program needs that makes sessions only to throw them away: a signal's end, a plain client, a clean Redis.

What this is: shared by the demo and the selftest. What it is not: part of the sidecar or of the library's face. The
invariant: what is deleted here carries the caller's own prefix; nobody else's key is read or written.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from reactor.errors import ReactorError
from reactor.registry import redis_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reactor.registry import RedisLink

_BATCH: Final = 1000
"""Keys that one SCAN looks at: few round trips, and none of them long."""


async def until_signalled(work: Callable[[], Awaitable[int]], say: Callable[[str], None]) -> int:
    """Run `work` and return its exit code; SIGINT, SIGTERM or SIGHUP cancels it: 128 + n then.

    The clean-up is the caller's, in its `finally`. A `ReactorError` comes out as it was raised, also out of a group.
    """
    code = 0
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:

        async def receive(scope: anyio.CancelScope) -> None:
            nonlocal code
            async for number in signals:
                code = 128 + number
                say("interrupted; cleaning up")
                scope.cancel()

        failures: list[BaseException] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, tasks.cancel_scope)
            try:
                code = await work()
            except* ReactorError as group:
                failures = leaves(group)
            tasks.cancel_scope.cancel()
    if failures and not code:
        raise failures[0]
    return code


def leaves(error: BaseException) -> list[BaseException]:
    """Return the errors inside a group of groups, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return [leaf for each in inner for leaf in leaves(each)]
    return [error]


class PlainRedis:
    """A plain Redis client, as any language has one. Its methods raise `Unavailable`."""

    def __init__(self, link: RedisLink) -> None:
        """Take an open link; only its client is used."""
        self._client = cast("Any", link.client)
        self._where = link.where

    async def send(self, *words: str | int) -> Any:
        """Send one command."""
        with redis_errors(self._where):
            return await self._client.execute_command(*words)

    async def send_together(self, *commands: tuple[str | int, ...]) -> list[Any]:
        """Send commands that happen at one instant (MULTI)."""
        with redis_errors(self._where):
            pipe = self._client.pipeline(transaction=True)
            for words in commands:
                pipe.execute_command(*words)
            return cast("list[Any]", await pipe.execute())

    async def now_ms(self) -> int:
        """Return Redis' clock."""
        seconds, micros = await self.send("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def names(self, pattern: str) -> list[str]:
        """Return the keys that fit a pattern, each once."""
        with redis_errors(self._where):
            return sorted({str(name) async for name in self._client.scan_iter(match=pattern, count=_BATCH)})

    async def delete(self, names: list[str]) -> int:
        """Delete these keys at one instant, and return how many there were."""
        return int(await self.send("DEL", *names)) if names else 0
