"""The private servers and images themselves."""

from collections.abc import Mapping
from typing import cast

import pytest
import redis

from tests.services.engine import Engine
from tests.services.redis import Flavour, RedisServer, private_redis
from tests.waiting import block_until


@pytest.mark.parametrize("flavour", list(Flavour))
def test_a_private_server_keeps_its_address_over_a_crash(flavour: Flavour) -> None:
    """A server that was killed comes back on the same port, empty; when it is removed nothing is left."""
    with private_redis(flavour, {"hz": "50"}) as server:
        with redis.Redis.from_url(server.url) as client, redis.Redis.from_url(server.socket_url) as by_socket:
            client.set("key", "value")
            assert by_socket.get("key") == b"value"
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("key") is None
    assert not server.directory.exists()


def test_a_private_server_may_ask_for_a_password() -> None:
    """The address carries the password, and without it the server refuses."""
    with private_redis(password="s3cret") as server, redis.Redis.from_url(server.url) as client:  # noqa: S106
        assert client.ping()


def test_the_shared_redis_publishes_the_end_of_keys(redis_server: RedisServer) -> None:
    """A DEL on the shared server reaches a subscriber of the keyspace."""
    with redis.Redis.from_url(redis_server.url) as client, client.pubsub() as listener:
        listener.psubscribe("__keyspace@0__:*")
        listener.get_message(timeout=5)
        client.set("key", "value")
        client.delete("key")
        heard: list[object] = []

        def del_was_heard() -> bool:
            message = cast("Mapping[str, object] | None", listener.get_message(timeout=0.1))
            heard.append(message["data"] if message else None)
            return b"del" in heard

        block_until(del_was_heard)


def test_an_idle_container_can_be_reached(engine: Engine, idle_image: str) -> None:
    """A container of the idle image runs a web server that a published port on loopback reaches."""
    command = ["httpd", "-f", "-p", "8000", "-h", "/etc"]
    container = engine.run("run", "--detach", "--init", "--publish", "127.0.0.1::8000", idle_image, *command)
    try:
        address = engine.inspect(container)["NetworkSettings"]["IPAddress"]
        fetched = engine.run("run", "--rm", idle_image, "wget", "-qO-", f"http://{address}:8000/passwd")
        assert fetched.startswith("root:")
        assert container in engine.containers(running=True)
    finally:
        engine.remove(container)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_python_base_installs_packages(engine: Engine, python_image: str) -> None:
    """A build on the Python base reaches this machine's package index over the host's network."""
    source = f"FROM {python_image}\nLABEL session-reactor-test=image\nRUN python -m pip install --no-cache-dir click\n"
    engine.run("build", "--network", "host", "--tag", "reactor-test/click", "-", stdin=source.encode())
    assert "Version" in engine.run("run", "--rm", "reactor-test/click", "python", "-m", "pip", "show", "click")
