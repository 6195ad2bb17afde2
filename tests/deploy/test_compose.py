"""`docker compose up` with the shipped files, on a real engine.

What this is: the whole of `docker-compose.yml` as a user starts it, with images made on the spot in place of those of a
registry. What it is not: a second file for tests; the one addition lets the build use this machine's network. The
invariant: after `down` nothing of the project is left on the engine.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.deploy.servers import REPOSITORY, ask, free_port
from tests.services import images
from tests.services.compose import Compose, ComposeError
from tests.waiting import block_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REDIS_IMAGE = "reactor-test/redis:latest"
SESSION_IMAGE = "busybox:1.37"
"""What the shipped template runs: the idle image under this name, where the engine has no such image."""
SERVICES = ["passwords", "redis", "reactor"]
TTL = 4
BUILD_ON_HOST_NETWORK = """\
services:
  reactor:
    build:
      network: host
      labels: { session-reactor-test: image }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The running project, seen through `docker compose`, `docker ps` and a connection to the published port."""

    compose: Compose
    engine: Engine
    port: int

    def reactor(self, *arguments: str) -> Any:
        """Return the answer of a `reactor` command given in the reactor's own container."""
        return json.loads(self.compose.run("exec", "-T", "reactor", "reactor", *arguments, "--json"))

    def reactor_as(self, user: str, *arguments: str) -> str:
        """Return what a `reactor` command prints when it logs in to Redis as `user`."""
        url = f"REDIS_URL=redis://{user}:{self.password(user)}@redis:6379/0"
        somebody = ["-e", "REDIS_URL_FILE=", "-e", url]
        return self.compose.run("exec", "-T", *somebody, "reactor", "reactor", *arguments)

    def password(self, user: str) -> str:
        """Return the password that the first start made."""
        return self.compose.run("exec", "-T", "redis", "cat", f"/run/session-reactor/{user}.password")

    def login(self, user: str) -> redis.Redis:
        """Return a connection from the machine to the published port."""
        return redis.Redis(port=self.port, username=user, password=self.password(user), protocol=3)

    def sessions(self) -> list[str]:
        """Return the containers of this deployment's sessions, running or not."""
        return list(self.engine.containers({"session-reactor.deployment": self.compose.project}))

    def service(self, name: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container."""
        return self.engine.inspect(self.compose.run("ps", "--all", "--quiet", name))

    def left(self) -> str:
        """Return whatever carries the project's label on the engine."""
        mine = ["--filter", f"label=com.docker.compose.project={self.compose.project}", "--quiet"]
        kinds = (["ps", "--all"], ["volume", "ls"], ["network", "ls"])
        return "".join(self.engine.run(*kind, *mine) for kind in kinds)


def settings(engine: Engine, port: int) -> dict[str, str]:
    """Return what a user of this engine would write into .env."""
    socket = Path(engine.host.removeprefix("unix://"))
    return {
        "DOCKER_SOCKET": str(socket),
        "DOCKER_GID": str(socket.stat().st_gid),
        "REDIS_IMAGE": REDIS_IMAGE,
        "REDIS_PORT": str(port),
        "REACTOR_IMAGE": "reactor-test/reactor:latest",
        "REACTOR_STOP_GRACE": "1s",
    }


@pytest.fixture(scope="module")
def session_image(engine: Engine, idle_image: str) -> Iterator[str]:
    """Yield the image that the shipped template names, made from the idle one where it is missing."""
    had = engine.has_image(SESSION_IMAGE)
    if not had:
        engine.run("tag", idle_image, SESSION_IMAGE)
    try:
        yield SESSION_IMAGE
    finally:
        if not had:
            engine.run("rmi", "--no-prune", SESSION_IMAGE)


@pytest.fixture(scope="module")
def compose(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """Return the shipped compose file as a project of its own."""
    addition = tmp_path_factory.mktemp("compose") / "build.yml"
    addition.write_text(BUILD_ON_HOST_NETWORK)
    return Compose(
        engine=engine,
        project=f"srtest{os.getpid()}",
        files=(REPOSITORY / "docker-compose.yml", addition),
        environment=settings(engine, free_port()),
    )


@pytest.fixture(scope="module")
def stack(engine: Engine, compose: Compose, python_image: str, session_image: str) -> Iterator[Stack]:
    """Yield the project after `docker compose up`; afterwards take it down and see that nothing is left."""
    assert python_image
    assert session_image
    images.redis_base(engine, REDIS_IMAGE)
    running = Stack(compose=compose, engine=engine, port=int(compose.environment["REDIS_PORT"]))
    try:
        bring_up(compose)
        yield running
    finally:
        engine.remove(*running.sessions())
        compose.run("down", "--volumes", "--timeout", "10")
    assert running.left() == ""
    assert running.sessions() == []


def bring_up(compose: Compose) -> None:
    """Start the project; where it does not come up, the services' own words are the error."""
    try:
        compose.run("up", "--build", "--detach", "--wait")
    except ComposeError as error:
        raise AssertionError(f"{error}\n{compose.run('logs', '--no-color')}") from error


def test_the_file_is_valid_and_keeps_no_secret(compose: Compose) -> None:
    """`docker compose config` takes it; every password in it is empty until somebody sets one."""
    shown: dict[str, Any] = json.loads(compose.run("config", "--format", "json"))
    given: dict[str, str] = shown["services"]["passwords"]["environment"]
    assert {name: value for name, value in given.items() if name.endswith("PASSWORD")} == dict.fromkeys(
        ("CLIENT_PASSWORD", "REACTOR_PASSWORD", "OBSERVER_PASSWORD"), ""
    )
    assert shown["services"]["reactor"]["environment"]["REDIS_URL_FILE"].startswith("/run/")


def test_a_session_lives_by_its_heartbeat_and_its_container_goes_after_the_last_one(stack: Stack) -> None:
    """Acquired through the reactor, touched by a client over the published port, seen by `docker ps`, then let go."""
    session = stack.reactor("acquire", "user-1", "--ttl", f"{TTL}s")
    assert stack.sessions() == [session["container_id"]]
    assert stack.engine.inspect(session["container_id"])["State"]["Running"]
    with stack.login("client") as client:
        beaten_until = time.monotonic() + 2 * TTL

        def beats() -> bool:
            assert ask(client, "EXPIRE", session["heartbeat_key"], TTL) == 1
            return time.monotonic() > beaten_until

        block_until(beats, 5 * TTL, "twice its TTL has passed and the session still lives")
        assert stack.sessions() == [session["container_id"]]
        block_until(lambda: not stack.sessions(), 60, "the container of a silent client is gone")
        assert ask(client, "EXPIRE", session["heartbeat_key"], TTL) == 0


def test_a_client_ends_its_session_with_expire_0(stack: Stack) -> None:
    """The one command that a client has is enough to leave."""
    session = stack.reactor("acquire", "user-2")
    with stack.login("client") as client:
        assert ask(client, "EXPIRE", session["heartbeat_key"], 0) == 1
    block_until(lambda: session["container_id"] not in stack.sessions(), 60, "the container is gone")


def test_an_observer_sees_the_sessions_and_changes_nothing(stack: Stack) -> None:
    """`ls`, `get` and `events` need no more than the observer's rights; it cannot end what it sees."""
    session = stack.reactor("acquire", "user-3")
    assert stack.reactor_as("observer", "ls").splitlines()[1].startswith("user-3 ")
    assert json.loads(stack.reactor_as("observer", "get", "user-3", "--json"))["state"] == "running"
    assert "started" in stack.reactor_as("observer", "events", "user-3")
    with pytest.raises(ComposeError, match="exit 77"):
        stack.reactor_as("observer", "terminate", "user-3")
    assert stack.sessions() == [session["container_id"]]
    stack.compose.run("exec", "-T", "reactor", "reactor", "terminate", "user-3")
    assert stack.sessions() == []


def test_the_doctor_finds_nothing_wrong(stack: Stack) -> None:
    """Permissions, notifications, eviction, persistence, engine and template of the shipped files, each tried."""
    report = stack.compose.run("exec", "-T", "reactor", "reactor", "doctor")
    assert {line.split()[0] for line in report.splitlines()} == {"ok"}, report


def test_a_second_up_and_a_restart_keep_passwords_and_sessions(stack: Stack) -> None:
    """Both services replaced: the same password logs in, the same container answers to the same id."""
    session = stack.reactor("acquire", "user-4")
    with stack.login("client") as client:
        assert ask(client, "PING")
    before = stack.service("redis")["Id"]
    stack.compose.run("up", "--detach", "--wait", "--force-recreate")
    assert stack.service("redis")["Id"] != before
    with stack.login("client") as client:
        assert ask(client, "EXPIRE", session["heartbeat_key"], 900) == 1
    again = stack.reactor("acquire", "user-4")
    assert (again["created"], again["container_id"]) == (False, session["container_id"])
    stack.compose.run("exec", "-T", "reactor", "reactor", "terminate", "user-4")


def test_no_service_leaves_a_volume_without_a_name_behind(stack: Stack) -> None:
    """What is kept is in the two volumes of the file; none is made anew at each start."""
    mounts = [mount for name in SERVICES for mount in stack.service(name)["Mounts"] if mount["Type"] == "volume"]
    assert {mount["Name"].removeprefix(f"{stack.compose.project}_") for mount in mounts} == {"data", "secrets"}


def test_the_reactor_drains_on_stop_and_comes_back(stack: Stack) -> None:
    """`docker compose stop` ends it with exit code 0 well before the engine would kill it."""
    stack.compose.run("stop", "reactor")
    assert stack.service("reactor")["State"]["ExitCode"] == 0
    stack.compose.run("up", "--detach", "--wait")
    assert stack.service("reactor")["State"]["Health"]["Status"] == "healthy"


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_hardened(stack: Stack, name: str) -> None:
    """Read-only root, no capability beyond those named, no new privileges, never privileged."""
    host = stack.service(name)["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert sorted(host["CapAdd"] or []) == (["CHOWN", "DAC_OVERRIDE"] if name == "passwords" else [])


def test_neither_redis_nor_the_reactor_is_root_and_only_redis_is_reachable_on_loopback(stack: Stack) -> None:
    """A numeric user each; one port, on 127.0.0.1."""
    server, sidecar = stack.service("redis"), stack.service("reactor")
    assert (server["Config"]["User"], sidecar["Config"]["User"]) == ("999", "10001:10001")
    ports = server["NetworkSettings"]["Ports"]
    assert ports == {"6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]}
    assert not any(sidecar["NetworkSettings"]["Ports"].values())


def test_the_image_of_the_reactor_holds_no_build_tool(stack: Stack) -> None:
    """The final stage has neither pip nor hatchling beside the reactor, and runs the sidecar unless told otherwise."""
    look = "import importlib.util as u; print([n for n in ('pip', 'hatchling', 'setuptools') if u.find_spec(n)])"
    assert stack.compose.run("exec", "-T", "reactor", "python", "-c", look) == "[]"
    config = stack.engine.inspect("reactor-test/reactor:latest")["Config"]
    assert (config["Entrypoint"], config["Cmd"], config["User"]) == (["reactor"], ["run"], "10001:10001")
    assert "/livez" in " ".join(config["Healthcheck"]["Test"])
