"""The engine that may be hurt, and each test's world on it.

They do not share the engine of the other tests. They keep this: after a test the engine is well and empty again.
"""

import logging
from collections.abc import AsyncGenerator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from faultlab.docker_proxy import DockerProxy
from reactor import Settings, expiry
from reactor.session import Deployment, HostName
from reactor.templates import Template
from tests.fakes.runtime import FakeRuntime
from tests.faults.ears import Ears
from tests.faults.engine import LastingEngine, lasting_engine
from tests.faults.rig import Rig
from tests.services.redis import RedisServer, private_redis


@pytest.fixture(scope="session")
def lasting() -> Iterator[LastingEngine]:
    """One engine for all faults; starting it takes two seconds."""
    with lasting_engine() as engine:
        yield engine


@pytest.fixture
async def rig(
    tmp_path: Path, redis_server: RedisServer, lasting: LastingEngine, deployment: str
) -> AsyncGenerator[Rig]:
    """A world whose sessions idle for five minutes, and are ended at once."""
    template = Template(name="default", image=lasting.image, ttl=timedelta(minutes=5))
    async with DockerProxy(f"unix://{tmp_path}/d.sock", lasting.host) as proxy:
        settings = Settings(
            redis_url=redis_server.url,
            docker_host=proxy.address,
            deployment=Deployment(deployment),
            host=HostName(deployment),
            listen=None,
            stop_grace=timedelta(0),
            janitor_every=timedelta(0),
            acquire_timeout=timedelta(seconds=20),
            templates={"default": template},
        )
        with redis.Redis.from_url(redis_server.url) as client:
            try:
                yield Rig(engine=lasting, proxy=proxy, client=client, settings=settings)
            finally:
                proxy.heal()
                lasting.heal()
                await lasting.clear()


@pytest.fixture
def ears(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ears]:
    """Sessions of five minutes; canaries come every fraction of a second."""
    caplog.set_level(logging.DEBUG, logger="reactor")
    monkeypatch.setattr(expiry, "CANARY_EVERY", 0.2)
    monkeypatch.setattr(expiry, "TELL_EVERY", 0.2)
    template = Template(name="default", image="any", ttl=timedelta(minutes=5))
    with private_redis() as server, redis.Redis.from_url(server.url) as client:
        settings = Settings(
            redis_url=server.url, listen=None, stop_grace=timedelta(0), janitor_every=timedelta(0),
            templates={"default": template},
        )  # fmt: skip
        yield Ears(client=client, server=server, settings=settings, runtime=FakeRuntime(), caplog=caplog)
