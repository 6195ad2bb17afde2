"""The command line as a user runs it: a process with its own environment and directory.

It is not a door into the library: nothing of `reactor` is imported here.
It keeps this: what its sessions started is gone after `clean_up`, and nobody else's.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import redis

from tests.services.engine import Engine, EngineError

DEPLOYMENT_LABEL = "session-reactor.deployment"
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The objects on stdout, one per line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cli:
    """One user's machine: `environment` and the files in `directory` decide what a command does."""

    directory: Path
    environment: Mapping[str, str]

    def command(self, *arguments: str | bytes) -> list[str | bytes]:
        """Return the command line of a call."""
        return [sys.executable, "-m", "reactor", *arguments]

    def __call__(self, *arguments: str | bytes, prefix: Iterable[str] = (), **environment: str) -> Done:
        """Run to the end; `environment` is added, `prefix` goes in front of the command. Fails if it hangs."""
        done = subprocess.run(
            [*prefix, *self.command(*arguments)],
            cwd=self.directory,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())

    def write(self, text: str) -> None:
        """Make this the `reactor.toml`."""
        (self.directory / "reactor.toml").write_text(text)


def assert_quiet(done: Done) -> None:
    """It worked and had nothing to say beside its data."""
    assert (done.code, done.err) == (0, ""), done


def plain_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without settings, and with the tree under test on the path."""
    ours = ("REACTOR_", "REDIS_URL", "DOCKER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2]), **more}


def containers(engine: Engine, deployment: str) -> list[str]:
    """Return the IDs of a deployment's containers, in any state."""
    return sorted(engine.containers({DEPLOYMENT_LABEL: deployment}))


def clean_up(engine: Engine, deployment: str) -> None:
    """Remove a deployment's containers."""
    try:
        engine.remove(*containers(engine, deployment))
    except EngineError as error:
        if "No such container" not in str(error):
            raise


def all_keys(url: str) -> dict[bytes, bytes]:
    """Return every key of a Redis with its content, as comparable bytes."""
    with redis.Redis.from_url(url) as client:
        names = cast("list[bytes]", client.keys())
        return {name: client.dump(name) or b"" for name in names}
