"""Fixtures for every test: a private Redis, the Docker engine, and the images made for it.

No fixture skips: what is missing is a failure with its fix.
It keeps this: each test finds an empty Redis, and has a deployment whose containers are gone afterwards.
"""

import os
import re
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import hypothesis
import pytest
import redis

from tests.cli.command import Cli, clean_up, plain_environment
from tests.services import images
from tests.services.engine import Engine, EngineError
from tests.services.redis import Flavour, RedisServer, private_redis

LASTING = re.compile(r"mcp:(hosts|events|meta|host:[^:]+:(due|seen|engine))")
"""The keys that live for ever. The record of a live session does too; a tombstone does not."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the caller choose the server behind `redis_server`."""
    parser.addoption(
        "--redis",
        choices=[flavour.value for flavour in Flavour],
        default=os.environ.get("REACTOR_TEST_REDIS", Flavour.REDIS.value),
        help="the server that the tests run against (default: redis)",
    )


def pytest_configure() -> None:
    """End in order on SIGTERM, as on SIGINT: servers are stopped by their fixtures. No example is timed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A machine that is busy with something else says nothing about the code.
    hypothesis.settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("untimed")


ONCE = (
    "deploy",
    "clients",
    "demo",
    "cli/test_asking",
    "cli/test_bad",
    "faultlab",
    "faults",
    "hosts/test_killed",
    "hosts/test_two_engines",
    "journey/test_sidecar",
    "journey/test_neighbours",
    "journey/test_redis",
    "protocol/test_clocks",
    "runtime/test_docker",
    "selftest/test_killed",
    "selftest/test_selftest",
    "sim",
)
"""Tests whose outcome hangs on programs and servers, not on the Python: one version of it is enough."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what the older Pythons leave out."""
    for item in items:
        if item.path.relative_to(item.config.rootpath / "tests").as_posix().startswith(ONCE):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """redis-py's asynchronous client runs on asyncio only."""
    return "asyncio"


@pytest.fixture(scope="session")
def shared_redis(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """One server for the whole run; a test takes `redis_server`, which is this one emptied."""
    with private_redis(Flavour(request.config.getoption("--redis"))) as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> Iterator[RedisServer]:
    """A running Redis without a key, with keyspace notifications on, on loopback.

    Afterwards no key of ours is there for ever that should not be: heartbeats, canaries and tombstones have a TTL.
    """
    shared_redis.start()
    with redis.Redis.from_url(shared_redis.url, decode_responses=True) as client:
        client.flushall()
        client.config_set("notify-keyspace-events", "KExge")
        yield shared_redis
        shared_redis.start()
        assert list(immortal_keys(client)) == []


def immortal_keys(client: "redis.Redis") -> Iterator[str]:
    """Yield the strings and tombstones with our prefix that have no TTL (what a test planted is neither)."""
    for name in cast("Iterator[str]", client.scan_iter("mcp:*")):
        if client.ttl(name) != -1 or LASTING.fullmatch(name):
            continue
        kind = client.type(name)
        if kind == "string" or (kind == "hash" and client.hget(name, "state") == "ended"):
            yield name


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The Docker engine that DOCKER_HOST names; without one the test fails."""
    try:
        return Engine.from_environment()
    except EngineError as error:
        pytest.fail(f"no Docker engine: {error} (bin/test starts a private one)", pytrace=False)


@pytest.fixture(scope="session")
def idle_image(engine: Engine) -> str:
    """A small image with a shell, `sleep`, `httpd` and `nc`."""
    return images.idle(engine)


@pytest.fixture(scope="session")
def python_image(engine: Engine) -> str:
    """The base image that the examples and the reactor's own image are built on."""
    return images.python_base(engine)


@pytest.fixture
def deployment() -> str:
    """A name that no other test run has."""
    return f"test-{secrets.token_hex(6)}"


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


@pytest.fixture
def lonely(tmp_path: Path) -> Cli:
    """A user whose Redis and engine do not exist, so that a command that needs one fails."""
    nowhere = f"unix://{tmp_path}/nowhere"
    return Cli(directory=tmp_path, environment=plain_environment(REDIS_URL=f"{nowhere}.redis", DOCKER_HOST=nowhere))
