"""The engine that may be hurt, and each test's world on it.

They do not share the engine of the other tests. They keep this: after a test the engine is well and empty again.
"""

from collections.abc import AsyncGenerator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from faultlab.docker_proxy import DockerProxy
from reactor import Settings
from reactor.session import Deployment, HostName
from reactor.templates import Template
from tests.faults.engine import LastingEngine, lasting_engine
from tests.faults.rig import Rig
from tests.services.redis import RedisServer


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
