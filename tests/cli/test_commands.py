"""The commands on a real Redis and a real engine, as a user types them.

These are not the rules behind them; here it is what they print, and their exit codes.
They keep this: data on stdout, everything else on stderr.
"""

import json
import re
import subprocess
from datetime import datetime

import redis

from tests.cli.command import DEPLOYMENT_LABEL, Cli, assert_quiet, containers
from tests.services.engine import Engine
from tests.services.redis import RedisServer
from tests.waiting import block_until

SESSION_FIELDS = {
    "session_id",
    "state",
    "generation",
    "container_id",
    "host",
    "runtime",
    "template",
    "heartbeat_key",
    "ttl_ms",
    "expires_in_ms",
    "started_at",
    "last_active",
    "address",
}
PLAN_FIELDS = {"action", "kind", "session_id", "container_id", "generation", "reason", "age_s"}


def test_a_session_from_acquire_to_terminate(user: Cli, engine: Engine, deployment: str) -> None:
    """Each command says what is so at its time, and the engine agrees."""
    first = user("acquire", "user-1", "--ttl", "30s", "--json")
    assert_quiet(first)
    assert first.json.keys() == SESSION_FIELDS | {"created"}
    assert (first.json["created"], first.json["state"], first.json["ttl_ms"]) == (True, "running", 30000)
    assert containers(engine, deployment) == [first.json["container_id"]]
    again = user("acquire", "user-1", "--json")
    assert again.code == 0
    assert (again.json["created"], again.json["container_id"]) == (False, first.json["container_id"])
    got = user("get", "user-1", "--json")
    assert_quiet(got)
    assert got.json.keys() == SESSION_FIELDS
    assert datetime.fromisoformat(got.json["started_at"]) <= datetime.fromisoformat(got.json["last_active"])
    assert_quiet(user("heartbeat", "user-1"))
    assert user("heartbeat", "user-1", "--json").json == {"session_id": "user-1", "alive": True}
    ended = user("terminate", "user-1", "--json")
    assert_quiet(ended)
    assert ended.json == {"session_id": "user-1", "terminated": True}
    assert containers(engine, deployment) == []


def test_a_session_that_is_over_is_a_no_to_every_command_that_names_it(user: Cli) -> None:
    """Exit 1, whether it was never there or has ended."""
    assert user("acquire", "ended").code == 0
    assert user("terminate", "ended").code == 0
    for name in ("never", "ended"):
        for verb in ("get", "heartbeat", "terminate"):
            done = user(verb, name)
            assert (done.code, done.out) == (1, "")
            assert len(done.err.splitlines()) == 1
            assert name in done.err
    assert user("heartbeat", "never", "--json").json == {"session_id": "never", "alive": False}


def test_without_an_id_acquire_makes_a_random_one(user: Cli) -> None:
    """128 bits, so that it is a capability."""
    names = [user("acquire", "--json").json["session_id"] for _ in range(2)]
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in names)
    assert names[0] != names[1]


def test_the_line_that_acquire_prints_keeps_the_session(user: Cli, redis_server: RedisServer) -> None:
    """It can be copied as it stands: redis-cli takes it and Redis answers 1; it needs no library."""
    done = user("acquire", "user-1", "--ttl", "5m")
    assert_quiet(done)
    line = next(line for line in done.out.splitlines() if line.startswith("keep it"))
    command = line.removeprefix("keep it").split()
    assert command[-3:] == ["EXPIRE", "mcp:session:user-1:heartbeat", "300"]
    with redis.Redis.from_url(redis_server.url) as client:
        client.expire(command[-2], 100)
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert answer in {"1", "(integer) 1"}
        assert client.ttl(command[-2]) > 200


def test_ls_shows_all_sessions_and_refreshes_none(user: Cli, redis_server: RedisServer) -> None:
    """As a table, or as one object per line."""
    nothing = user("ls")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "reactor: no sessions\n")
    assert user("ls", "--json").out == ""
    for name in ("one", "two"):
        assert user("acquire", name).code == 0
    with redis.Redis.from_url(redis_server.url) as client:
        client.pexpire("mcp:session:one:heartbeat", 60_000)
        rows = {row["session_id"]: row for row in user("ls", "--json").lines}
        assert rows.keys() == {"one", "two"}
        assert rows["one"].keys() == SESSION_FIELDS
        assert user("get", "one").code == 0
        assert client.pttl("mcp:session:one:heartbeat") <= 60_000
    title, *lines = user("ls").out.splitlines()
    assert title.split() == ["SESSION", "STATE", "CONTAINER", "TEMPLATE", "AGE", "LEFT", "HOST"]
    assert [line.split()[:2] for line in lines] == [["one", "running"], ["two", "running"]]
    assert lines[0].split()[2] == rows["one"]["container_id"][:12]


def test_reconcile_shows_its_plan_and_then_does_it(user: Cli, engine: Engine, deployment: str) -> None:
    """A session whose container was removed by hand is drift until it is repaired."""
    assert user("acquire", "stays").code == 0
    assert user("reconcile", "--dry-run").code == 0
    lost = user("acquire", "lost", "--json").json["container_id"]
    engine.remove(lost)
    planned = user("reconcile", "--dry-run", "--json")
    assert (planned.code, planned.err) == (1, "")
    drift = [line for line in planned.lines if line["session_id"] == "lost"]
    assert [(line["action"], line["kind"]) for line in drift] == [("end", "lost")]
    assert drift[0].keys() == PLAN_FIELDS
    assert user("reconcile", "--dry-run").code == 1
    assert user("heartbeat", "lost").code == 0
    done = user("reconcile", "--json")
    assert (done.code, done.err) == (0, "")
    assert [line["outcome"] for line in done.lines if line["session_id"] == "lost"] == ["done"]
    assert user("heartbeat", "lost").code == 1
    assert user("reconcile", "--dry-run").code == 0
    assert len(containers(engine, deployment)) == 1


def test_reconcile_shows_containers_of_another_deployment_and_leaves_them_alone(
    user: Cli, engine: Engine, idle_image: str, deployment: str
) -> None:
    """They are no drift: both runs say so with an exit 0."""
    labels = {
        "prefix": "mcp",
        "deployment": f"{deployment}-other",
        "host": deployment,
        "db": "0",
        "session": "theirs",
        "generation": "1",
        "template": "default",
        "ttl": "2000",
        "token": "0",
    }
    words = [word for name, value in labels.items() for word in ("--label", f"session-reactor.{name}={value}")]
    foreign = engine.run("run", "--detach", *words, idle_image)
    try:
        for arguments in (["reconcile", "--dry-run", "--json"], ["reconcile", "--json"]):
            done = user(*arguments)
            assert_quiet(done)
            line = next(line for line in done.lines if line["container_id"] == foreign)
            assert (line["action"], line["kind"]) == ("ignore", "foreign")
        assert user("reconcile").err == "reactor: no drift\n"
        assert engine.inspect(foreign)["State"]["Running"]
    finally:
        engine.remove(foreign)


def test_events_tells_what_happened_to_a_session(user: Cli) -> None:
    """Of all sessions, or of one, in order."""
    for name in ("one", "two"):
        assert user("acquire", name).code == 0
    assert user("terminate", "one").code == 0
    done = user("events", "one", "--json")
    assert_quiet(done)
    assert [(entry["event"], entry["session_id"]) for entry in done.lines] == [("started", "one"), ("ended", "one")]
    ended = done.lines[-1]
    assert (ended["reason"], ended["detector"]) == ("terminated", "manual")
    assert {entry["session_id"] for entry in user("events", "--json").lines} >= {"one", "two"}
    assert "terminated" in user("events").out


def test_events_follows_what_happens_from_now_on(user: Cli) -> None:
    """Line by line, until it is interrupted."""
    assert user("acquire", "one").code == 0
    log = user.directory / "events"
    with log.open("wb") as out:
        process = subprocess.Popen(
            user.command("events", "--follow", "--json"), env=user.environment, cwd=user.directory, stdout=out
        )
    try:
        block_until(lambda: b"started" in log.read_bytes(), what="the entry that was there")
        assert user("terminate", "one").code == 0
        block_until(lambda: b'"ended"' in log.read_bytes(), what="the entry that came")
    finally:
        process.send_signal(2)
        assert process.wait(10) == 130
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["started", "ended"]


def test_doctor_finds_nothing_wrong_with_a_redis_and_an_engine_that_work(
    user: Cli, engine: Engine, deployment: str
) -> None:
    """One line per check, and its own container is gone."""
    done = user("doctor", "--json")
    assert done.code == 0, done
    assert {line["status"] for line in done.lines} <= {"ok", "warn"}
    assert all(line["fix"] for line in done.lines if line["status"] == "warn")
    assert engine.containers({DEPLOYMENT_LABEL: deployment}) == []
    assert len(user("doctor").out.splitlines()) == len(done.lines)


def test_doctor_says_which_host_doubts_its_missing_keys(user: Cli, redis_server: RedisServer) -> None:
    """With what it means, since when and until about when; one that is over is none."""
    with redis.Redis.from_url(redis_server.url) as client:
        now = int(client.time()[0]) * 1000
        client.sadd("mcp:hosts", "web-1", "web-2")
        client.hset("mcp:host:web-1:seen", mapping={"quarantine": "run:4711", "quarantine_at": now})
        client.hset("mcp:host:web-2:seen", mapping={"outage": "outage:1", "outage_at": now - 86_400_000})
        (line,) = [line for line in user("doctor", "--json").lines if line["name"] == "quarantine"]
        assert line["status"] == "warn"
        assert line["detail"].startswith("host web-1: Redis restarted or is another server")
        assert "run:4711" in line["detail"]
        assert "ends about" in line["detail"]
        assert "web-2" not in line["detail"]
        client.delete("mcp:host:web-1:seen")
        (line,) = [line for line in user("doctor", "--json").lines if line["name"] == "quarantine"]
        assert (line["status"], line["detail"]) == ("ok", "none: a missing heartbeat key is an end")


def test_doctor_names_what_fails_with_the_fix(user: Cli) -> None:
    """The exit code is that of the first failure."""
    done = user("doctor", "--json", REDIS_URL="redis://127.0.0.1:1")
    assert done.code == 69
    failed = [line for line in done.lines if line["status"] == "fail"]
    assert [line["name"] for line in failed] == ["redis"]
    assert "127.0.0.1:1" in failed[0]["detail"]
    assert "REDIS_URL" in f"{failed[0]['detail']} {failed[0]['fix']}"


def test_the_sidecar_ends_an_abandoned_session_and_drains_on_sigterm(
    user: Cli, engine: Engine, deployment: str
) -> None:
    """Exit 0, one line per change of state on stderr, nothing on stdout."""
    log = user.directory / "log"
    with log.open("wb") as err:
        process = subprocess.Popen(
            user.command("run", "--listen", ""),
            env=user.environment,
            cwd=user.directory,
            stdout=subprocess.PIPE,
            stderr=err,
        )
    try:
        assert user("acquire", "user-1", "--ttl", "2s").code == 0
        block_until(lambda: containers(engine, deployment) == [], timeout=20, what="the abandoned container is gone")
        process.terminate()
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, b"")
        assert re.search(r"^\S+Z info .*user-1", log.read_text(), re.MULTILINE)
    finally:
        process.kill()
        process.wait()
