"""Local processes that belong to a container: launched, recognised, ended.

What this is: the only module that touches processes. What it is not: which container should run (`process.py`) or what
is remembered of it (`process_store.py`). The invariant: a process is signalled only if it carries the container's
marker in its environment or is in a session that is proved to be the container's; a number alone proves nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from reactor.errors import SpawnFailed, Unavailable
from reactor.runtime.process_store import Leader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MARKER: Final = "SESSION_REACTOR_CONTAINER"
"""Environment variable with the container's id. Children inherit it, so that those who left the group are found too."""
_GONE: Final = (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError, PermissionError)
_START_TICKS: Final = 19


class Child(subprocess.Popen[bytes]):
    """A process that is meant to outlive this program: letting go of it is no mistake to warn of."""

    def __del__(self) -> None:
        """Do nothing; the parent class would warn."""


def launch(command: Sequence[str], *, environment: Mapping[str, str], home: Path, log: Path) -> Child:
    """Start a program in a session (so also a group) of its own. Raises `SpawnFailed` if it cannot be started."""
    try:
        with log.open("ab") as output:
            return Child(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=dict(environment),
                start_new_session=True,
            )
    except BlockingIOError as error:
        raise Unavailable(f"no process can be started now: {error.strerror}; too many run already") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpawnFailed(f"command {command[0]!r} does not start: {reason}") from error


def identify(pid: int) -> Leader | None:
    """Return the process with this number as one that can be told from a later one; None if there is none.

    A zombie, which nobody has waited for yet, still counts as the process that it was.
    """
    if sys.platform == "linux":
        fields = _stat(pid)
        return None if fields is None else Leader(pid=pid, born=f"{_boot()}:{fields[_START_TICKS].decode()}")
    try:
        return Leader(pid=pid, born=f"{psutil.Process(pid).create_time():.3f}")
    except _GONE:
        return None


def is_alive(leader: Leader) -> bool:
    """Whether this very process is there and not a zombie."""
    if identify(leader.pid) != leader:
        return False
    return not _is_zombie(leader.pid)


def find_leader(container_id: str) -> Leader | None:
    """Look through all processes for a container's first one, by its marker."""
    marked = [process for process in psutil.process_iter() if _has_marker(process, container_id)]
    leaders = [process.pid for process in marked if _session(process.pid) == process.pid]
    first = min(leaders, default=min((process.pid for process in marked), default=None))
    return None if first is None else identify(first)


def terminate(leader: Leader) -> None:
    """Ask the leader's whole group to end; one that was stopped is woken for it."""
    if identify(leader.pid) == leader:
        with contextlib.suppress(*_GONE):
            os.killpg(leader.pid, signal.SIGTERM)
            os.killpg(leader.pid, signal.SIGCONT)


class Members:
    """The processes of one container, over one removal."""

    def __init__(self, container_id: str, leader: Leader | None) -> None:
        """Note whose they are. A leader that is there now, alive or zombie, proves that its session is ours."""
        self._container_id = container_id
        self._leader = leader
        self._proved = leader is not None and identify(leader.pid) == leader

    def living(self) -> list[psutil.Process]:
        """Return those that are there and no zombies: by marker, or by session where one of them proves it."""
        session = None if self._leader is None else self._leader.pid
        everyone = [process for process in psutil.process_iter() if not _is_zombie(process.pid)]
        marked = {process.pid for process in everyone if _has_marker(process, self._container_id)}
        self._proved = self._proved or any(_session(pid) == session for pid in marked)
        ours = {process.pid for process in everyone if self._proved and _session(process.pid) == session}
        return [process for process in everyone if process.pid in ours | marked]

    def kill(self) -> bool:
        """Kill all that live; False if there was none."""
        return _kill(self.living())


def exit_code(returned: int) -> int:
    """Return a program's result as a container engine shows it: 128 + n for the end by signal n."""
    return returned if returned >= 0 else 128 - returned


def _kill(processes: Iterable[psutil.Process]) -> bool:
    found = False
    for process in processes:
        found = True
        with contextlib.suppress(*_GONE):
            process.kill()
    return found


def _has_marker(process: psutil.Process, container_id: str) -> bool:
    try:
        return process.environ().get(MARKER) == container_id
    except (*_GONE, OSError):
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except _GONE:
        return None


def _is_zombie(pid: int) -> bool:
    if sys.platform == "linux":
        fields = _stat(pid)
        return fields is None or fields[0] in (b"Z", b"X")
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except _GONE:
        return True


def _stat(pid: int) -> list[bytes] | None:
    """Return the fields of a process after its name (which may hold blanks and brackets): state first."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
