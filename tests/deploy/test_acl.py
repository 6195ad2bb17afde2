"""The shipped `users.acl` and `deploy/passwords.sh`.

What this is: what each user may do, tried on real servers by name and password. What it is not: whether the reactor
runs as `reactor` (test_compose does that). The invariant: whatever is not listed here as allowed is NOPERM.
"""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING, cast

import pytest
import redis
from redis.client import PubSub
from redis.exceptions import NoPermissionError

from tests.deploy.servers import REPOSITORY, Server, ask, run_passwords

if TYPE_CHECKING:
    from pathlib import Path

HEARTBEAT = "mcp:session:user-1:heartbeat"
RECORD = "mcp:session:user-1"
REDIS_CALL = re.compile(r"""redis\.p?call\(\s*['"](\w+)['"]""")

CLIENT_MAY = {"+hello", "+auth", "+ping", "+expire", "+pexpire"}
CLIENT_MAY_NOT = [
    f"EXPIRE {RECORD} 900",
    "EXPIRE mcp:session:user-1:heartbeat:x 900",
    "EXPIRE other:session:user-1:heartbeat 900",
    "EXPIRE mcp:meta 1",
    f"SET {HEARTBEAT} x",
    f"GET {HEARTBEAT}",
    f"TTL {HEARTBEAT}",
    f"DEL {HEARTBEAT}",
    f"UNLINK {HEARTBEAT}",
    f"PERSIST {HEARTBEAT}",
    f"RENAME {HEARTBEAT} mcp:session:user-2:heartbeat",
    f"HGETALL {RECORD}",
    "PUBLISH __keyspace@0__:mcp:session:user-1:heartbeat expired",
    "SUBSCRIBE mcp:host:here:wake",
    "PSUBSCRIBE __keyspace@0__:mcp:session:*:heartbeat",
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "DBSIZE",
    "FLUSHALL",
    "EVAL return(1) 0",
    "MULTI",
    "INFO",
    "MONITOR",
    "CONFIG GET *",
    "CLIENT LIST",
    "CLIENT KILL TYPE pubsub",
    "CLIENT PAUSE 1000",
    "ACL LIST",
    "SHUTDOWN NOSAVE",
]
REACTOR_MAY_NOT = [
    "SET other:key x",
    "HGETALL other:key",
    "PUBLISH __keyspace@0__:mcp:session:user-1:heartbeat:x expired",
    "PUBLISH other:channel x",
    "SUBSCRIBE __keyspace@0__:other:key",
    "PSUBSCRIBE *",
    "KEYS *",
    "RANDOMKEY",
    "FLUSHALL",
    "FLUSHDB",
    "SWAPDB 0 0",
    "CONFIG SET maxmemory-policy allkeys-lru",
    "CONFIG REWRITE",
    "SHUTDOWN NOSAVE",
    "REPLICAOF NO ONE",
    "MONITOR",
    "SAVE",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 1000",
    "SCRIPT FLUSH",
    "FUNCTION LIST",
    "ACL LIST",
    "ACL SETUSER reactor +@all",
    "MIGRATE 127.0.0.1 6379 mcp:meta 0 1",
]
REACTOR_MAY = [
    "TIME",
    "ROLE",
    "INFO",
    "DBSIZE",
    "ACL WHOAMI",
    "CLIENT SETNAME session-reactor",
    "CLIENT NO-EVICT ON",
    "CONFIG GET notify-keyspace-events",
    "SCAN 0 MATCH mcp:session:* COUNT 100",
    "PUBLISH mcp:host:here:wake user-1",
]
OBSERVER_MAY = [
    f"HGETALL {RECORD}",
    f"PTTL {HEARTBEAT}",
    "SMEMBERS mcp:hosts",
    "ZRANGE mcp:host:here:due 0 -1 WITHSCORES",
    "XRANGE mcp:events - + COUNT 10",
    "XREVRANGE mcp:events + - COUNT 10",
    "XREAD COUNT 10 STREAMS mcp:events 0",
    "SCAN 0 MATCH mcp:session:*",
    "INFO",
    "TIME",
]
OBSERVER_MAY_NOT = [
    f"EXPIRE {HEARTBEAT} 900",
    f"DEL {HEARTBEAT}",
    f"HSET {RECORD} state ended",
    "XADD mcp:events * event ended",
    "ZADD mcp:host:here:due 0 user-1",
    "PUBLISH mcp:host:here:wake user-1",
    "EVAL return(1) 0",
    "HGETALL other:key",
    "FLUSHALL",
    "CONFIG GET *",
]


def refused(user: redis.Redis, command: str) -> bool:
    """Return whether the server says NOPERM to a command, and nothing else."""
    try:
        ask(user, *command.split(" "))
    except NoPermissionError:
        return True
    return False


def test_a_client_can_touch_a_heartbeat_key_and_do_nothing_else(server: Server) -> None:
    """EXPIRE answers 1 and 0 as promised, EXPIRE 0 ends the session; all else is NOPERM."""
    with server.login("admin") as admin, server.login("client") as client:
        ask(admin, "SET", HEARTBEAT, "", "EX", 900)
        ask(admin, "HSET", RECORD, "state", "running")
        assert ask(client, "EXPIRE", HEARTBEAT, 900) == 1
        assert ask(client, "PEXPIRE", HEARTBEAT, 900_000) == 1
        assert ask(client, "EXPIRE", "mcp:session:nobody:heartbeat", 900) == 0
        assert [command for command in CLIENT_MAY_NOT if not refused(client, command)] == []
        assert ask(admin, "TTL", HEARTBEAT) == 900
        assert ask(client, "EXPIRE", HEARTBEAT, 0) == 1
        assert ask(client, "EXPIRE", HEARTBEAT, 900) == 0


def test_a_client_has_five_commands_and_one_pattern_of_keys(server: Server) -> None:
    """The server's own account of the user, on each server: no command came along with a newer version."""
    with server.login("admin") as admin:
        user = cast("dict[str, object]", ask(admin, "ACL", "GETUSER", "client"))
    assert set(str(user["commands"]).split()) == {"-@all", *CLIENT_MAY}
    assert user["keys"] == "%W~mcp:session:*:heartbeat"
    assert not user["channels"]
    assert not user["selectors"]


def test_the_reactor_can_do_its_work_and_no_harm_beyond_it(server: Server) -> None:
    """It reads the server's state, but changes neither the server nor a key outside its prefix."""
    with server.login("reactor") as reactor:
        assert [command for command in REACTOR_MAY if refused(reactor, command)] == []
        assert [command for command in REACTOR_MAY_NOT if not refused(reactor, command)] == []


def test_the_reactor_listens_to_its_pattern_its_canary_and_its_own_channels(server: Server) -> None:
    """The three kinds of subscription that a reactor holds are all confirmed."""
    with server.login("reactor") as reactor, reactor.pubsub() as subscriber:
        subscriber.psubscribe("__keyspace@0__:mcp:session:*:heartbeat")
        subscriber.subscribe("__keyspace@0__:mcp:canary:here", "mcp:host:here:wake")
        assert [confirmed(subscriber) for _ in range(3)] == ["psubscribe", "subscribe", "subscribe"]


def confirmed(subscriber: PubSub) -> str:
    """Return the kind of the next message."""
    message = cast("dict[str, str] | None", subscriber.get_message(timeout=10))
    assert message is not None
    return message["type"]


def test_every_command_in_a_script_of_the_registry_is_allowed_to_the_reactor() -> None:
    """A script that gains a command without the ACL gaining it fails here, not in production."""
    scripts = list((REPOSITORY / "reactor").rglob("*.lua"))
    used = {f"+{name.lower()}" for path in scripts for name in REDIS_CALL.findall(path.read_text())}
    rules = (REPOSITORY / "users.acl").read_text().splitlines()
    allowed = next(set(line.split()) for line in rules if line.startswith("user reactor "))
    assert used
    assert used - allowed == set()


def test_a_script_run_by_the_reactor_is_bound_to_the_same_rights(server: Server) -> None:
    """EVAL is no way around the ACL: neither to another key nor to another command."""
    with server.login("reactor") as reactor:
        assert ask(reactor, "EVAL", "return redis.call('HSET', KEYS[1], 'state', 'running')", 1, RECORD) == 1
        for script, key in (("redis.call('SET', KEYS[1], 'x')", "other:key"), ("redis.call('FLUSHALL')", RECORD)):
            with pytest.raises(redis.ResponseError, match=r"(?i)permission|ACL|can't run"):
                ask(reactor, "EVAL", script, 1, key)


def test_an_observer_reads_and_listens_and_writes_nothing(server: Server) -> None:
    """Whatever `reactor ls`, `get` and `events` read is open to it."""
    with server.login("observer") as observer, observer.pubsub() as subscriber:
        assert [command for command in OBSERVER_MAY if refused(observer, command)] == []
        assert [command for command in OBSERVER_MAY_NOT if not refused(observer, command)] == []
        subscriber.subscribe("mcp:host:here:wake")
        assert confirmed(subscriber) == "subscribe"


def test_nobody_gets_in_without_a_name(server: Server) -> None:
    """The default user is off, with and without a password, and a wrong password is refused."""
    for user, password in ((None, None), ("default", ""), ("default", "default"), ("reactor", "wrong")):
        with server.login(user, password) as stranger, pytest.raises(redis.AuthenticationError):
            ask(stranger, "PING")


def test_passwords_are_random_kept_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    """A second run keeps what the first made; nothing is printed; the ACL file holds hashes only."""
    rules, secrets = REPOSITORY / "users.acl", tmp_path / "secrets"
    first = run_passwords(rules, secrets)
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    made = {path.name: path.read_text() for path in secrets.iterdir()}
    names = ["client", "observer", "reactor"]
    assert sorted(made) == sorted(["users.acl", "reactor.url", *(f"{name}.password" for name in names)])
    words = [made[f"{name}.password"] for name in names]
    assert len(set(words)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", word) for word in words)
    assert not any(word in made["users.acl"] for word in words)
    assert made["reactor.url"].strip() == f"redis://reactor:{made['reactor.password']}@localhost:6379/0"
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o400}
    assert run_passwords(rules, secrets).returncode == 0
    assert {path.name: path.read_text() for path in secrets.iterdir()} == made


@pytest.mark.parametrize(
    "password", ["short", "fifteen-letters", "with a blank in it", "with/a/slash/in/it", "mit-Umlaut-äöü-drin"]
)
def test_a_password_that_is_weak_or_breaks_a_url_is_refused_in_one_line(tmp_path: Path, password: str) -> None:
    """Nothing is written then, and the password itself is not shown."""
    done = run_passwords(REPOSITORY / "users.acl", tmp_path / "secrets", CLIENT_PASSWORD=password)
    assert done.returncode == 64
    assert len(done.stderr.splitlines()) == 1
    assert password not in done.stderr
    assert list((tmp_path / "secrets").iterdir()) == []


def test_an_acl_file_without_one_of_the_users_is_refused(tmp_path: Path) -> None:
    """A user that was renamed by hand does not silently stay without a password."""
    rules = tmp_path / "users.acl"
    rules.write_text("user default off\nuser client on -@all\n")
    done = run_passwords(rules, tmp_path / "secrets")
    assert done.returncode == 78
    assert "user reactor on" in done.stderr
