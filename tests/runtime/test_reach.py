"""Which way leads from here to a container's port: told from where the engine and this process are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from reactor.runtime import docker_reach
from reactor.runtime.docker_reach import Reach, find_reach
from reactor.runtime.protocol import Container, ContainerState
from reactor.session import Address, ContainerId, Endpoint
from reactor.templates import Template, parse_ready

BESIDE = Reach(remote=False, addresses=True)
DESKTOP = Reach(remote=False, addresses=False)
AMONG = Reach(remote=False, addresses=True, networks=frozenset({"app"}))
ELSEWHERE = Reach(remote=True, addresses=False)
OWN = "ab" * 32


def _template(ready: str, network: str, *ports: str) -> Template:
    return Template(name="t", image="x", ready=parse_ready(ready), network=network, ports=ports)


@pytest.mark.parametrize(
    "reach, template, problem",
    [
        (BESIDE, _template("started", "none"), None),
        (BESIDE, _template("tcp:8000", "none"), "no network"),
        (BESIDE, _template("tcp:8000", "bridge"), None),
        (DESKTOP, _template("tcp:8000", "bridge"), "not published"),
        (DESKTOP, _template("http:8000/x", "bridge", "8000/tcp"), None),
        (DESKTOP, _template("http:8000/x", "bridge", "8000"), None),
        (AMONG, _template("tcp:8000", "app"), None),
        (AMONG, _template("tcp:8000", "bridge", "8000/tcp"), "attach"),
        (ELSEWHERE, _template("tcp:8000", "bridge", "8000/tcp"), "another machine"),
        (ELSEWHERE, _template("healthy", "none"), None),
    ],
)
def test_a_ready_that_cannot_be_probed_from_here_is_a_problem(
    reach: Reach, template: Template, problem: str | None
) -> None:
    """It is found before the first acquire, with its fix."""
    found = reach.problem(template)
    assert (found is None) if problem is None else (found is not None and problem in found)


def _container(ip: str | None) -> Container:
    published = {"8000/tcp": Endpoint(host="127.0.0.1", port=40000)}
    return Container(
        container_id=ContainerId("c"),
        name="n",
        labels=None,
        state=ContainerState.RUNNING,
        created_at=datetime.now(UTC),
        address=Address(ip=ip, ports=published),
    )


def test_the_containers_own_address_comes_before_the_relay() -> None:
    """A relay accepts before the container does, so it is asked last; inside a container it is not ours to ask."""
    ways = BESIDE.routes(_container("10.0.0.2"), 8000)
    assert [(way.endpoint.host, way.endpoint.port, way.relayed) for way in ways] == [
        ("10.0.0.2", 8000, False),
        ("127.0.0.1", 40000, True),
    ]
    assert [way.relayed for way in DESKTOP.routes(_container(None), 8000)] == [True]
    assert [way.endpoint.host for way in AMONG.routes(_container("10.0.0.2"), 8000)] == ["10.0.0.2"]
    assert BESIDE.routes(_container(None), 9) == ()


def _engine(containers: Mapping[str, Mapping[str, Any]]) -> Callable[[str], Awaitable[Mapping[str, Any] | None]]:
    async def look(container: str) -> Mapping[str, Any] | None:
        return containers.get(container)

    return look


def _self(mode: str) -> dict[str, Any]:
    return {"Id": OWN, "HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": {"app": {}}}}


@pytest.mark.parametrize("remote", [False, True])
async def test_inside_one_of_the_engines_containers_its_networks_count(
    monkeypatch: pytest.MonkeyPatch, *, remote: bool
) -> None:
    """Also where the engine is reached over TCP: what counts is that it knows the container that we are."""
    monkeypatch.setattr(docker_reach, "_own_ids", lambda: ["gone", OWN])
    found = await find_reach(_engine({OWN: _self("app")}), {}, remote=remote)
    assert found == AMONG


async def test_a_container_of_another_engine_and_the_hosts_network_are_like_no_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine inside our own container, and a container on the host's network, are beside us."""
    monkeypatch.setattr(docker_reach, "_own_ids", lambda: [OWN])
    monkeypatch.setattr(docker_reach.sys, "platform", "linux")
    assert await find_reach(_engine({}), {}, remote=False) == BESIDE
    assert await find_reach(_engine({OWN: _self("host")}), {}, remote=False) == BESIDE
    assert await find_reach(_engine({}), {}, remote=True) == ELSEWHERE


@pytest.mark.parametrize(
    "info", [{"SecurityOptions": ["name=seccomp", "name=rootless"]}, {"OperatingSystem": "Docker Desktop"}]
)
async def test_a_network_inside_a_machine_or_namespace_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, info: dict[str, object]
) -> None:
    """Rootless engines and Docker Desktop: only published ports lead out."""
    monkeypatch.setattr(docker_reach, "_own_ids", list[str])
    assert await find_reach(_engine({}), info, remote=False) == DESKTOP
