"""Private servers that can be killed, frozen and brought back: a Redis, and Docker engines.

What this is: their start, end and restart. What it is not: a choice of when (`faults`). The invariant: what is started
here ends here; nothing is touched that listens elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from faultlab.children import ROOT, Child, NotStarted, processes_with, python_environment, until
from faultlab.wire import ask
from tests.services import images
from tests.services.engine import Engine as Command
from tests.services.redis import RedisServer

if TYPE_CHECKING:
    from pathlib import Path

START_LIMIT: Final = 90.0
CLIENT_NAME: Final = "faultlab-admin"
# An engine ends its script's process 1 when it ends. This one stays, so that the engine can come back to its data.
_LASTING: Final = """#!/bin/bash
while :; do
  while [ -e "$FAULTLAB_HOLD" ]; do sleep 0.05; done
  rm -f "$FAULTLAB_PIDFILE"
  "$FAULTLAB_DOCKERD" "$@" &
  wait "$!"
  sleep 0.1
done
"""


class LabRedis(RedisServer):
    """A Redis with an append-only file. It is started in a thread that never ends, as its life is tied to that."""

    def __init__(self, directory: Path) -> None:
        """Note where; nothing is started yet."""
        directory.mkdir(parents=True)
        super().__init__(directory=directory, options={"appendonly": "yes", "appendfsync": "everysec"})
        self._hand = ThreadPoolExecutor(1)

    def _command(self) -> list[str]:
        return ["setpriv", "--pdeathsig", "KILL", "setsid", *super()._command(), "--enable-debug-command", "local"]

    async def up(self) -> None:
        """Start it, and return when it answers."""
        await asyncio.get_running_loop().run_in_executor(self._hand, self.start)

    async def crash(self) -> None:
        """End it as a crash does."""
        await asyncio.get_running_loop().run_in_executor(self._hand, self.kill)

    def client(self) -> Any:
        """Return a client that is asked right after a crash, too, when its connections are dead and data is read."""
        errors = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.BusyLoadingError)
        patient = Retry(ConstantBackoff(0.1), 100, supported_errors=errors)
        return Redis.from_url(self.url, client_name=CLIENT_NAME, socket_timeout=5, decode_responses=True, retry=patient)

    @property
    def data(self) -> Path:
        """The directory of the append-only file."""
        return self.directory / "appendonlydir"

    def forget(self) -> None:
        """Delete its data, while it is down."""
        shutil.rmtree(self.data, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The number of its process."""
        if self.process is None:
            message = "this Redis does not run"
            raise RuntimeError(message)
        return self.process.pid


class LabEngine:
    """A private Docker engine whose daemons can be stopped and killed one by one."""

    def __init__(self, directory: Path) -> None:
        """Note where; nothing is started yet."""
        self.directory = directory
        self.socket = directory / "docker.sock"
        self.image = ""
        self._hold = directory.with_name(directory.name + ".hold")
        self._bin = directory.with_name(directory.name + ".bin")
        self._script: Child | None = None

    @property
    def command(self) -> Command:
        """The `docker` command on its own socket, never through a proxy."""
        return Command(host=f"unix://{self.socket}")

    async def up(self) -> None:
        """Start it, and return when it answers and has an image. Raises `NotStarted`."""
        real = shutil.which("dockerd")
        if real is None:
            raise NotStarted("dockerd is not on PATH (on Debian: apt-get install docker.io)")
        self._bin.mkdir(parents=True)
        (self._bin / "dockerd").write_text(_LASTING)
        (self._bin / "dockerd").chmod(0o755)
        env = python_environment(
            PATH=f"{self._bin}:{os.environ['PATH']}",
            FAULTLAB_DOCKERD=real,
            FAULTLAB_HOLD=str(self._hold),
            FAULTLAB_PIDFILE=str(self.directory / "pid"),
        )
        script = ["bash", str(ROOT / "bin/lib/engine"), str(self.directory)]
        log = self.directory.with_name(self.directory.name + ".out")
        self._script = Child(script, log, env=env, last_words=signal.SIGTERM)
        if not await until(self.answers, START_LIMIT):
            raise NotStarted(f"the engine did not start: {self._script.log[-500:]}")
        self.image = await asyncio.to_thread(images.idle, self.command)

    async def answers(self) -> bool:
        """Whether it answers a request that needs its containers."""
        try:
            return (await ask(self.socket, "GET", "/containers/json", timeout=2))[0] == 200
        except (OSError, ValueError):
            return False

    @property
    def dockerd(self) -> list[int]:
        """The numbers of its daemon."""
        return processes_with("dockerd", f"unix://{self.socket}")

    @property
    def containerd(self) -> list[int]:
        """The numbers of its containerd."""
        return processes_with("containerd", str(self.directory / "exec/containerd/containerd.toml"))

    def hold(self) -> None:
        """Keep a killed daemon down."""
        self._hold.touch()

    def release(self) -> None:
        """Let a killed daemon come back."""
        self._hold.unlink(missing_ok=True)

    async def down(self) -> None:
        """End it, its containers and its files."""
        if self._script is not None:
            for pid in (*self.dockerd, *self.containerd):
                os.kill(pid, signal.SIGCONT)
            await self._script.end()
        shutil.rmtree(self._bin, ignore_errors=True)
        self._hold.unlink(missing_ok=True)
