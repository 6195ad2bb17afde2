"""The selftest's own reactor, from outside: started, cut, killed, started again, drained.

What this is: one child process and its connections to Redis. What it is not: what it does. The invariant: a connection
is closed only if it carries this run's own name; other people's subscribers live in the same Redis.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from reactor.errors import Unavailable
from reactor.settings_source import NAMES, SECRETS
from reactor.templates import format_duration

if TYPE_CHECKING:
    from reactor.settings import Settings
    from reactor.throwaway import PlainRedis

NAME: Final = "SELFTEST_NAME"
JOURNAL: Final = "SELFTEST_JOURNAL"
START_LIMIT: Final = 30.0
LOOK: Final = 0.01
_ROOT: Final = Path(__file__).parents[2]
_READY: Final = "INFO ready\n"


def named(url: str, name: str) -> str:
    """Return a Redis URL whose connections carry a name in CLIENT LIST; an empty name changes nothing."""
    return f"{url}{'&' if '?' in url else '?'}client_name={name}" if name else url


class Sidecar:
    """One reactor at a time, in `home`. `name` is that of its connections; empty: they have none."""

    def __init__(self, settings: Settings, home: Path, name: str) -> None:
        """Take the run's settings; nothing is started yet."""
        self._settings = settings
        self._home = home
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._log = home / "reactor.log"
        self.journal = home / "journal"

    async def start(self) -> float:
        """Start it, and return how many seconds it took until its first reconcile was done. Raises `Unavailable`."""
        began = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 (a start is quick)
                [sys.executable, "-m", "reactor.selftest.child"],
                cwd=self._home,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # The terminal's Ctrl-C is for the selftest alone, which then ends this one in its own order.
                start_new_session=True,
            )
        with anyio.move_on_after(START_LIMIT):
            while self._process.poll() is None:
                if _READY in self.log:
                    return time.monotonic() - began
                await anyio.sleep(LOOK)
        said = self.log.strip().splitlines()
        raise Unavailable(f"the selftest's own reactor did not start: {said[-1] if said else 'it said nothing'}")

    @property
    def log(self) -> str:
        """What it has said since its last start."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def sweep(self) -> None:
        """Ask it for a reconcile."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it as a crash does. Twice is fine."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            _forget(process)

    async def drain(self, limit: float) -> int | None:
        """Ask it to end in order, and return its exit code; None if it has not ended within `limit` seconds."""
        process = self._process
        if process is None:
            return None
        process.terminate()
        with anyio.move_on_after(limit):
            while process.poll() is None:  # noqa: ASYNC110 (nothing signals it)
                await anyio.sleep(LOOK)
        code = process.poll()
        self.kill()
        return code

    def _environment(self) -> dict[str, str]:
        """Return the environment with no other setting in it than this run's."""
        settings = self._settings
        foreign = {*NAMES.values(), *(f"{NAMES[name]}_FILE" for name in SECRETS)}
        kept = {name: text for name, text in os.environ.items() if name not in foreign}
        ours = {
            "redis_url": settings.redis_url,
            "docker_host": settings.docker_host or "",
            "docker_tls_verify": "1" if settings.docker_tls_verify else "",
            "docker_cert_path": settings.docker_cert_path or "",
            "runtime": settings.runtime.value,
            "prefix": settings.prefix,
            "deployment": settings.deployment or "",
            "host": settings.host or "",
            "stop_grace": format_duration(settings.stop_grace),
            "janitor_every": format_duration(settings.janitor_every),
            "acquire_timeout": format_duration(settings.acquire_timeout),
            "listen": "",
        }
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
        more = {"REACTOR_CONFIG": os.devnull, NAME: self._name, JOURNAL: str(self.journal), "PYTHONPATH": path}
        return kept | {NAMES[name]: text for name, text in ours.items()} | more


def _forget(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


class Cutter:
    """Closes subscriptions of this run, by name and number."""

    def __init__(self, redis: PlainRedis, prefix: str) -> None:
        """Take a client that carries neither of the two names."""
        self._redis = redis
        self.reactor = f"{prefix}_reactor"
        self.clients = f"{prefix}_clients"

    async def allowed(self) -> None:
        """Try what is needed on nobody; raises `Unavailable` or `PermissionRefused` where Redis forbids it."""
        await self._redis.send("CLIENT", "SETNAME", "")
        await self._redis.send("CLIENT", "LIST")
        await self._redis.send("CLIENT", "KILL", "ID", str(2**62))

    async def subscriptions(self, *names: str) -> set[str]:
        """Return the numbers of the subscribed connections with these names; those of the reactor if none is given."""
        listed = map(_fields, str(await self._redis.send("CLIENT", "LIST")).splitlines())
        wanted = names or (self.reactor,)
        return {fields["id"] for fields in listed if fields.get("name") in wanted and _subscribed(fields)}

    async def cut(self) -> set[str]:
        """Close all of them, the clients' too, and return their numbers."""
        numbers = await self.subscriptions(self.reactor, self.clients)
        for number in numbers:
            await self._redis.send("CLIENT", "KILL", "ID", number)
        return numbers


def _subscribed(fields: dict[str, str]) -> bool:
    return fields.get("sub", "0") != "0" or fields.get("psub", "0") != "0"


def _fields(line: str) -> dict[str, str]:
    return {word.partition("=")[0]: word.partition("=")[2] for word in line.split()}
