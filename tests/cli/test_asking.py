"""The two commands that ask: only on a terminal, and only a yes goes on."""

import os
import pty
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
import redis

from reactor import SessionManager, Settings
from reactor.keys import Keys
from reactor.session import SessionId
from tests.cli.command import Cli, plain_environment
from tests.services.redis import RedisServer

KEYS = Keys("mcp")
IDS = [f"p-{number}" for number in range(11)]
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """How a command on a terminal ended, and what the terminal showed."""

    code: int
    shown: str
    out: str


def on_a_terminal(user: Cli, *arguments: str, answer: str) -> Answered:
    """Run a command whose input and standard error are a terminal, where somebody types `answer`."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        terminal.write(answer.encode() + b"\n")
        with os.fdopen(theirs, "r+b", buffering=0) as end:
            done = subprocess.run(
                user.command(*arguments), cwd=user.directory, env=dict(user.environment), stdin=end, stderr=end,
                stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
            shown = terminal.read(8000).decode()
    return Answered(code=done.returncode, shown=shown, out=done.stdout.decode())


@pytest.fixture
def crowded(tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A user with eleven sessions, as local processes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    user = Cli(
        directory=tmp_path,
        environment=plain_environment(
            REDIS_URL=redis_server.url, REACTOR_RUNTIME="process",
            REACTOR_HOST="here", REACTOR_STOP_GRACE="0", REACTOR_DEPLOYMENT="test",
        ),
    )  # fmt: skip
    user.write('[template.default]\ncommand = ["sleep", "600"]\n')

    async def fill() -> None:
        async with SessionManager(Settings.load(env=user.environment, cwd=tmp_path)) as sessions:
            for session_id in IDS:
                await sessions.acquire(session_id)

    anyio.run(fill)
    return user


@pytest.fixture
def orphaned(crowded: Cli, redis_server: RedisServer) -> Iterator[Cli]:
    """The same, with every record deleted by hand; afterwards nothing runs."""
    with redis.Redis.from_url(redis_server.url) as client:
        for session_id in IDS:
            client.delete(KEYS.record(SessionId(session_id)), KEYS.heartbeat(SessionId(session_id)))
    yield crowded
    assert crowded("reconcile", "--force").code == 0


def test_s9_a_braked_reconcile_never_asks_without_a_terminal(orphaned: Cli) -> None:
    """Exit 75 with the way on; `--dry-run` says that it would be so."""
    planned = orphaned("reconcile", "--dry-run")
    assert (planned.code, planned.out.count("orphan"), "brake: 11 containers" in planned.err) == (1, 11, True), planned
    done = orphaned("reconcile", "--json")
    assert (done.code, done.out) == (75, ""), done
    assert "brake: 11 containers (11 orphan)" in done.err
    assert "reactor reconcile --force" in done.err
    assert orphaned("reconcile", "--dry-run").out.count("orphan") == 11


@pytest.mark.parametrize("answer", ["", "n", "no", "what?\nn"])
def test_s9_whoever_does_not_say_yes_keeps_everything(orphaned: Cli, answer: str) -> None:
    """The default is no; exit 75."""
    asked = on_a_terminal(orphaned, "reconcile", answer=answer)
    assert (asked.code, "remove them now? [y/N]" in asked.shown) == (75, True), asked
    assert orphaned("reconcile", "--dry-run").out.count("orphan") == 11


def test_s9_a_person_at_a_terminal_may_let_the_removal_go_on(orphaned: Cli) -> None:
    """After a yes it is as with `--force`; with `--json` nobody is asked."""
    assert on_a_terminal(orphaned, "reconcile", "--json", answer="y").code == 75
    asked = on_a_terminal(orphaned, "reconcile", answer="y")
    assert (asked.code, asked.out.count(": done")) == (0, 11), asked
    assert orphaned("reconcile", "--dry-run").code == 0


def test_p9_forgetting_a_host_asks_a_person_at_a_terminal(crowded: Cli) -> None:
    """With the number of its sessions; a no changes nothing and is exit 1."""
    elsewhere = Cli(directory=crowded.directory, environment={**crowded.environment, "REACTOR_HOST": "elsewhere"})
    asked = on_a_terminal(elsewhere, "forget-host", "here", answer="n")
    assert (asked.code, "free 11 sessions of host here?" in asked.shown) == (1, True), asked
    assert crowded("heartbeat", IDS[0]).code == 0

    asked = on_a_terminal(elsewhere, "forget-host", "here", answer="y")
    assert (asked.code, asked.out) == (0, "forgot host here, freed 11 sessions\n"), asked
    assert crowded("heartbeat", IDS[0]).code == 1
    assert crowded("reconcile").code == 0
