"""What the tests of the simulation share: quiet logs, and a real server of each flavour to be held to."""

import logging
from collections.abc import Generator

import pytest

from tests.services.redis import Flavour, RedisServer, private_redis
from tests.sim.pair import ALL


@pytest.fixture(autouse=True)
def quiet() -> Generator[None]:
    """A simulated day logs as much as a real one."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)


@pytest.fixture(scope="module", params=list(Flavour))
def server(request: pytest.FixtureRequest) -> Generator[RedisServer]:
    """A real Redis, then a real Valkey; each tells everything."""
    options = {"notify-keyspace-events": ALL, "save": "", "enable-debug-command": "yes"}
    with private_redis(request.param, options=options) as running:
        yield running
