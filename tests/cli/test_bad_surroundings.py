"""Bad surroundings through the command line: images, servers and keys that are not what they should be.

These are not bad words (test_bad_input); here the words are right and the world is not.
They keep this: one clear line, the right exit code, and whatever was there before is there afterwards.
"""

import os
import shutil
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import redis

from tests.cli.command import Cli, all_keys, containers
from tests.cli.test_bad_input import assert_refused, sessions_in
from tests.services.engine import Engine
from tests.services.redis import RedisServer, private_redis

NOBODY = 65534


@pytest.mark.parametrize(
    "template, text",
    [
        ('image = "reactor-test/missing:1"', "reactor-test/missing:1"),
        ('image = "IDLE"\ncommand = ["/no/such/program"]', "/no/such/program"),
        ('image = "IDLE"\ncommand = ["sh", "-c", "echo broken; exit 3"]', "3"),
    ],
    ids=["missing image", "command that does not start", "container that exits at once"],
)
def test_a_container_that_cannot_run_is_an_error_and_leaves_none(  # noqa: PLR0913, PLR0917 (fixtures)
    user: Cli, redis_server: RedisServer, engine: Engine, deployment: str, idle_image: str, template: str, text: str
) -> None:
    """Exit 78 twice: the first failure leaves nothing that changes the second answer."""
    bystander = user("acquire", "bystander", "--json").json["container_id"]
    user.write(f"[template.default]\n{template.replace('IDLE', idle_image)}\n")
    for _ in range(2):
        assert_refused(user("acquire", "a"), 78, text)
        assert containers(engine, deployment) == [bystander]
        with redis.Redis.from_url(redis_server.url) as client:
            assert client.hget("mcp:session:a", "state") == b"ended"
            assert not client.exists("mcp:session:a:heartbeat")
    assert [session["session_id"] for session in user("ls", "--json").lines] == ["bystander"]


def test_a_port_that_never_gets_ready_is_worth_another_try_and_leaves_no_container(
    user: Cli, engine: Engine, deployment: str, idle_image: str
) -> None:
    """Exit 75 within the time that an acquire may take."""
    user.write(f'[template.default]\nimage = "{idle_image}"\nnetwork = "bridge"\nready = "tcp:8000"\n')
    assert_refused(user("acquire", "a", REACTOR_ACQUIRE_TIMEOUT="3s"), 75, "tcp:8000")
    assert containers(engine, deployment) == []


def test_a_wrong_or_missing_redis_password_is_a_permission_error(user: Cli) -> None:
    """Exit 77, and neither password is repeated."""
    with private_redis(password="right-one") as server:  # noqa: S106
        before = all_keys(server.url)
        for credentials in (":wrong-one@", ""):
            url = f"redis://{credentials}127.0.0.1:{server.port}"
            for words in (["acquire", "a"], ["ls"], ["heartbeat", "a"], ["run"], ["reconcile"]):
                done = user(*words, REDIS_URL=url)
                assert_refused(done, 77, f"127.0.0.1:{server.port}")
                assert "wrong-one" not in done.err
        assert all_keys(server.url) == before


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", b"", None])
def test_a_server_that_is_no_redis_is_refused_and_never_waited_for(user: Cli, answer: bytes | None) -> None:
    """Exit 69, whether it answers something else, hangs up, or says nothing at all."""
    with listener(answer) as port:
        for words in (["acquire", "a"], ["get", "a"], ["run"]):
            assert_refused(user(*words, REDIS_URL=f"redis://127.0.0.1:{port}"), 69, f"127.0.0.1:{port}")


def test_a_redis_that_cannot_be_reached_is_named(user: Cli, engine: Engine, deployment: str) -> None:
    """Exit 69 from every command that needs it, with the address."""
    with listener(b"") as port:
        pass
    for words in (["acquire", "a"], ["heartbeat", "a"], ["get", "a"], ["ls"], ["terminate", "a"], ["run"]):
        assert_refused(user(*words, REDIS_URL=f"redis://127.0.0.1:{port}"), 69, f"127.0.0.1:{port}")
    for words in (["reconcile"], ["reconcile", "--dry-run"], ["events"]):
        assert_refused(user(*words, REDIS_URL=f"redis://127.0.0.1:{port}"), 69, f"127.0.0.1:{port}")
    assert containers(engine, deployment) == []


def test_a_redis_cluster_is_refused(user: Cli) -> None:
    """Exit 69: one key per slot cannot carry the scripts."""
    with private_redis(options={"cluster-enabled": "yes"}) as server:
        for words in (["acquire", "a"], ["ls"], ["run"]):
            assert_refused(user(*words, REDIS_URL=server.url), 69, "Cluster")
        assert all_keys(server.url) == {}


def test_a_replica_is_refused(user: Cli, redis_server: RedisServer) -> None:
    """Exit 69: its word about a missing key proves nothing."""
    with private_redis(options={"replicaof": f"127.0.0.1 {redis_server.port}"}) as server:
        assert_refused(user("acquire", "a", REDIS_URL=server.url), 69, "primary")


@pytest.mark.parametrize("key", ["mcp:session:a", "mcp:session:a:heartbeat", "mcp:meta", "mcp:host:HOST:due"])
def test_a_key_of_ours_with_another_type_is_left_alone(
    user: Cli, redis_server: RedisServer, engine: Engine, deployment: str, key: str
) -> None:
    """Exit 78; the key is as it was, and no container was made."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.lpush(key.replace("HOST", deployment), "not ours")
    before = all_keys(redis_server.url)
    assert_refused(user("acquire", "a"), 78)
    after = all_keys(redis_server.url)
    assert {name: after.get(name) for name in before} == before
    assert sessions_in(redis_server).keys() <= before.keys()
    assert containers(engine, deployment) == []


def test_a_record_of_an_unknown_schema_is_left_alone(
    user: Cli, redis_server: RedisServer, engine: Engine, deployment: str
) -> None:
    """Exit 78 from each command that would have to read it; it is reported, and as it was."""
    container = user("acquire", "a", "--json").json["container_id"]
    with redis.Redis.from_url(redis_server.url) as client:
        client.hset("mcp:session:a", "schema", "99")
        before = sessions_in(redis_server)
        for verb in ("acquire", "get", "terminate"):
            assert_refused(user(verb, "a"), 78, "schema")
        user("reconcile")
        assert sessions_in(redis_server) == before
    assert containers(engine, deployment) == [container]


def test_an_engine_that_is_not_there_is_named_and_needed_only_where_containers_are(
    user: Cli, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Exit 69 from acquire, terminate, reconcile and run; the others never ask it."""
    missing = f"unix://{tmp_path}/missing.sock"
    for words in (["acquire", "a"], ["terminate", "a"], ["reconcile"], ["run"]):
        assert_refused(user(*words, DOCKER_HOST=missing), 69, "missing.sock")
    assert sessions_in(redis_server) == {}
    assert user("ls", "--json", DOCKER_HOST=missing).code == 0
    assert user("heartbeat", "a", DOCKER_HOST=missing).code == 1
    assert user("events", DOCKER_HOST=missing).code == 0


def test_an_engine_socket_that_this_user_may_not_open_is_a_permission_error(
    user: Cli, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Exit 77, with the socket's name."""
    path = tmp_path / "closed.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        path.chmod(0)
        for words in (["acquire", "a"], ["run"]):
            done = user(*words, prefix=as_an_ordinary_owner(path), DOCKER_HOST=f"unix://{path}")
            assert_refused(done, 77, "closed.sock")
    assert sessions_in(redis_server) == {}


def as_an_ordinary_owner(path: Path) -> list[str]:
    """Return what to put in front of a command so that modes of files hold for it, as they do not for root."""
    if os.geteuid() != 0:
        return []
    os.chown(path, NOBODY, NOBODY)
    program = shutil.which("setpriv")
    assert program is not None, "root needs setpriv (util-linux) for this test"
    return [program, "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]


@contextmanager
def listener(answer: bytes | None) -> Generator[int]:
    """A TCP port that gives each caller `answer` and hangs up; None: it accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=_answer_all, args=(server, answer))
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer_all(server: socket.socket, answer: bytes | None) -> None:
    callers: list[socket.socket] = []
    while True:
        try:
            caller, _ = server.accept()
        except OSError:
            break
        if answer is None:
            callers.append(caller)
            continue
        with caller:
            if answer:
                caller.recv(1024)
                caller.sendall(answer)
    for caller in callers:
        caller.close()
