"""`reactor selftest` on a real Redis and a real engine: what it says is true, and nothing of it or by it remains.

These are not the claims that it makes to its reader; here somebody else looks whether they hold.
They keep this: other people's keys, containers and subscriptions are as they were.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.cli.command import all_keys
from tests.selftest.conftest import left_on
from tests.selftest.user import PREFIX_LABEL, REPOSITORY, ZEROES, User
from tests.services.engine import Engine
from tests.services.redis import RedisServer, private_redis

pytestmark = pytest.mark.timeout(240)
"""A run has to wait for many deadlines."""
DEAD = "selftest_5f00000012345678"
"""The prefix of a run in the year 2020."""
TITLES = ("leaks", "double spawns", "wrong kills", "early kills", "foreign containers touched")


@contextmanager
def _others(engine: Engine, image: str, names: dict[str, dict[str, str]]) -> Generator[dict[str, object]]:
    """Containers of somebody else with these labels, and the engine's description of each."""
    made: dict[str, object] = {}
    try:
        for name, labels in names.items():
            words = [word for pair in labels.items() for word in ("--label", "=".join(pair))]
            engine.run("run", "--detach", "--init", "--name", name, *words, image, "sleep", "3600")
            made[name] = engine.inspect(name)
        yield made
    finally:
        engine.remove(*made)


def _subscriber_id(client: redis.Redis, name: str) -> list[str]:
    return [each["id"] for each in client.client_list() if each["name"] == name]


def test_it_passes_on_docker_and_touches_nothing_else(
    selftester: User, watched_engine: Engine, redis_server: RedisServer, idle_image: str, tmp_path: Path
) -> None:
    """The engine itself saw its sessions come and go; containers, keys and subscribers of others are as they were.

    What a selftest of long ago left behind is gone afterwards; what only looks like it is not.
    """
    ours = {PREFIX_LABEL: "mcp", "session-reactor.deployment": "selftest-5f00000012345678"}
    near = {f"{DEAD}-decoy-others": {"made": "by hand"}, f"x-{DEAD}-decoy-bare": {}, "st-mcp-1": ours}
    with (
        redis.Redis.from_url(redis_server.url) as client,
        redis.Redis.from_url(redis_server.url, client_name="somebody") as listener,
        listener.pubsub() as pubsub,
        _others(watched_engine, idle_image, near) as before,
        _engine_events(watched_engine, tmp_path / "events"),
    ):
        pubsub.psubscribe("__keyspace@0__:*")
        subscriber = _subscriber_id(client, "somebody")
        client.lpush("mcp:session:a", "of a real deployment")
        client.mset({"selftest": "x", f"{DEAD[:-1]}:a": "x", f"{DEAD}0:a": "x"})
        keys = all_keys(redis_server.url)
        client.mset({f"{DEAD}:session:a": "x", f"{DEAD}:meta": "x"})
        watched_engine.run("run", "--detach", "--init", "--name", f"{DEAD}-decoy-bare", idle_image, "sleep", "3600")
        watched_engine.run("tag", idle_image, f"{REPOSITORY}:5f00000012345678")
        running = selftester.selftest("--json", DOCKER_HOST=watched_engine.host, REDIS_URL=redis_server.url)
        assert running.ends() == 0, (running.out, running.err)
        assert f"  warn  leftovers: of a selftest that was killed, {DEAD}: removed" in running.err
        assert {name: watched_engine.inspect(name) for name in before} == before
        assert all_keys(redis_server.url) == keys
        assert _subscriber_id(client, "somebody") == subscriber
    result = running.result
    assert {name: result[name] for name in ZEROES} == dict.fromkeys(ZEROES, 0)
    assert (result["verdict"], result["failures"], result["skipped"]) == ("passed", [], [])
    assert result["lag_ms"]["sessions"] >= 7
    assert 0 < result["lag_ms"]["p50"] <= result["lag_ms"]["p99"]
    assert set(result["recovery_s"]) == {"subscription", "reactor", "data"}
    _assert_seen_by_the_engine(tmp_path / "events", running.prefix, result["sessions"])
    assert left_on(watched_engine, DEAD) == []
    selftester.assert_nothing_left()


@contextmanager
def _engine_events(engine: Engine, file: Path) -> Generator[None]:
    """Write down what the engine does meanwhile: it remembers only the last few of its own events."""
    command = ["docker", "events", "--filter", "type=container", "--format", "{{json .}}"]
    with file.open("wb") as out:
        listener = subprocess.Popen(command, env={**os.environ, "DOCKER_HOST": engine.host}, stdout=out)
    try:
        yield
    finally:
        listener.terminate()
        listener.wait()


def _assert_seen_by_the_engine(file: Path, prefix: str, sessions: int) -> None:
    events = [json.loads(line) for line in file.read_text().splitlines()]
    for what in ("start", "destroy"):
        actors = [event["Actor"] for event in events if event["Action"] == what]
        ours = [actor for actor in actors if actor["Attributes"].get(PREFIX_LABEL) == prefix]
        assert len({actor["ID"] for actor in ours}) == len(ours) > sessions
        images = {actor["Attributes"]["image"] for actor in ours}
        assert images == {f"{REPOSITORY}:{prefix.removeprefix('selftest_')}"}


def test_it_passes_with_processes_and_without_the_right_to_close_connections(selftester: User) -> None:
    """No Docker is needed; what an ACL forbids is left out and said, and is no failure."""
    with private_redis() as server:
        with redis.Redis.from_url(server.url) as client:
            client.acl_setuser(
                "limited", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-client|kill"]
            )
        url = server.url.replace("redis://", "redis://limited:x@")
        running = selftester.selftest(
            "--runtime", "process", "--sessions", "8", REDIS_URL=url, DOCKER_HOST="unix:///no/such.sock"
        )
        assert running.ends() == 0, (running.out, running.err)
        assert all_keys(server.url) == {}
    assert "  warn  cut: skipped: needs CLIENT LIST, KILL and SETNAME" in running.err
    table = dict(re.split(r"  +", line, maxsplit=1) for line in running.out.splitlines())
    assert {title: table[title] for title in TITLES} == dict.fromkeys(TITLES, "0")
    assert (table["verdict"], table["recovery, subscription cut"]) == ("passed", "-")
    assert re.fullmatch(r"\d+ ms \(deadline to container gone, \d+ sessions\)", table["kill lag p99"])
    selftester.assert_nothing_left()


def test_a_container_that_goes_while_its_client_lives_is_a_wrong_kill_and_the_verdict_says_whose(
    selftester: User, watched_engine: Engine, redis_server: RedisServer, idle_image: str
) -> None:
    """Somebody removes a living session's container and a decoy: failed, exit 1, both named, all the rest cleaned up.

    The sessions are of the user's own template here.
    """
    template = f'[template.mine]\nimage = "{idle_image}"\ncommand = ["sleep", "3600"]\n'
    (selftester.files / "reactor.toml").write_text(template)
    running = selftester.selftest(
        "--json", "--sessions", "6", "--template", "mine", DOCKER_HOST=watched_engine.host, REDIS_URL=redis_server.url
    )
    running.passes("acquire")
    of = {PREFIX_LABEL: running.prefix, "session-reactor.session": "steady-1"}
    (victim,) = watched_engine.containers(of)
    assert watched_engine.inspect(victim)["Config"]["Image"] == idle_image
    watched_engine.remove(victim, f"{running.prefix}-decoy-foreign")
    assert running.ends() == 1, (running.out, running.err)
    result = running.result
    assert [result[name] for name in ZEROES] == [0, 0, 1, 0, 1]
    assert result["verdict"].startswith("failed: session steady-1: container")
    assert f"container {victim[:12]} of a client that was alive went" in result["failures"][0]
    assert result["failures"][1] == f"decoy {running.prefix}-decoy-foreign is gone"
    assert f"  fail  broken: {result['failures'][0]}" in running.err
    assert all_keys(redis_server.url) == {}
    selftester.assert_nothing_left()


@pytest.mark.parametrize("runtime, number", [("docker", signal.SIGINT), ("process", signal.SIGTERM)])
def test_a_signal_ends_it_with_nothing_left(
    selftester: User, watched_engine: Engine, redis_server: RedisServer, runtime: str, number: signal.Signals
) -> None:
    """Ctrl-C in the middle of it: containers, image, processes, files and keys are gone, and there is no verdict."""
    running = selftester.selftest("--runtime", runtime, DOCKER_HOST=watched_engine.host, REDIS_URL=redis_server.url)
    running.passes("acquire")
    assert all_keys(redis_server.url) != {}
    running.process.send_signal(number)
    assert running.ends() == 128 + number, (running.out, running.err)
    assert running.out == ""
    assert running.err.splitlines()[-1] == "reactor: interrupted; cleaning up"
    assert all_keys(redis_server.url) == {}
    selftester.assert_nothing_left()


@pytest.mark.parametrize(
    "arguments, environment, code, line",
    [
        ([], {"DOCKER_HOST": "unix:///no/such.sock"}, 69, "engine: no Docker engine at"),
        ([], {"REDIS_URL": "redis://127.0.0.1:1"}, 69, "redis: cannot reach Redis at 127.0.0.1:1"),
        (["--sessions", "5"], {}, 64, "--sessions is 6 to 1000"),
        (["--template", "none"], {}, 64, "unknown template"),
        (["--prefix", "mcp"], {}, 64, "leave --prefix out"),
    ],
)
def test_what_cannot_run_is_one_line_and_the_right_code(
    selftester: User,
    redis_server: RedisServer,
    arguments: list[str],
    environment: dict[str, str],
    code: int,
    line: str,
) -> None:
    """No verdict is given where nothing was tried."""
    running = selftester.selftest(*arguments, **{"REDIS_URL": redis_server.url, **environment})
    assert (running.ends(), running.out) == (code, ""), running.err
    (said,) = [each for each in running.err.splitlines() if each.startswith("reactor: ")]
    assert line in said
    assert all_keys(redis_server.url) == {}
    selftester.assert_nothing_left()


def test_a_wrong_password_is_77(selftester: User) -> None:
    """As everywhere in this program."""
    with private_redis(password="right") as server:  # noqa: S106 (a test's)
        running = selftester.selftest(REDIS_URL=server.url.replace(":right@", ":wrong@"))
        assert (running.ends(), running.out) == (77, ""), running.err
    assert "refused the password" in running.err
    assert "wrong" not in running.err
