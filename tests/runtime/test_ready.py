"""The wait until a container is of use, with real programs behind real ports."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from reactor.errors import AcquireTimeout, SpawnFailed
from reactor.ready import wait_ready
from reactor.runtime.docker import DockerRuntime
from reactor.runtime.docker_client import DockerClient
from reactor.runtime.docker_reach import Reach
from reactor.runtime.protocol import ContainerGone, Health
from reactor.session import ContainerId
from reactor.templates import Template, parse_ready
from tests.fakes.runtime import FakeRuntime
from tests.runtime.kits import AT_ONCE, Kit

if TYPE_CHECKING:
    from tests.services.engine import Engine

WEB = ("sh", "-c", "sleep 0.3; mkdir -p /tmp/web; echo hi > /tmp/web/ok; exec httpd -f -p 8000 -h /tmp/web")
LATE = ("sh", "-c", "sleep 0.3; exec nc -ll -p 8000 -e cat")
NEVER_LISTENS = ("sleep", "1000")


def _soon(seconds: float = 30) -> float:
    return anyio.current_time() + seconds


@asynccontextmanager
async def _relayed(engine: Engine) -> AsyncGenerator[DockerRuntime]:
    """A runtime for which only published ports lead to its containers, as with Docker Desktop."""
    client = await DockerClient.connect(engine.host, tls_verify=False, cert_path=None)
    runtime = DockerRuntime(client, Reach(remote=False, addresses=False))
    yield runtime
    await runtime.aclose()


def _web(kit: Kit, command: tuple[str, ...] = WEB) -> Template:
    return kit.template(command, network="bridge", ports=("8000/tcp",))


@pytest.mark.parametrize("ready", ["tcp:8000", "http:8000/ok"])
async def test_a_server_is_ready_when_it_answers_at_its_own_address(docker: Kit, ready: str) -> None:
    """Not before it listens."""
    container_id = await docker.run(template=_web(docker))
    found = await wait_ready(docker.runtime, container_id, parse_ready(ready), deadline=_soon())
    assert found.running


@pytest.mark.parametrize("ready", ["tcp:8000", "http:8000/ok"])
async def test_a_server_is_ready_when_it_answers_at_its_published_port(docker: Kit, engine: Engine, ready: str) -> None:
    """Where no other way leads to it."""
    container_id = await docker.run(template=_web(docker))
    async with _relayed(engine) as runtime:
        assert await wait_ready(runtime, container_id, parse_ready(ready), deadline=_soon())


async def test_a_server_that_waits_for_its_client_to_speak_is_ready(docker: Kit, engine: Engine) -> None:
    """Behind a relay silence is as good as a greeting."""
    container_id = await docker.run(template=_web(docker, LATE))
    async with _relayed(engine) as runtime:
        assert await wait_ready(runtime, container_id, parse_ready("tcp:8000"), deadline=_soon())


@pytest.mark.parametrize("ready", ["tcp:8000", "http:8000/ok"])
async def test_a_relay_that_accepts_for_nobody_is_not_ready(docker: Kit, engine: Engine, ready: str) -> None:
    """The engine's relay takes connections at once; that says nothing about the program behind it."""
    container_id = await docker.run(template=_web(docker, NEVER_LISTENS))
    async with _relayed(engine) as runtime:
        with pytest.raises(AcquireTimeout, match=ready):
            await wait_ready(runtime, container_id, parse_ready(ready), deadline=_soon(1.5))


async def test_an_error_page_is_not_ready(docker: Kit) -> None:
    """A status of 400 or more is no."""
    container_id = await docker.run(template=_web(docker))
    await wait_ready(docker.runtime, container_id, parse_ready("http:8000/ok"), deadline=_soon())
    with pytest.raises(AcquireTimeout, match="/missing"):
        await wait_ready(docker.runtime, container_id, parse_ready("http:8000/missing"), deadline=_soon(1))


async def test_a_local_program_is_ready_when_it_listens(process: Kit) -> None:
    """The process runtime gives the program a port and tells it."""
    serve = "h.test(h.SimpleHTTPRequestHandler, port=int(os.environ['PORT']), bind='127.0.0.1')"
    script = f"import os, time, http.server as h; time.sleep(0.3); {serve}"
    template = process.template((sys.executable, "-c", script), ports=("8000/tcp",))
    container_id = await process.run(template=template)
    for ready in ("tcp:8000", "http:8000/"):
        assert await wait_ready(process.runtime, container_id, parse_ready(ready), deadline=_soon())


@pytest.fixture
def checked_image(engine: Engine, idle_image: str) -> Iterator[str]:
    """The idle image with a health check that passes once /tmp/well is there."""
    tag = "reactor-test/checked:latest"
    lines = [f"FROM {idle_image}", "HEALTHCHECK --interval=1s --start-period=30s CMD test -e /tmp/well", ""]
    engine.run("build", "--tag", tag, "-", stdin="\n".join(lines).encode())
    yield tag
    engine.run("rmi", "--force", tag)


async def test_a_healthy_container_is_ready_by_the_images_own_check(checked_image: str, docker: Kit) -> None:
    """The engine runs the check, and its word counts."""
    template = Template(name="t", image=checked_image, command=("sh", "-c", "touch /tmp/well; exec sleep 1000"))
    container_id = await docker.run(template=template)
    found = await wait_ready(docker.runtime, container_id, parse_ready("healthy"), deadline=_soon(60))
    assert found.health is Health.HEALTHY


async def test_healthy_without_a_health_check_fails_at_once(docker: Kit) -> None:
    """It could never come true, so nobody waits for it."""
    container_id = await docker.run()
    with pytest.raises(SpawnFailed, match="no health check"):
        await wait_ready(docker.runtime, container_id, parse_ready("healthy"), deadline=_soon())


async def test_a_container_that_dies_while_it_is_waited_for_fails_the_spawn(kit: Kit) -> None:
    """The wait ends at the death, not at the deadline."""
    container_id = await kit.run(template=_web(kit, NEVER_LISTENS))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_killed, kit, container_id)
            with pytest.raises(SpawnFailed, match="137"):
                await wait_ready(kit.runtime, container_id, parse_ready("tcp:8000"), deadline=_soon(600))


async def test_a_container_that_is_removed_while_it_is_waited_for_ends_the_wait(kit: Kit) -> None:
    """A newer generation took it away: gone, or dead where it was seen on its way out."""
    container_id = await kit.run(template=_web(kit, NEVER_LISTENS))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_removed, kit, container_id)
            with pytest.raises((ContainerGone, SpawnFailed)):
                await wait_ready(kit.runtime, container_id, parse_ready("tcp:8000"), deadline=_soon(600))
    with pytest.raises(ContainerGone):
        await wait_ready(kit.runtime, container_id, parse_ready("started"), deadline=_soon())


async def test_nothing_is_waited_for_beyond_the_deadline(fake: Kit) -> None:
    """A deadline that is over already is AcquireTimeout, with what did not come true."""
    assert isinstance(fake.runtime, FakeRuntime)
    fake.runtime.health = Health.STARTING
    container_id = await fake.run()
    with pytest.raises(AcquireTimeout, match="healthy"):
        await wait_ready(fake.runtime, container_id, parse_ready("healthy"), deadline=_soon(0.05))


async def _killed(kit: Kit, container_id: ContainerId) -> None:
    await anyio.to_thread.run_sync(kit.operator.kill, container_id)


async def _removed(kit: Kit, container_id: ContainerId) -> None:
    await kit.runtime.remove(container_id, grace=AT_ONCE)
