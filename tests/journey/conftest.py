"""The world that the journeys happen in.

It is not a fixture of the command line: the same user, with eyes on engine and Redis.
It keeps this: every connection it opens is closed.
"""

from collections.abc import Iterator

import pytest
import redis

from tests.cli.command import Cli
from tests.journey.sidecar import World
from tests.services.engine import Engine
from tests.services.redis import RedisServer


@pytest.fixture
def world(user: Cli, engine: Engine, redis_server: RedisServer, deployment: str) -> Iterator[World]:
    """A user with Redis and engine, seen from outside."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield World(user=user, engine=engine, client=client, deployment=deployment)
