"""An engine of our own that can be killed, frozen and rebooted, and what it says when asked past the proxy.

What this is: `bin/lib/engine --lasting` as a process, and a raw HTTP client of its socket. What it is not: the engine
of the other tests. It keeps this: only processes below its own are signalled, and none is left when it is closed.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio
import psutil

from tests.services import images
from tests.services.engine import Engine
from tests.waiting import block_until, wait_until

SCRIPT = Path(__file__).parents[2] / "bin" / "lib" / "engine"
START_S = 60.0
ASK_S = 30.0
PAUSE_S = 60.0
"""How long the engine may take to be back on a loaded machine."""


@dataclass(slots=True, kw_only=True)
class LastingEngine:
    """A running engine with live restore: its containers outlive it, as its own host's would."""

    directory: Path
    process: subprocess.Popen[bytes]
    image: str = ""
    _frozen: list[psutil.Process] = field(default_factory=list[psutil.Process])

    @property
    def host(self) -> str:
        """The address as DOCKER_HOST takes it."""
        return f"unix://{self.directory}/docker.sock"

    # ------------------------------------------------------------------ what can happen to an engine

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End dockerd, with the containerd that belongs to it; what it runs goes on."""
        dockerd = self._named("dockerd")
        dockerd.send_signal(how)
        block_until(lambda: not self._all("dockerd") and not self._all("containerd"), PAUSE_S, "the engine has ended")

    def reboot(self) -> None:
        """End all that runs on this host but its process 1; the engine comes back with `start_again`."""
        for victim in self._tree()[2:]:  # after the namespace's maker and its process 1
            _send(victim, signal.SIGKILL)
        block_until(lambda: not self._all("dockerd"), PAUSE_S, "nothing runs")

    def protect(self, container_id: str, *, on: bool) -> None:
        """Make what it keeps about a container immutable, so that its removal fails, or let it go."""
        kept = self.directory / "data" / "containers" / container_id
        subprocess.run(["chattr", "+i" if on else "-i", kept], capture_output=not on, check=on)

    def start_again(self) -> None:
        """Start dockerd; it answers when this returns."""
        (self.directory / "again").touch()
        block_until(self.answers, PAUSE_S, "the engine is back")

    def freeze(self, program: str) -> None:
        """Stop `dockerd` or `containerd` without ending it: its socket accepts, nothing is answered."""
        victim = self._named(program)
        victim.send_signal(signal.SIGSTOP)
        self._frozen.append(victim)

    def thaw(self) -> None:
        """Let all that is frozen go on."""
        while self._frozen:
            _send(self._frozen.pop(), signal.SIGCONT)

    def shim(self, container_id: str) -> psutil.Process:
        """Return the process that stands between containerd and a container."""
        (found,) = [
            one for one in self._tree() if one.name().startswith("containerd-shim") and container_id in one.cmdline()
        ]
        return found

    def heal(self) -> None:
        """Make it well again, whatever was done to it."""
        self.thaw()
        if not self._all("dockerd"):
            self.start_again()

    def answers(self) -> bool:
        """Whether the docker command gets an answer."""
        command = ["docker", "--host", self.host, "version", "--format", "{{.Server.Version}}"]
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0

    def _tree(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def _all(self, program: str) -> list[psutil.Process]:
        return [one for one in self._tree() if _name(one) == program]

    def _named(self, program: str) -> psutil.Process:
        (found,) = self._all(program)
        return found

    # ------------------------------------------------------------------ what it says

    async def ask(self, method: str, path: str) -> tuple[int, Any]:
        """Send one request straight to the engine; returns status and body."""
        reader, writer = await asyncio.open_unix_connection(f"{self.directory}/docker.sock")
        try:
            head = f"{method} /v1.41{path} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            with anyio.fail_after(ASK_S):
                answer = await reader.read()
        finally:
            writer.close()
        first, _, rest = answer.partition(b"\r\n\r\n")
        body = _unchunked(rest) if b"chunked" in first.lower() else rest
        says = json.loads(body) if b"application/json" in first and body.strip() else None
        return int(first.split(b" ", 2)[1]), says

    async def container(self, container_id: str) -> dict[str, Any] | None:
        """Return what it says of a container, None if there is none."""
        status, body = await self.ask("GET", f"/containers/{container_id}/json")
        return None if status == HTTPStatus.NOT_FOUND else body

    async def containers(self) -> set[str]:
        """Return the IDs of all its containers, dead ones too."""
        _, body = await self.ask("GET", "/containers/json?all=1")
        return {one["Id"] for one in body}

    async def by_hand(self, method: str, container_id: str, rest: str = "") -> int:
        """Do something to a container as an operator would; returns the status."""
        status, _ = await self.ask(method, f"/containers/{container_id}{rest}")
        return status

    async def clear(self) -> None:
        """Remove every container."""
        for container_id in await self.containers():
            self.protect(container_id, on=False)
            await self.by_hand("DELETE", container_id, "?force=1&v=1")

            async def gone(container_id: str = container_id) -> bool:
                return await self.container(container_id) is None

            await wait_until(gone, 30)


@contextmanager
def lasting_engine() -> Generator[LastingEngine]:
    """An engine with the idle image, for the time of the block."""
    directory = Path(tempfile.mkdtemp(prefix="srfault."))
    die_with_me = ["setpriv", "--pdeathsig", "TERM"]
    process = subprocess.Popen(
        [*die_with_me, "bash", str(SCRIPT), "--lasting", str(directory), "--live-restore"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr,
    )
    engine = LastingEngine(directory=directory, process=process)
    try:
        block_until(engine.answers, START_S, f"the engine is up: {directory}/log")
        engine.image = images.idle(Engine(host=engine.host))
        yield engine
    finally:
        engine.thaw()
        process.terminate()
        process.wait(60)
        shutil.rmtree(directory, ignore_errors=True)


def _name(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:
        return ""


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
        if length == 0:
            break
    return whole
