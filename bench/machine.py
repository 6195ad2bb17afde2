"""The machine that is measured on, and whether it has what a bench needs.

What this is: facts, and one clear line where something is missing. What it is not: servers (`bench.servers`). The
invariant: a bench that cannot run says so before anything is started.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MISSING = 69
REFUSED = 77
PACKAGES = {
    "redis-server": "redis-server",
    "redis-benchmark": "redis-tools",
    "dockerd": "docker.io",
    "docker": "docker.io",
    "ip": "iproute2",
    "setpriv": "util-linux",
    "busybox": "busybox-static",
}
DOCKER = ("dockerd", "docker", "ip", "busybox")


class CannotRun(Exception):
    """Something that a bench needs is not here; `code` is how the program ends."""

    def __init__(self, message: str, code: int) -> None:
        """Note both."""
        super().__init__(message)
        self.code = code


def require(programs: Iterable[str], *, root: bool = False) -> None:
    """Return if these programs are here, and if we are root where `root` asks for it; raises `CannotRun`."""
    for program in programs:
        if shutil.which(program) is None:
            message = f"{program} is not on PATH (on Debian: apt-get install {PACKAGES[program]})"
            raise CannotRun(message, MISSING)
    if root and os.geteuid() != 0:
        message = "this bench starts a Docker engine of its own: run it as root"
        raise CannotRun(message, REFUSED)


def facts() -> dict[str, object]:
    """Return what a reader has to know of this machine to compare its numbers with another's."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "redis": _first_line("redis-server", "--version"),
        "docker": _first_line("dockerd", "--version"),
        "packages": {name: _version(name) for name in ("redis", "hiredis", "docker", "anyio", "uvloop")},
        "revision": _first_line("git", "-C", str(Path(__file__).parents[1]), "rev-parse", "--short", "HEAD"),
    }


def in_words(found: dict[str, object]) -> str:
    """Return the facts in one line."""
    return (
        f"{found['cores']} cores ({found['processor']}), Linux {found['kernel']}, Python {found['python']}, "
        f"{found['redis']}, {found['docker']}, load {found['load_before']} before"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except OSError:
        return ""
    words = done.stdout.partition("\n")[0].split()
    return " ".join(words[:3])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
