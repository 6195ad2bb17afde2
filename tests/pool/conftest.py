"""A user whose template keeps a pool, on a real Redis and a real engine.

It is not a claim. It keeps this: what a test's deployment made is gone afterwards.
"""

from collections.abc import Iterator

import pytest
import redis

from tests.cli.command import Cli
from tests.pool.house import House
from tests.services.engine import Engine
from tests.services.redis import RedisServer


@pytest.fixture
def house(user: Cli, engine: Engine, redis_server: RedisServer, deployment: str, idle_image: str) -> Iterator[House]:
    """The user, seen from outside; the template is written by `House.template`."""
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield House(user=user, engine=engine, client=client, deployment=deployment, image=idle_image)
