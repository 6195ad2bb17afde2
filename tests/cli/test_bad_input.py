"""Bad input through the command line: one clear line, the right exit code, nothing created and nothing lost.

These are not the rules themselves (each has its own tests); here a user meets them.
They keep this: every key and container that was there before is there afterwards, and no other.
"""

import pytest

from reactor.errors import InvalidSessionId
from reactor.session import parse_session_id
from tests.cli.command import Cli, Done, all_keys, containers
from tests.services.engine import Engine
from tests.services.redis import RedisServer

BAD_IDS = {
    "star": b"*",
    "question mark": b"?",
    "brackets": b"[a]",
    "braces": b"{x}",
    "end of a hash tag": b"}:lock",
    "parent directory": b"..",
    "slash": b"a/b",
    "space": b" ",
    "space inside": b"a b",
    "newline": b"\n",
    "newline at the end": b"a\n",
    "accented letter": "a\u00e9".encode(),
    "digit of another script": "\u0661".encode(),
    "no text at all": b"\xff",
    "empty": b"",
    "129 characters": b"a" * 129,
    "colon": b"a:heartbeat",
    "leading dash": b"-a",
}
TEMPLATES_THAT_ARE_WRONG = {
    "unknown key": ('[template.default]\nimag = "x"\n', "did you mean 'image'"),
    "unknown top key": ('prefx = "x"\n', "did you mean 'prefix'"),
    "number for text": ("[template.default]\nimage = 3\n", "image: expected str, got int"),
    "text for number": ('[template.default]\nimage = "x"\npids = "many"\n', "pids: expected int, got str"),
    "text for list": ('[template.default]\nimage = "x"\ncommand = "sleep 9"\n', "command: expected array, got str"),
    "number for duration": ("ttl = 900\n", "ttl is a number"),
    "table for text": ("[prefix]\na = 1\n", "prefix is a table"),
    "duration without unit": ('ttl = "900"\n', "is not like 500ms"),
    "not TOML": ("[template\n", "is not TOML"),
    "ports without network": ('[template.default]\nimage = "x"\nports = ["80/tcp"]\n', "ports need a network"),
}


def assert_refused(done: Done, code: int, text: str = "") -> None:
    """One line on stderr that contains `text`, nothing on stdout, this exit code."""
    assert (done.code, done.out) == (code, ""), done
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("reactor: ")
    assert text in done.err


@pytest.mark.parametrize("session_id", BAD_IDS.values(), ids=BAD_IDS.keys())
def test_a_bad_id_is_refused_by_every_command_before_anything_is_connected(lonely: Cli, session_id: bytes) -> None:
    """Exit 64, where a connection would have been a 69."""
    for verb in (b"acquire", b"heartbeat", b"get", b"terminate", b"events"):
        assert_refused(lonely(verb, b"--", session_id), 64, "is not 1-128 of A-Z a-z 0-9 _ . -")


def test_an_id_that_looks_like_a_flag_is_a_usage_error(lonely: Cli) -> None:
    """Exit 64, not a traceback."""
    assert_refused(lonely("acquire", "-a"), 64, "-a")


def test_nul_in_an_id_is_refused() -> None:
    """No command line can carry it; the library is where it could come in."""
    with pytest.raises(InvalidSessionId, match="is not 1-128"):
        parse_session_id("a\0b")


@pytest.mark.parametrize("body, text", TEMPLATES_THAT_ARE_WRONG.values(), ids=TEMPLATES_THAT_ARE_WRONG.keys())
def test_a_wrong_reactor_toml_is_refused_by_name(lonely: Cli, body: str, text: str) -> None:
    """Exit 78, naming the file and the key, before anything is connected."""
    lonely.write(body)
    for words in (["acquire", "a"], ["ls"], ["config"]):
        done = lonely(*words)
        assert_refused(done, 78, text)
        assert "reactor.toml" in done.err


@pytest.mark.parametrize("text", ["15", "m", "-5s", "1d", "", "15 m", "1e3s", "\u0661s", "9" * 40 + "h"])
def test_a_bad_duration_is_a_usage_error_as_a_flag_and_a_wrong_setting_elsewhere(lonely: Cli, text: str) -> None:
    """64 where the user typed it, 78 where it was configured."""
    for words in (["acquire", "a", "--ttl", text], ["run", "--wait", text], ["config", "--ttl", text]):
        assert_refused(lonely(*words), 64, "duration")
    if text:
        assert_refused(lonely("config", REACTOR_GRACE=text), 78, "REACTOR_GRACE: duration")


@pytest.mark.parametrize("text", ["0", "0s", "-1s", "1s", "2500ms", "2h"])
def test_a_ttl_of_nothing_or_less_or_above_the_maximum_is_refused(
    user: Cli, redis_server: RedisServer, engine: Engine, deployment: str, text: str
) -> None:
    """Exit 64; no record, no container (the template's maximum is 1h)."""
    assert_refused(user("acquire", "a", "--ttl", text), 64)
    assert sessions_in(redis_server) == {}
    assert containers(engine, deployment) == []


def test_an_unknown_template_is_refused_with_the_nearest_one(
    user: Cli, redis_server: RedisServer, engine: Engine, deployment: str
) -> None:
    """Exit 64; no record, no container."""
    assert_refused(user("acquire", "a", "--template", "defaultx"), 64, "did you mean 'default'")
    assert sessions_in(redis_server) == {}
    assert containers(engine, deployment) == []


def test_without_any_template_an_acquire_says_where_to_write_one(user: Cli, redis_server: RedisServer) -> None:
    """Exit 78: the configuration lacks it."""
    user.write("")
    assert_refused(user("acquire", "a"), 78, "[template.default]")
    assert sessions_in(redis_server) == {}


@pytest.mark.parametrize(
    "words, text",
    [
        (["acquir"], "No such command"),
        (["ls", "--jsn"], "No such option"),
        (["heartbeat"], "Missing argument"),
        (["get", "a", "b"], "unexpected extra argument"),
        (["reconcile", "--dry-run", "--force"], "--force"),
        (["config", "--prefix", "Bad-Prefix"], "--prefix"),
        (["config", "--runtime", "podman"], "docker or process"),
        (["config", "--redis-url", "http://localhost"], "redis://"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(lonely: Cli, words: list[str], text: str) -> None:
    """Exit 64 with what is wrong."""
    assert_refused(lonely(*words), 64, text)


def test_no_error_line_repeats_a_password(lonely: Cli) -> None:
    """A Redis URL that cannot be read may still contain one."""
    for url in (
        "redis://:hunter2@h:port",
        "http://:hunter2@h",
        "redis://:hunter2@h/x",
        "redis://h?password=hunter2&x=1",
    ):
        for done in (lonely("config", "--redis-url", url), lonely("config", REDIS_URL=url)):
            assert done.code in {64, 78}
            assert "hunter2" not in done.err + done.out


def sessions_in(server: RedisServer) -> dict[bytes, bytes]:
    """Return the records and heartbeat keys of a Redis with their content."""
    return {key: content for key, content in all_keys(server.url).items() if key.startswith(b"mcp:session:")}
