"""What only the Docker runtime does: hardened containers, ports, images, volumes, and the ways into the engine."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from reactor.errors import ConfigError, ImageMissing, PermissionRefused, ReactorError, SpawnFailed, Unavailable
from reactor.runtime.docker import DockerRuntime
from reactor.runtime.docker_transport import open_transport
from reactor.runtime.protocol import ContainerState, NameTaken, Removal
from reactor.session import Endpoint
from reactor.templates import Template
from tests.runtime.kits import AT_ONCE, Kit
from tests.runtime.wire import reply, serve
from tests.services.engine import Engine
from tests.waiting import wait_until


async def test_a_container_is_hardened_unless_its_template_opens_something(docker: Kit, engine: Engine) -> None:
    """The defaults: no capability, no new privileges, read-only root, limits, an init, no restart, no self-removal."""
    container_id = await docker.run()
    config = engine.inspect(container_id)["HostConfig"]
    assert (config["Init"], config["AutoRemove"], config["RestartPolicy"]["Name"]) == (True, False, "no")
    assert (config["CapDrop"], config["CapAdd"], config["Privileged"]) == (["ALL"], [], False)
    assert config["SecurityOpt"] == ["no-new-privileges:true"]
    assert config["ReadonlyRootfs"] is True
    assert config["Tmpfs"] == {"/tmp": "rw,nosuid,nodev,size=64m"}  # noqa: S108 (a path in the container)
    assert (config["Memory"], config["MemorySwap"]) == (512 * 1024 * 1024, 512 * 1024 * 1024)
    assert (config["NanoCpus"], config["PidsLimit"], config["NetworkMode"]) == (1_000_000_000, 256, "none")
    assert (config["PortBindings"], config["Binds"], config["OomScoreAdj"]) == ({}, [], 0)
    assert config["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}


async def test_a_template_opens_what_it_names(docker: Kit, engine: Engine, tmp_path: Path) -> None:
    """User, directory, writable root, tmpfs, a capability and a volume reach the engine."""
    template = docker.template(
        user="65534:65534",
        working_dir="/bin",
        read_only=False,
        tmpfs=("/run:size=1m",),
        cap_add=("NET_BIND_SERVICE",),
        volumes=(f"{tmp_path}:/out",),
    )
    found = engine.inspect(await docker.run(template=template))
    assert (found["Config"]["User"], found["Config"]["WorkingDir"]) == ("65534:65534", "/bin")
    assert found["HostConfig"]["ReadonlyRootfs"] is False
    assert found["HostConfig"]["Tmpfs"]["/run"] == "rw,nosuid,nodev,size=64m,size=1m"
    assert found["HostConfig"]["CapAdd"] == ["NET_BIND_SERVICE"]
    assert found["HostConfig"]["Binds"] == [f"{tmp_path}:/out"]


async def test_a_port_is_published_on_loopback_only(docker: Kit) -> None:
    """Each port gets a random port of 127.0.0.1; the container's own address is told too."""
    container_id = await docker.run(template=docker.template(network="bridge", ports=("8000/tcp", "53/udp")))
    found = await docker.runtime.inspect(container_id)
    assert found is not None
    assert found.address is not None
    assert set(found.address.ports) == {"8000/tcp", "53/udp"}
    for end in found.address.ports.values():
        assert end == Endpoint(host="127.0.0.1", port=end.port)
        assert end.port > 0
    assert found.address.ip


async def test_environment_of_template_and_session_reach_the_program(docker: Kit) -> None:
    """SESSION_ID is added to what the template says."""
    template = docker.template(("sh", "-c", "echo $LEVEL $SESSION_ID; sleep 1000"), environment={"LEVEL": "info"})
    container_id = await docker.run("user-7", template)

    async def said() -> bool:
        return await docker.runtime.last_output(container_id) == "info user-7"

    await wait_until(said)


async def test_the_stop_signal_lets_a_program_end_by_itself(docker: Kit, tmp_path: Path) -> None:
    """Within the grace a program may write down what it has."""
    script = "trap 'echo bye > /out/last; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    template = docker.template(("sh", "-c", script), volumes=(f"{tmp_path}:/out",))
    container_id = await docker.run(template=template)

    async def up() -> bool:
        return await docker.runtime.last_output(container_id) == "up"

    await wait_until(up)
    assert await docker.runtime.remove(container_id, grace=timedelta(seconds=20)) is Removal.REMOVED
    assert (tmp_path / "last").read_text() == "bye\n"


async def test_anonymous_volumes_go_with_the_container(docker: Kit, engine: Engine) -> None:
    """A teardown leaves no volume behind."""
    container_id = await docker.run(template=docker.template(volumes=("/data",)))
    volume = engine.inspect(container_id)["Mounts"][0]["Name"]
    assert volume in engine.run("volume", "ls", "--quiet").split()
    await docker.runtime.remove(container_id, grace=AT_ONCE)
    assert volume not in engine.run("volume", "ls", "--quiet").split()


async def test_a_container_out_of_memory_says_so(docker: Kit) -> None:
    """The reason of a death is told, with what to change."""
    template = docker.template(("sh", "-c", "tail /dev/zero; exit 9"), memory=8 * 1024 * 1024)
    container_id = await docker.run(template=template)

    async def dead() -> bool:
        found = await docker.runtime.inspect(container_id)
        return found is not None and found.state is ContainerState.DEAD and "out of memory" in found.detail

    await wait_until(dead, timeout=30)


async def test_a_missing_image_and_a_pull_that_cannot_work_are_image_missing(docker: Kit) -> None:
    """Nothing is pulled inside create; a pull that fails says why."""
    template = Template(name="t", image="127.0.0.1:9/no/such", command=("x",))
    with pytest.raises(ImageMissing, match="no/such"):
        await docker.runtime.create(docker.spec(template=template))
    with pytest.raises(ImageMissing, match="cannot be pulled"):
        await docker.runtime.pull(template.image)


@pytest.mark.parametrize(
    "changes", [{"memory": 1000}, {"volumes": ("/a:b",)}, {"user": "no-such-user"}, {"network": "no-such-network"}]
)
async def test_what_the_engine_can_never_run_is_spawn_failed(docker: Kit, changes: dict[str, Any]) -> None:
    """Whether the engine refuses at create or at start, and with which code, the answer is the same."""
    with pytest.raises(SpawnFailed):
        await docker.run(template=docker.template(**changes))


async def test_a_foreign_holder_of_the_name_is_told_and_has_no_labels_of_ours(docker: Kit, engine: Engine) -> None:
    """Somebody's own container in the way is seen as what it is, and is not listed."""
    spec = docker.spec()
    made = engine.run("create", "--name", spec.name, "--label", "session-reactor.prefix=mcp2", docker.image, "true")
    try:
        with pytest.raises(NameTaken) as taken:
            await docker.runtime.create(spec)
        assert taken.value.holder == made
        found = await docker.runtime.inspect(made)
        assert found is not None
        assert found.labels is None
        assert made not in {one.container_id for one in await docker.runtime.containers(prefix="mcp")}
    finally:
        engine.remove(made)


async def test_a_removal_by_hand_at_the_same_time_is_waited_for(docker: Kit, engine: Engine) -> None:
    """`docker rm -f` beside ours: ours returns when the container is gone, whoever was first."""
    container_id = await docker.run()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, engine.remove, container_id)
        await docker.runtime.remove(container_id, grace=AT_ONCE)
        assert await docker.runtime.inspect(container_id) is None


@pytest.mark.parametrize(
    "image, volumes, problem",
    [("", (), "image is missing"), ("x", ("/a:b",), "no absolute path"), ("x", ("/a:/b:ro", "/c", "named:/d"), None)],
)
async def test_a_template_that_cannot_run_here_is_a_problem(
    docker: Kit, image: str, volumes: tuple[str, ...], problem: str | None
) -> None:
    """Contradictions are found before the first acquire."""
    found = docker.runtime.problems(Template(name="t", image=image, volumes=volumes))
    assert found is problem is None or (problem is not None and found is not None and problem in found)


@pytest.mark.parametrize(
    "host, error, text",
    [
        ("unix:///no/such/docker.sock", Unavailable, "no such socket"),
        ("tcp://127.0.0.1:1", Unavailable, "refused"),
        ("gopher://x", ConfigError, "DOCKER_HOST"),
        ("tcp://x", ConfigError, "port is required"),
    ],
)
async def test_an_engine_that_is_not_there_is_one_clear_line(host: str, error: type[ReactorError], text: str) -> None:
    """The line names the address and what to look at."""
    with pytest.raises(error, match=text) as caught:
        await DockerRuntime.connect(host)
    assert host in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_certificates_that_are_not_there_are_a_configuration_error(tmp_path: Path) -> None:
    """TLS with an empty directory cannot work, and says so before anything is sent."""
    with pytest.raises(ConfigError, match="certificate"):
        await DockerRuntime.connect("tcp://127.0.0.1:1", tls_verify=True, cert_path=str(tmp_path))


@pytest.mark.parametrize(
    "answer, text",
    [
        (reply(200, {"ApiVersion": "1.24"}), "too old"),
        (reply(200, {"hello": "world"}), "no Docker engine"),
        (reply(404, b"<html>", content_type="text/html"), "did not answer properly"),
        (b"SSH-2.0-nonsense\r\n", "did not answer properly"),
        (None, "did not answer properly"),
    ],
)
async def test_what_is_no_engine_or_too_old_is_unavailable(tmp_path: Path, answer: bytes | None, text: str) -> None:
    """Another server on that socket is told from an engine."""

    async def answering(_: object) -> bytes | None:
        return answer

    async with serve(tmp_path / "s.sock", answering) as host:
        with pytest.raises(Unavailable, match=text):
            await DockerRuntime.connect(host)


def test_a_socket_that_this_user_may_not_open_is_permission_refused(tmp_path: Path) -> None:
    """Exit code 77, and the line says which group helps."""
    path = tmp_path / "docker.sock"
    caught: list[Exception] = []

    def connect() -> None:
        if os.geteuid() == 0:
            # Of this thread alone: the kernel now looks at its file accesses as at those of another user.
            ctypes.CDLL(None).setfsuid(65534)
        try:
            open_transport(f"unix://{path}", tls_verify=False, cert_path=None)
        except ReactorError as error:
            caught.append(error)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
    assert [type(error) for error in caught] == [PermissionRefused]
    assert "group" in str(caught[0])
