"""What this machine lends to a container that is a process: ports, a few variables, a name, a log file.

What this is: small facts about the machine and the user. What it is not: containers (`process.py`). The invariant: no
variable of this program's environment reaches a session's program, except those named here: they may be secrets.
"""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LOCAL: Final = "127.0.0.1"
LOG_LIMIT: Final = 10 * 1024 * 1024
"""Bytes; a longer log is emptied when somebody looks at its container."""
LINE: Final = 200
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ")
_TAIL: Final = 4096


def default_state_dir() -> Path:
    """Return `$XDG_STATE_HOME/session-reactor`, or the same under `~/.local/state`."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "session-reactor"


def engine_id(root: Path) -> str:
    """Return what tells this machine and state directory from all others."""
    machine = socket.gethostname()
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            machine = Path(path).read_text(encoding="ascii").strip() or machine
        except OSError:
            continue
        break
    return hashlib.sha256(f"{machine}:{root}".encode()).hexdigest()[:32]


def basic_environment(home: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the variables that each program gets: a few of ours, and `PORT_8000` for port 8000, `PORT` for the first.

    `ports` maps `8000/tcp` to the local port that stands for it.
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment["HOME"] = str(home)
    environment |= {f"PORT_{name.partition('/')[0]}": str(port) for name, port in ports.items()}
    first = next(iter(ports.values()), None)
    if first is not None:
        environment["PORT"] = str(first)
    return environment


def port_key(port: str) -> str:
    """Return `8000/tcp` for `8000` and for `8000/tcp`."""
    return port if "/" in port else f"{port}/tcp"


def free_ports(ports: Iterable[str], used: set[int]) -> dict[str, int]:
    """Return a local port for each, which nobody listens on now and which is not in `used`."""
    found: dict[str, int] = {}
    for port in map(port_key, ports):
        found[port] = _free_port(port, used | set(found.values()))
    return found


def limit_log(log: Path) -> None:
    """Empty a log that is too long. Its writer appends, so it goes on at the new end."""
    try:
        if log.stat().st_size > LOG_LIMIT:
            os.truncate(log, 0)
    except FileNotFoundError:
        return


def last_line(log: Path) -> str:
    """Return the last line that says something, at most 200 characters; nothing if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return ""
    return lines[-1][:LINE] if lines else ""


def _free_port(port: str, used: set[int]) -> int:
    kind = socket.SOCK_DGRAM if port.endswith("/udp") else socket.SOCK_STREAM
    while True:
        with closing(socket.socket(socket.AF_INET, kind)) as probe:
            probe.bind((LOCAL, 0))
            found = int(probe.getsockname()[1])
        if found not in used:
            return found
