"""Which containers have a process, from /proc alone: an engine's list can lie.

What this is: one scan of /proc, by cgroup and by marker. What it is not: the state that the engine tells. The
invariant: a process that has ended (zombie) does not count.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from faultlab.entries import Processes, Usage
from faultlab.history import now

if TYPE_CHECKING:
    from faultlab.history import Writer
    from faultlab.observer.pace import Pace

_CGROUP = re.compile(rb"/([0-9a-f]{64})(?:$|[\n/.])")
_MARKER = re.compile(rb"(?:^|\0)SESSION_REACTOR_CONTAINER=([0-9a-f]{64})(?:\0|$)")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
_TICKS = os.sysconf("SC_CLK_TCK")
_ASKED = 10
"""A process that was just forked still has its parent's environment: it is asked in that many scans."""


class Scanner:
    """Remembers what is known of each process, so that a scan reads each one's file once."""

    def __init__(self, writer: Writer) -> None:
        """Note where to write."""
        self._writer = writer
        self._owner: dict[tuple[int, bytes], tuple[str, int]] = {}
        self._started: dict[str, float] = {}

    async def scan(self, pace: Pace) -> None:
        """Write down the containers that have a process, again and again."""
        while True:
            t0 = now()
            self.look()
            self._writer.write(Processes(t0=t0, t1=now(), containers=tuple(sorted(self._started))))
            await pace.rest()

    def runs(self, container: str) -> bool:
        """Whether the last scan found a process of this container."""
        return container in self._started

    def started(self, container: str) -> float:
        """When the first of its processes was started, by the kernel's clock (to 10 ms)."""
        return self._started[container]

    def look(self) -> None:
        """Scan once."""
        owners: dict[tuple[int, bytes], tuple[str, int]] = {}
        for name in os.listdir("/proc"):  # noqa: PTH208 (a thousand Paths a second)
            if not name.isdigit():
                continue
            fields = _read(f"/proc/{name}/stat").rpartition(b")")[2].split()
            if not fields or fields[0] in (b"Z", b"X"):
                continue
            process = (int(name), fields[19])
            owner, asked = self._owner.get(process, ("", 0))
            if not owner and asked < _ASKED:
                owner, asked = _owner(name), asked + 1
            owners[process] = (owner, asked)
        self._owner = owners
        # The kernel counts from the boot, also while the machine slept.
        slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        started: dict[str, float] = {}
        for (_, ticks), (owner, _) in owners.items():
            if owner:
                began = int(ticks) / _TICKS - slept
                started[owner] = min(started.get(owner, began), began)
        self._started = started


class UsageWatch:
    """What the reactors' processes use; their numbers are read from a directory of pid files."""

    def __init__(self, directory: Path, writer: Writer) -> None:
        """Note where the pid files are: one for each reactor, named after it."""
        self._directory = directory
        self._writer = writer

    async def watch(self, pace: Pace) -> None:
        """Write down memory, files and threads, again and again."""
        while True:
            for path in self._directory.glob("*.pid"):
                self._note(path.stem, path.read_text().strip())
            await pace.rest()

    def _note(self, name: str, pid: str) -> None:
        statm = _read(f"/proc/{pid}/statm").split()
        try:
            fds, threads = len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208
        except OSError:
            return
        if statm:
            rss = int(statm[1]) * _PAGE_MB
            self._writer.write(Usage(t=now(), name=name, rss_mb=round(rss, 1), fds=fds, threads=threads))


def _owner(pid: str) -> str:
    found = _CGROUP.search(_read(f"/proc/{pid}/cgroup")) or _MARKER.search(_read(f"/proc/{pid}/environ"))
    return found[1].decode() if found else ""


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
