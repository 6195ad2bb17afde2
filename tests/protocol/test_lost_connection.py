"""A connection to Redis that is lost at the moment of a command is an outage like any other."""

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reactor.errors import Unavailable
from reactor.registry import redis_errors
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


def test_a_mistake_of_our_own_is_not_taken_for_an_outage() -> None:
    """Any other AttributeError is a bug, and shows."""
    with pytest.raises(AttributeError), redis_errors("here"):
        cast("Any", None).no_such_thing()
