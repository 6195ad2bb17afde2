"""A Node program with the npm package `redis`, and nothing of ours, as the client of a session.

What this is: the promise to every language, kept for Node: EXPIRE alone keeps a session, and 0 says that it is over.
What it is not: a library for Node. The invariant: the packages are those of the lock file, by their hashes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import Cli, plain_environment
from tests.deploy.servers import Server, copy_files, give_passwords
from tests.services.redis import Flavour, server_program
from tests.waiting import block_until

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.services.redis import RedisServer

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache"
HEARTBEAT = "mcp:session:user-1:heartbeat"
TTL = 3
INSTALL_S = 300.0
DEADLINE = 30.0


@pytest.fixture(scope="session")
def programs() -> Path:
    """Return a directory with our Node programs beside the locked packages; npm is asked once per lock file."""
    npm = shutil.which("npm")
    assert npm, "npm is not on PATH (bin/test brings it; Debian: apt-get install npm)"
    key = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    target = CACHE / "clients" / key
    if not (target / "node_modules" / ".package-lock.json").exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, target)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(CACHE / "npm")]
        done = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        assert done.returncode == 0, done.stderr
    for program in HERE.glob("*.mjs"):
        shutil.copy(program, target)
    return target


@pytest.fixture
def user(tmp_path: Path, redis_server: RedisServer) -> Iterator[Cli]:
    """Yield a user whose sessions are processes of this machine."""
    cli = Cli(
        directory=tmp_path,
        environment=plain_environment(
            REDIS_URL=redis_server.url, REACTOR_RUNTIME="process", REACTOR_DEPLOYMENT="clients", REACTOR_STOP_GRACE="0"
        ),
    )
    cli.write('[template.default]\ncommand = ["sleep", "600"]\n')
    yield cli
    cli("terminate", "user-1")


@contextmanager
def beating(programs: Path, url: str, log: Path) -> Generator[subprocess.Popen[bytes]]:
    """Run the heartbeat program for the time of the block; what it prints goes into `log`."""
    command = ["node", "heartbeat.mjs", url, HEARTBEAT, str(TTL)]
    with log.open("wb") as output, subprocess.Popen(command, cwd=programs, stdout=output) as process:
        try:
            yield process
        finally:
            process.kill()


def test_node_keeps_a_session_by_expire_alone_and_sees_0_after_the_end(
    programs: Path, user: Cli, redis_server: RedisServer, tmp_path: Path
) -> None:
    """The session outlives its TTL twice over while Node beats; after `reactor terminate` Node learns it and stops."""
    log = tmp_path / "node.log"
    acquired = user("acquire", "user-1", "--ttl", f"{TTL}s", "--json")
    assert acquired.code == 0, acquired.err
    with beating(programs, redis_server.url, log) as node:
        long_enough = time.monotonic() + 2 * TTL
        block_until(lambda: time.monotonic() > long_enough or node.poll() is not None, DEADLINE, "two TTLs")
        assert log.read_text().split() == ["alive"]
        assert user("get", "user-1", "--json").json["container_id"] == acquired.json["container_id"]
        assert user("terminate", "user-1").code == 0
        assert node.wait(DEADLINE) == 0
    assert log.read_text().split() == ["alive", "over"]


def test_node_is_told_at_once_that_a_session_was_never_there(
    programs: Path, redis_server: RedisServer, tmp_path: Path
) -> None:
    """EXPIRE makes no key: a client that beats without a session makes none."""
    log = tmp_path / "node.log"
    with beating(programs, redis_server.url, log) as node:
        assert node.wait(DEADLINE) == 0
    assert log.read_text().split() == ["over"]


@pytest.mark.parametrize("flavour", list(Flavour))
def test_node_logs_in_as_the_client_of_the_shipped_acl_and_can_do_nothing_but_touch(
    programs: Path, tmp_path: Path, flavour: Flavour
) -> None:
    """HELLO 3 with name and password works; EXPIRE and PEXPIRE are answered, all else is NOPERM."""
    copy_files(tmp_path)
    server = Server(
        binary=server_program(flavour), directory=tmp_path, arguments=("--aclfile", give_passwords(tmp_path).name)
    )
    server.start()
    try:
        url = f"redis://client:client-of-the-tests@127.0.0.1:{server.port}"
        done = subprocess.run(
            ["node", "forbidden.mjs", url, HEARTBEAT],
            cwd=programs,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    finally:
        server.kill()
    assert (done.returncode, done.stderr) == (0, "")
    answers = json.loads(done.stdout)
    assert (answers.pop("expire"), answers.pop("pExpire")) == (0, 0)
    assert set(answers.values()) == {"NOPERM"}, answers
