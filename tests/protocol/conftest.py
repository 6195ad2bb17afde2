"""The stage of the protocol tests: a real Redis, an engine in memory, and actors that share both."""

from collections.abc import AsyncIterator

import pytest

from tests.protocol.scene import Scene
from tests.services.redis import RedisServer


@pytest.fixture
async def scene(redis_server: RedisServer) -> AsyncIterator[Scene]:
    """An empty stage; at its end every key that must have a TTL has one."""
    async with Scene(redis_server) as stage:
        yield stage
        stage.check_keys()
