"""The shipped `redis.conf`.

What this is: that each of its lines has a reason, that every server takes it, and that the reasons are true. What it is
not: the rights of the users (test_acl). The invariant: the file is used as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import redis

from tests.deploy.servers import PASSWORDS, REPOSITORY, Server, ask, copy_files
from tests.waiting import block_until

if TYPE_CHECKING:
    from pathlib import Path

HEARTBEAT = "mcp:session:user-1:heartbeat"
SETTINGS = {
    "hz": "10",
    "databases": "1",
    "maxmemory": str(512 * 1024 * 1024),
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "bind": "127.0.0.1 -::1",
    "protected-mode": "yes",
    "timeout": "0",
    "tcp-keepalive": "30",
    "acl-pubsub-default": "resetchannels",
    "latency-monitor-threshold": "100",
}


def config(user: redis.Redis, name: str) -> str:
    """Return one effective setting."""
    return cast("dict[str, str]", ask(user, "CONFIG", "GET", name))[name]


def persistence(admin: redis.Redis) -> str:
    """Return the server's own words on its files."""
    return str(admin.info("persistence"))


def test_every_setting_stands_below_a_comment_that_gives_its_reason() -> None:
    """No line of the file is there because somebody copied it."""
    before = ""
    for line in (REPOSITORY / "redis.conf").read_text().splitlines():
        if line and not line.startswith("#"):
            assert before.startswith("# "), f"no reason above: {line}"
            assert not before.startswith("# ---"), f"only a heading above: {line}"
        before = line


def test_the_file_loads_unchanged_and_lets_nobody_in_before_passwords_are_given(binary: str, tmp_path: Path) -> None:
    """`redis-server redis.conf` beside the files starts, and is closed: no password that works is shipped."""
    copy_files(tmp_path)
    server = Server(binary=binary, directory=tmp_path)
    server.start()
    try:
        with server.login(None) as stranger, pytest.raises(redis.AuthenticationError):
            ask(stranger, "PING")
        for user in PASSWORDS:
            for word in ("", user, PASSWORDS[user]):
                with server.login(user, word) as guess, pytest.raises(redis.AuthenticationError):
                    ask(guess, "PING")
    finally:
        server.kill()


def test_the_settings_are_in_force(server: Server) -> None:
    """What the file says is what the server does."""
    with server.login("reactor") as reactor:
        assert {name: config(reactor, name) for name in SETTINGS} == SETTINGS
        assert set(config(reactor, "notify-keyspace-events")) == set("KExge")
        limits = config(reactor, "client-output-buffer-limit")
        assert f"pubsub {64 * 1024**2} {16 * 1024**2} 60" in limits


@pytest.mark.parametrize("ending", [("DEL",), ("EXPIRE", "0"), ("PEXPIRE", "1")], ids=" ".join)
def test_the_end_of_a_heartbeat_key_reaches_the_one_pattern_of_a_reactor(
    server: Server, ending: tuple[str, ...]
) -> None:
    """Whether it ran out, was ended with EXPIRE 0 or deleted: the reactor hears of it under the key's own channel."""
    pattern = "__keyspace@0__:mcp:session:*:heartbeat"
    verb, *argument = ending
    with server.login("reactor") as reactor, reactor.pubsub() as subscriber:
        subscriber.psubscribe(pattern)
        assert subscriber.get_message(timeout=10)
        ask(reactor, "SET", HEARTBEAT, "", "EX", 900)
        ask(reactor, verb, HEARTBEAT, *argument)
        heard: list[str] = []
        while not {"del", "expired"} & set(heard):
            message = subscriber.get_message(timeout=10)  # pyright: ignore[reportUnknownVariableType]
            assert message is not None, f"heard only {heard}"
            heard.append(str(message["data"]))  # pyright: ignore[reportUnknownArgumentType]


def test_a_failed_snapshot_costs_no_heartbeat(server: Server) -> None:
    """After a BGSAVE that failed the server still answers EXPIRE; with the usual snapshots on it would not."""
    snapshot = server.directory / "dump.rdb"
    snapshot.mkdir()
    (snapshot / "in the way").touch()  # a directory that is not empty: the rename at the end of a snapshot fails
    with server.login("admin") as admin, server.login("client") as client:
        ask(admin, "SET", HEARTBEAT, "", "EX", 900)
        ask(admin, "BGSAVE")
        block_until(lambda: "'rdb_last_bgsave_status': 'err'" in persistence(admin), what="the snapshot has failed")
        assert ask(client, "EXPIRE", HEARTBEAT, 900) == 1
        ask(admin, "CONFIG", "SET", "save", "3600 1")
        with pytest.raises(redis.ResponseError, match=r"MISCONF|RDB"):
            ask(client, "EXPIRE", HEARTBEAT, 900)


def test_a_full_server_refuses_new_sessions_and_keeps_the_old_ones(server: Server) -> None:
    """Above maxmemory nothing is evicted: writes fail, heartbeats and removals are answered."""
    with server.login("admin") as admin, server.login("client") as client:
        ask(admin, "SET", HEARTBEAT, "", "EX", 900)
        ask(admin, "SET", "filler", "x" * 2**20)
        ask(admin, "CONFIG", "SET", "maxmemory", "1mb")
        with pytest.raises(redis.OutOfMemoryError):
            ask(admin, "SET", "mcp:session:user-2:heartbeat", "", "EX", 900)
        assert ask(client, "EXPIRE", HEARTBEAT, 900) == 1
        assert ask(admin, "DEL", HEARTBEAT) == 1


def test_what_a_script_wrote_survives_a_kill_of_the_server(server: Server) -> None:
    """A record and the moment at which its heartbeat ends come back from the append-only file.

    Redis up to 8 and Valkey up to 8 replay what a script wrote as a transaction with the rights of the default user:
    with a default user who may do nothing they start without those writes, and say so only in their log.
    """
    script = "redis.call('HSET', KEYS[1], 'state', 'running') redis.call('SET', KEYS[2], '', 'EX', 900)"
    with server.login("reactor") as reactor:
        ask(reactor, "EVAL", script, 2, "mcp:session:user-1", HEARTBEAT)
        ends = ask(reactor, "PEXPIRETIME", HEARTBEAT)
    server.kill()
    server.start()
    assert "NOPERM" not in server.log
    with server.login("reactor") as reactor:
        assert ask(reactor, "PEXPIRETIME", HEARTBEAT) == ends
        assert ask(reactor, "HGET", "mcp:session:user-1", "state") == "running"
