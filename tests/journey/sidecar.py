"""`reactor run` as a process, and what a test asks of the world around it.

It is not the library's Reactor: signals and kill -9 need a process.
It keeps this: a sidecar that a test started has ended when its block ends.
"""

import signal
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis

from tests.cli.command import Cli, containers
from tests.services.engine import Engine
from tests.waiting import block_until

STARTED = "action=started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A running `reactor run`; `log` is its standard error so far."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        """What it has said."""
        return self.log_file.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send one signal to the process alone."""
        self.process.send_signal(number)

    def ended(self, timeout: float = 30) -> int:
        """Return its exit code once it has ended."""
        return self.process.wait(timeout)


@contextmanager
def sidecar(
    user: Cli, *arguments: str, wait: bool = True, environment: Mapping[str, str] | None = None
) -> Generator[Sidecar]:
    """Run the sidecar while the body runs; with `wait` the body begins after its first reconcile."""
    log_file = user.directory / f"sidecar-{len(list(user.directory.glob('sidecar-*')))}.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            user.command("run", "--verbose", *arguments),
            cwd=user.directory,
            env={**user.environment, "REACTOR_LISTEN": "", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    running = Sidecar(process=process, log_file=log_file)
    try:
        if wait:
            block_until(lambda: "action=ready" in running.log or process.poll() is not None, 30, "the sidecar is up")
            assert process.poll() is None, running.log
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The engine and Redis as others see them: `docker ps` and a plain client."""

    user: Cli
    engine: Engine
    client: "redis.Redis"
    deployment: str

    def running(self) -> set[str]:
        """The IDs of the deployment's running containers, from the engine."""
        return set(self.engine.containers({"session-reactor.deployment": self.deployment}, running=True))

    def everything(self) -> set[str]:
        """The IDs of all its containers, dead ones too."""
        return set(containers(self.engine, self.deployment))

    def listed(self) -> dict[str, str]:
        """Session id -> container ID, from `reactor ls`."""
        return {line["session_id"]: line["container_id"] for line in self.user("ls", "--json").lines}

    def hearts(self) -> set[str]:
        """The session ids that have a heartbeat key, from Redis."""
        names = cast("list[bytes]", self.client.keys("mcp:session:*:heartbeat"))
        return {name.decode().split(":")[2] for name in names}

    def beat(self, session_id: str, seconds: int) -> bool:
        """What any client does."""
        return bool(self.client.expire(f"mcp:session:{session_id}:heartbeat", seconds))

    def events(self, session_id: str | None = None) -> list[dict[str, object]]:
        """The audit entries, of one session or all."""
        return self.user("events", "--json", *([] if session_id is None else [session_id])).lines

    def agree(self) -> bool:
        """Whether engine, Redis and `reactor ls` say the same."""
        listed = self.listed()
        return self.running() == set(listed.values()) and self.hearts() == set(listed)
