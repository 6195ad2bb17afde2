"""The connection that carries scripts: kept in the hand, one journey at a time.

What this is: requests and their answers on a connection of the pool's own kind, without the layers of a general client
around it (together they cost more time than the round trip does). What it is not: a pool; whoever comes while it is
taken goes through that. The invariant: an answer belongs to its request; a connection on which not all answers were
read is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio
import hiredis
from redis import exceptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio import ConnectionPool

_pack = cast("Callable[[tuple[str | int, ...]], bytes]", cast("Any", hiredis).pack_command)  # its types are too narrow


class Wire:
    """For one event loop; safe for many tasks at once."""

    def __init__(self, pool: ConnectionPool) -> None:
        """Take the pool that says how to connect; nothing is sent yet."""
        self._pool = cast("Any", pool)
        self._connection: Any = None
        self._taken = False
        self._stale = False

    async def exchange(self, requests: Sequence[Sequence[str | int]]) -> list[Any]:
        """Send all requests in one journey and return an answer for each: a refusal is redis-py's `ResponseError`.

        Raises redis-py's other errors, or `OSError`, where an answer is missing: the effect is unknown then, as it is
        after a cancellation.
        """
        if self._taken:
            return await self._through_the_pool(requests)
        self._taken = True
        try:
            return await _exchange(await self._ready(), requests)
        finally:
            self._taken = False

    async def _ready(self) -> Any:
        """Return our own connection, after a look whether the other side has closed it meanwhile."""
        if self._connection is None:
            self._connection = self._pool.make_connection()
        connection = self._connection
        if connection.is_connected and (self._stale or await _is_spoiled(connection)):
            await connection.disconnect(nowait=True)
        self._stale = False
        if not connection.is_connected:
            await connection.connect()
        return connection

    async def _through_the_pool(self, requests: Sequence[Sequence[str | int]]) -> list[Any]:
        connection = await self._pool.get_connection()
        try:
            return await _exchange(connection, requests)
        finally:
            with anyio.CancelScope(shield=True):
                await self._pool.release(connection)

    def forget(self) -> None:
        """Connect anew before the next journey: the name of the server may lead to another one now."""
        self._stale = True

    async def aclose(self) -> None:
        """Close the connection. Twice is fine."""
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)


async def _is_spoiled(connection: Any) -> bool:
    """Whether it was closed by the other side, or holds what nobody asked for."""
    try:
        return bool(await connection.can_read())
    except (exceptions.RedisError, OSError):
        return True


async def _exchange(connection: Any, requests: Sequence[Sequence[str | int]]) -> list[Any]:
    answers: list[Any] = []
    try:
        packed = b"".join(_pack(tuple(words)) for words in requests)
        await connection.send_packed_command(packed, check_health=False)
        for _ in requests:
            try:
                answers.append(await connection.read_response())
            except exceptions.ResponseError as refusal:
                answers.append(refusal)
    finally:
        if len(answers) < len(requests):
            with anyio.CancelScope(shield=True):
                await connection.disconnect(nowait=True)
    return answers
