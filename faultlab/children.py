"""Programs that the laboratory starts, and ends, by their number.

What this is: one child with a log, its signals, and a look at /proc. What it is not: what the programs are. The
invariant: a child is in a session of its own, so that a terminal's Ctrl-C reaches only the laboratory, and the kernel
kills it should the laboratory itself be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

ROOT: Final = Path(__file__).parents[1]
_SET_CHILD_SUBREAPER: Final = 36
PAUSE: Final = 0.02


class NotStarted(Exception):
    """A program of the laboratory did not come up; the message ends with its last words."""


class Child:
    """A running program. Start it from the main thread: the kernel ends it together with the thread that started it."""

    def __init__(
        self, command: Sequence[str], log: Path, *, env: Mapping[str, str], last_words: signal.Signals = signal.SIGKILL
    ) -> None:
        """Start it; `last_words` is what the kernel sends it should the laboratory be killed."""
        self.meant = False
        """Whether somebody here told it to end."""
        self._log_file = log
        self._log_from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", last_words.name.removeprefix("SIG"), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=log.parent,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def log(self) -> str:
        """What it has said since it was started."""
        return self._log_file.read_bytes()[self._log_from :].decode(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.running:
            self.meant = self.meant or number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
            self.process.send_signal(number)

    async def ended(self, limit: float) -> int | None:
        """Return its exit code once it has ended; None if it has not within `limit` seconds."""
        await until(lambda: not self.running, limit)
        return self.process.poll()

    async def end(self, number: signal.Signals = signal.SIGTERM, limit: float = 20.0) -> int | None:
        """Ask it to end, insist after `limit` seconds, and return its exit code."""
        self.send(number)
        self.send(signal.SIGCONT)
        if await self.ended(limit) is None:
            self.send(signal.SIGKILL)
            await self.ended(10)
        return self.process.poll()


async def until(condition: Callable[[], bool | Awaitable[bool]], limit: float) -> bool:
    """Wait until a condition holds; False where it does not within `limit` seconds."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + limit
    while True:
        answer = condition()
        if not isinstance(answer, bool):
            answer = await answer
        if answer:
            return True
        if loop.time() > ends:
            return False
        await asyncio.sleep(PAUSE)


def python_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without the product's settings, with this tree on the path."""
    ours = ("REACTOR_", "REDIS_URL", "DOCKER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


def python(*words: str) -> list[str]:
    """Return the command that runs this Python."""
    return [sys.executable, *words]


def adopt_orphans() -> None:
    """Let processes whose parent was killed become our children, so that none is left unburied."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def bury(dead_before: set[int]) -> set[int]:
    """Wait for the dead children among `dead_before`; returns those that are dead now, for the next call.

    A child of our own is waited for by whoever started it; one that stays dead until the next call was adopted.
    """
    dead = {pid for pid in children(os.getpid()) if state_of(pid) == "Z"}
    for pid in dead & dead_before:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return dead


async def bury_adopted() -> None:
    """Go on burying adopted children for ever."""
    dead: set[int] = set()
    while True:
        await asyncio.sleep(1)
        dead = bury(dead)


def children(pid: int) -> set[int]:
    """Return the children of a process."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found |= {int(word) for word in task.read_text().split()}
        except OSError:
            continue
    return found


def descendants(pid: int) -> set[int]:
    """Return all processes below one."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        more = children(waiting.pop()) - found
        found |= more
        waiting.extend(more)
    return found


def state_of(pid: int) -> str:
    """Return the letter of a process's state in /proc; nothing if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def processes_with(*words: str) -> list[int]:
    """Return the processes whose command line begins with a program of that name and holds all other words."""
    program, *rest = words
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if Path(line[0].decode()).name == program and all(word.encode() in line for word in rest):
            found.append(int(path.parent.name))
    return found
