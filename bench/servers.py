"""Private servers for a measurement: a Redis as Debian ships it, and a Docker engine.

What this is: their start and end. What it is not: a measurement. The invariant: what is started here ends with the
block, is in a session of its own so that Ctrl-C does not reach it first, and the kernel ends it should we be killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.child import ROOT, ChildFailed
from bench.engine_api import EngineApi
from tests.services import images
from tests.services.engine import Engine
from tests.services.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

ENGINE_START_S = 90.0
ENGINE_END_S = 60.0


class _Server(RedisServer):
    """A Redis that a terminal's Ctrl-C does not reach."""

    def _command(self) -> list[str]:
        return ["setpriv", "--pdeathsig", "KILL", "setsid", *super()._command()]


@contextmanager
def private_redis(directory: Path, options: Mapping[str, str] | None = None) -> Generator[RedisServer]:
    """Run a Redis with its defaults (`hz` 10), notifications `KExge`, and no persistence, for the block."""
    server = _Server(directory=directory / "redis", options=options or {})
    server.directory.mkdir(parents=True)
    try:
        yield server.start()
    finally:
        server.remove()


class PrivateEngine:
    """A Docker engine with one small image."""

    def __init__(self, directory: Path) -> None:
        """Note where; nothing is started yet."""
        self.directory = directory
        self.socket = directory / "docker.sock"
        self.host = f"unix://{self.socket}"
        self.image = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers and has the image. Raises `ChildFailed`."""
        log = self.directory.with_name(self.directory.name + ".log")
        env = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        words = ["setpriv", "--pdeathsig", "TERM", "bash", str(ROOT / "bin/lib/engine"), str(self.directory)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True
            )
        ends = time.monotonic() + ENGINE_START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends:
                raise ChildFailed(f"the Docker engine did not start: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.1)
        self.image = images.idle(Engine(host=self.host))

    def stop(self) -> None:
        """End it with its containers and files. Twice is fine."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(ENGINE_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with EngineApi(self.socket) as engine:
                return engine.send("GET", "/containers/json", limit=2)[0] == 200  # noqa: PLR2004
        except (OSError, ValueError):
            return False


@contextmanager
def private_engine(directory: Path) -> Generator[PrivateEngine]:
    """Run a Docker engine for the block. `directory` must be short: a socket's path has a limit."""
    engine = PrivateEngine(directory)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
