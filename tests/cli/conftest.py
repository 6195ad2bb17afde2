"""Fixtures for the tests of the command line.

They are not the servers themselves (tests/services).
It keeps this: each test has a deployment of its own, and its containers are gone afterwards.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Cli, clean_up, plain_environment
from tests.services.engine import Engine
from tests.services.redis import RedisServer


@pytest.fixture
def deployment() -> str:
    """A name that no other test run has."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def lonely(tmp_path: Path) -> Cli:
    """A user whose Redis and engine do not exist, so that a command that needs one fails."""
    nowhere = f"unix://{tmp_path}/nowhere"
    return Cli(directory=tmp_path, environment=plain_environment(REDIS_URL=f"{nowhere}.redis", DOCKER_HOST=nowhere))


@pytest.fixture
def user(tmp_path: Path, redis_server: RedisServer, engine: Engine, idle_image: str, deployment: str) -> Iterator[Cli]:
    """A user with a Redis, an engine, and a template that sleeps."""
    cli = Cli(
        directory=tmp_path,
        environment=plain_environment(
            REDIS_URL=redis_server.url,
            DOCKER_HOST=engine.host,
            REACTOR_DEPLOYMENT=deployment,
            REACTOR_HOST=deployment,
            REACTOR_STOP_GRACE="0",
        ),
    )
    cli.write(f'[template.default]\nimage = "{idle_image}"\nmax_ttl = "1h"\n')
    yield cli
    clean_up(engine, deployment)
