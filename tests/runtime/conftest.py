"""Fixtures: each runtime in a kit, alone and all three in turn. It keeps this: what a test leaves is removed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reactor.runtime.docker import DockerRuntime
from reactor.runtime.process import ProcessRuntime
from tests.fakes.runtime import FakeRuntime
from tests.runtime.kits import DockerOperator, FakeOperator, Kit, ProcessOperator
from tests.services.engine import Engine


@asynccontextmanager
async def _cleaned(kit: Kit) -> AsyncGenerator[Kit]:
    try:
        yield kit
    finally:
        await kit.clean()
        await kit.runtime.aclose()


@pytest.fixture
async def docker(engine: Engine, idle_image: str) -> AsyncIterator[Kit]:
    """The Docker engine."""
    runtime = await DockerRuntime.connect(engine.host)
    async with _cleaned(Kit(runtime, DockerOperator(engine), image=idle_image)) as kit:
        yield kit


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Where the process runtime keeps what it knows; not made yet."""
    return tmp_path / "state"


@pytest.fixture
async def process(state_dir: Path) -> AsyncIterator[Kit]:
    """Local process groups."""
    async with _cleaned(Kit(ProcessRuntime(state_dir), ProcessOperator(state_dir))) as kit:
        yield kit


@pytest.fixture
async def fake() -> AsyncIterator[Kit]:
    """The runtime in memory."""
    runtime = FakeRuntime()
    async with _cleaned(Kit(runtime, FakeOperator(runtime))) as kit:
        yield kit


@pytest.fixture(params=["docker", "process", "fake"])
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each runtime in turn."""
    found: Kit = request.getfixturevalue(request.param)
    return found
