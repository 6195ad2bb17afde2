"""What a process and a Redis cost, read from outside: /proc and INFO.

What this is: readings, and the difference of two. What it is not: a probe inside a process. The invariant: reading
does nothing in the process that is read.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12
"""Where they stand in /proc/PID/stat behind the name, which may hold blanks."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a process had used by a moment (seconds of a steady clock)."""

    at: float
    cpu: float

    def share(self, later: Reading) -> float:
        """Return which part of one core was used until `later`, in per cent."""
        return 100 * (later.cpu - self.cpu) / (later.at - self.at)


def reading(pid: int) -> Reading:
    """Return the processor time of a process, all threads, to 10 ms."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Reading(time.monotonic(), (int(words[_UTIME]) + int(words[_STIME])) / _TICKS)


def cpu_over(pid: int, seconds: float) -> float:
    """Return which part of a core a process uses during the next seconds, in per cent."""
    before = reading(pid)
    time.sleep(seconds)
    return before.share(reading(pid))


def memory(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    return _status(pid, "VmRSS")


def peak_memory(pid: int) -> float:
    """Return the most resident memory since the start or `forget_peak`, in MB."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak begin anew at what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def info(client: redis.Redis, section: str) -> dict[str, Any]:
    """Return a section of INFO."""
    return client.info(section)


def commands(client: redis.Redis) -> int:
    """Return how many commands Redis has carried out; each call is one of them."""
    return int(info(client, "stats")["total_commands_processed"])


def used_memory(client: redis.Redis) -> int:
    """Return the bytes that Redis has taken from its allocator."""
    return int(info(client, "memory")["used_memory"])


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    message = f"process {pid} has no {name}"
    raise LookupError(message)
