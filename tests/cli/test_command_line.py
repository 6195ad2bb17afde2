"""The command line itself: its help, its settings, its warnings, its errors.

These are not the commands (test_commands): none of these needs a Redis or an engine.
They keep this: data on stdout, everything else on stderr.
"""

import re
import subprocess
import sys

import pytest

from tests.cli.command import Cli, assert_quiet

HEAVY = ("redis", "docker", "anyio", "asyncio", "msgspec", "starlette", "mcp", "psutil", "tenacity")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["acquire", "--help"], ["--version"]])
def test_help_is_instant_because_nothing_heavy_is_imported(lonely: Cli, words: list[str]) -> None:
    """Seen in the modules of the process, not in its time."""
    script = (
        "import sys\nfrom reactor.cli.main import run\n"
        f"code = run({words!r})\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=lonely.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert done.stdout


def test_each_command_is_listed_with_what_it_does(lonely: Cli) -> None:
    """And each has a help text of its own."""
    names = ["run", "acquire", "heartbeat", "get", "ls", "terminate", "reconcile", "events", "config", "doctor"]
    names += ["demo", "selftest"]
    listed = re.findall(r"^  ([a-z]+)  +\S", lonely("--help").out, re.MULTILINE)
    assert sorted(listed) == sorted(names)
    for name in names:
        done = lonely(name, "--help")
        assert_quiet(done)
        assert done.out.startswith(f"Usage: reactor {name}")


def test_without_a_command_the_help_is_shown_as_a_usage_error(lonely: Cli) -> None:
    """On stderr: a script that forgot the command must not take it for data."""
    done = lonely()
    assert (done.code, done.out) == (64, "")
    assert "Usage: reactor" in done.err


def test_config_shows_each_value_with_its_origin_and_no_secret(lonely: Cli) -> None:
    """As a table for people and as one object per line for programs; a flag counts before and after the command."""
    lonely.write('prefix = "abc"\n[template.default]\nimage = "x"\n')
    url = "redis://:hunter2@cache:6379"
    done = lonely("--host", "here", "config", "--json", "--stop-grace", "3s", REDIS_URL=url, REACTOR_TTL="4s")
    assert_quiet(done)
    rows = {row["name"]: (row["value"], row["origin"]) for row in done.lines}
    assert rows["REDIS_URL"] == ("redis://:***@cache:6379", "environment REDIS_URL")
    assert rows["REACTOR_HOST"] == ("here", "flag --host")
    assert rows["REACTOR_STOP_GRACE"] == ("3s", "flag --stop-grace")
    assert rows["REACTOR_TTL"] == ("4s", "environment REACTOR_TTL")
    assert rows["REACTOR_PREFIX"] == ("abc", f"file {lonely.directory / 'reactor.toml'}")
    assert rows["REACTOR_GRACE"] == (None, "default (the session's own TTL)")
    assert rows["template.default.ttl"] == ("4s", "the setting ttl, from environment REACTOR_TTL")
    table = lonely("config", REDIS_URL=url)
    assert_quiet(table)
    assert table.out.splitlines()[0].split() == ["NAME", "VALUE", "FROM"]
    assert "hunter2" not in table.out
    assert "\033" not in table.out


def test_a_warning_goes_to_stderr_and_changes_nothing(lonely: Cli) -> None:
    """The data stays clean."""
    done = lonely("config", "--json", REACTOR_TTTL="4s")
    assert (done.code, len(done.err.splitlines())) == (0, 1)
    assert done.err.startswith("reactor: warning: environment variable REACTOR_TTTL is unknown")
    assert done.lines


def test_an_unexpected_error_is_one_line_and_a_traceback_only_on_demand(lonely: Cli) -> None:
    """Exit 70 says that it is a bug of this program, here one of its installation."""
    broken = lonely.directory / "reactor_broken"
    broken.mkdir()
    (broken / "msgspec.py").write_text("raise RuntimeError('one\\ntwo')\n")
    path = f"{broken}:{lonely.environment['PYTHONPATH']}"
    done = lonely("config", PYTHONPATH=path)
    assert (done.code, done.out) == (70, "")
    assert done.err == "reactor: bug: RuntimeError: one two (REACTOR_DEBUG=1 shows where)\n"
    assert "Traceback" in lonely("config", PYTHONPATH=path, REACTOR_DEBUG="1").err


def test_a_reader_that_goes_away_is_no_error_to_speak_of(lonely: Cli) -> None:
    """`reactor config | true` prints nothing on stderr."""
    process = subprocess.Popen(
        lonely.command("config"),
        env=lonely.environment,
        cwd=lonely.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait() == 141
