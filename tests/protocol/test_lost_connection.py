"""A connection to Redis that is lost at the moment of a command is an outage like any other."""

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reactor.errors import Unavailable
from reactor.registry import RedisLink, redis_errors
from reactor.registry.link import RunIdChanged
from reactor.registry.scripts import Script
from tests.services.redis import RedisServer
from tests.waiting import wait_until


async def test_a_command_on_a_connection_that_was_just_lost_is_unavailable(redis_server: RedisServer) -> None:
    """R20: older Pythons raise an AttributeError out of their own transport there; it must not leave the registry."""
    connection = cast("Any", Connection(port=redis_server.port, retry=Retry(NoBackoff(), 0)))
    await connection.connect()
    transport = cast("asyncio.Transport", connection._writer.transport)
    transport.abort()
    await wait_until(lambda: getattr(transport, "_loop", None) is None, what="the transport knows that it is lost")

    async def ping() -> None:
        with redis_errors("here"):
            await connection.send_packed_command([b"*1\r\n$4\r\nPING\r\n"] * 2)
            await connection.read_response()

    with pytest.raises(Unavailable):
        await ping()
    await connection.disconnect()


async def test_a_command_on_a_connection_that_another_task_closed_is_unavailable(redis_server: RedisServer) -> None:
    """R20: a new server is trusted, the idle connections are closed, and one of them was just taken."""
    connection = cast("Any", Connection(port=redis_server.port, retry=Retry(NoBackoff(), 0)))
    await connection.connect()
    writer, connection._writer = connection._writer, None  # as a disconnect leaves it

    with pytest.raises(Unavailable), redis_errors("here"):
        await connection._send_packed_command([b"*1\r\n$4\r\nPING\r\n"])
    connection._writer = writer
    await connection.disconnect()


def test_a_mistake_of_our_own_is_not_taken_for_an_outage() -> None:
    """Any other AttributeError is a bug, and shows."""
    with pytest.raises(AttributeError), redis_errors("here"):
        cast("Any", None).no_such_thing()


async def test_a_connection_to_another_server_than_the_witnessed_one_carries_no_command(
    redis_server: RedisServer,
) -> None:
    """A name may lead to two servers: what was refused once is not taken from the pool as good the next time."""
    link = RedisLink(redis_server.url)
    link.run_id = "of another server"
    refused = 0
    try:
        for _ in range(3):
            with pytest.raises(RunIdChanged):
                await link.run(Script.NEXT_DUE, ("mcp:host:h:due",), (1,))
            with pytest.raises(RunIdChanged), redis_errors("here"):
                await cast("Any", link.client).get("mcp:meta")
            refused += 1
        await link.trust(await link.look())
        assert await link.run(Script.NEXT_DUE, ("mcp:host:h:due",), (1,)) == ["-1"]
        assert refused == 3
    finally:
        await link.aclose()
