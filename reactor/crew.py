"""What every part works with: Redis, the engine, and who we are to both.

What this is: the one place where settings become connections. What it is not: anything that runs. The invariant: a
`Crew` that exists is bound: its host name to this very engine and no other name, its prefix to this deployment.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reactor.keys import Keys
from reactor.registry import Evidence, Naming, Reader, RedisLink, SessionRegistry, Terms
from reactor.rename import bind
from reactor.settings import RuntimeName
from reactor.teardown import Ways

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from reactor.registry import Pulse
    from reactor.runtime.protocol import Engine, Runtime
    from reactor.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The open connections of one process."""

    settings: Settings
    ways: Ways

    @property
    def engine(self) -> Engine:
        """Which engine that is."""
        return self.ways.engine

    @property
    def registry(self) -> SessionRegistry:
        """Redis, as this host's verbs."""
        return self.ways.registry

    @property
    def runtime(self) -> Runtime:
        """The engine."""
        return self.ways.runtime


async def connect_runtime(settings: Settings) -> Runtime:
    """Connect to the configured engine; raises `Unavailable` or `PermissionRefused`. The caller closes it."""
    match settings.runtime:
        case RuntimeName.DOCKER:
            from reactor.runtime.docker import DockerRuntime  # noqa: PLC0415 (slow import, not needed by the other)

            return await DockerRuntime.connect(
                settings.docker_host, tls_verify=settings.docker_tls_verify, cert_path=settings.docker_cert_path
            )
        case RuntimeName.PROCESS:
            from reactor.runtime.process import ProcessRuntime  # noqa: PLC0415

            return ProcessRuntime()


@asynccontextmanager
async def open_reader(settings: Settings) -> AsyncGenerator[Reader]:
    """Connect to Redis alone, to read and to heartbeat."""
    async with Reader(RedisLink(settings.redis_url), Keys(settings.prefix)) as reader:
        yield reader


@asynccontextmanager
async def open_crew(
    settings: Settings, *, runtime: Runtime | None = None, pulse: Pulse | None = None
) -> AsyncGenerator[Crew]:
    """Connect to Redis and the engine and bind both; closes them at the end (a `runtime` that was given stays open).

    With a `pulse`, commands that fail here are evidence of an outage: for a reactor, which goes on asking.
    Raises `Unavailable`, `PermissionRefused`, and `ConfigError` for a prefix of another deployment, a host name that
    is bound to another engine, or an engine whose reactor goes by another name.
    """
    async with AsyncExitStack() as stack:
        link = RedisLink(settings.redis_url, pulse)
        stack.push_async_callback(link.aclose)
        await link.look()
        if runtime is None:
            runtime = await connect_runtime(settings)
            stack.push_async_callback(runtime.aclose)
        engine = await runtime.engine()
        keys = Keys(settings.prefix)
        host = settings.host or engine.name
        evidence = Evidence(link, keys, host, settings.deployment)
        terms = Terms(grace=settings.grace, max_lifetime=settings.max_lifetime)
        registry = SessionRegistry(link, keys, evidence, host=host, runtime=runtime.name, terms=terms)
        await evidence.witness()
        naming = Naming(link, keys, evidence, host=host, runtime=runtime.name, terms=terms)
        await bind(naming, evidence, runtime, engine)
        yield Crew(
            settings=settings,
            ways=Ways(
                registry=registry,
                runtime=runtime,
                deployment=evidence.deployment,
                engine=engine,
                stop_grace=settings.stop_grace,
            ),
        )
