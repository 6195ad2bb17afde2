"""Fixtures for several hosts: the stage of the protocol tests, and settings of one host each.

It is not a claim. It keeps this: at the end every key that must have a TTL has one.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import redis

from reactor.session import Deployment, HostName
from reactor.settings import Settings
from reactor.templates import Template
from tests.cli.command import Cli
from tests.journey.sidecar import World
from tests.protocol.scene import Scene
from tests.services.engine import Engine
from tests.services.redis import RedisServer


@pytest.fixture
async def scene(redis_server: RedisServer) -> AsyncIterator[Scene]:
    """An empty stage."""
    async with Scene(redis_server) as stage:
        yield stage
        stage.check_keys()


@pytest.fixture
def on_host(redis_server: RedisServer) -> Callable[[str], Settings]:
    """The settings of a host on the stage, by its name: it waits three seconds for a session."""
    template = Template(name="default", image="idle", ttl=timedelta(minutes=15))
    settings = Settings(
        redis_url=redis_server.url, listen=None, stop_grace=timedelta(0), deployment=Deployment("test"),
        acquire_timeout=timedelta(seconds=3), templates={"default": template},
    )  # fmt: skip
    return lambda name: replace(settings, host=HostName(name))


@pytest.fixture
def world(user: Cli, engine: Engine, redis_server: RedisServer, deployment: str) -> Iterator[World]:
    """A user with a real engine, seen from outside."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield World(user=user, engine=engine, client=client, deployment=deployment)
