"""The process runtime's memory: a directory, so that a killed program finds its containers again.

What this is: names, specs, locks and marks on disk. What it is not: the processes themselves. The invariant: a
container is there exactly while the file of its name holds its id; what a crash leaves half-made has no name, so it is
nobody's container and in nobody's way.

    names/NAME                 the spec, hard-linked here: linking fails if the name is taken, and that is the mutex
    containers/ID/spec.json    the same file
    containers/ID/lock         held (flock) by whoever starts or removes it; the kernel lets go if that one is killed
    containers/ID/started      it was or is being started
    containers/ID/leader.json  its first process
    containers/ID/exit.json    how that ended, where its parent saw it
    containers/ID/log, work/   what it wrote, and where it runs
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import msgspec

from reactor.errors import PermissionRefused, Unavailable
from reactor.runtime.protocol import NameTaken
from reactor.session import ContainerId

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LOCK_LIMIT: Final = 90.0
"""Seconds to wait for another's start or removal of the same container."""
LEFTOVER_AGE: Final = 600.0
"""Seconds after which a directory without a name is a crash's leftover and not a create in progress."""
_ID: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,200}")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One container as it was made; `created_at` is seconds since the epoch, `ports` maps `8000/tcp` to a local one."""

    container_id: str
    name: str
    labels: dict[str, str]
    command: list[str]
    environment: dict[str, str]
    ports: dict[str, int]
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """A container's first process; `born` tells it from a later one with the same number."""

    pid: int
    born: str


class Store:
    """The directory. Its methods are quick and blocking; only `locked` waits."""

    def __init__(self, root: Path) -> None:
        """Make the directory (mode 0700). Raises `PermissionRefused` where others could change what is in it."""
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = root.stat()
            self._names, self._containers = root / "names", root / "containers"
            if found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise PermissionRefused(f"{root} is open to other users: chmod 700 it, or choose another directory")
            self._names.mkdir(exist_ok=True)
            self._containers.mkdir(exist_ok=True)
        except OSError as error:
            raise PermissionRefused(f"{root} cannot be used for the process runtime: {error.strerror}") from error
        self.root = root.resolve()

    def directory(self, container_id: str) -> Path:
        """Return where a container's files are."""
        return self._containers / container_id

    def add(self, spec: Spec) -> None:
        """Make a container's directory, then take its name. Raises `NameTaken`."""
        home = self.directory(spec.container_id)
        (home / "work").mkdir(parents=True)
        (home / "lock").touch()
        (home / "spec.json").write_bytes(msgspec.json.encode(spec))
        try:
            (self._names / spec.name).hardlink_to(home / "spec.json")
        except FileExistsError as error:
            holder = self.holder(spec.name)
            shutil.rmtree(home, ignore_errors=True)
            raise NameTaken(None if holder is None else ContainerId(holder.container_id)) from error

    def find(self, id_or_name: str) -> Spec | None:
        """Return the container with this id or name."""
        if _ID.fullmatch(id_or_name) is None:
            return self.holder(id_or_name)
        spec = _read(self.directory(id_or_name) / "spec.json", Spec)
        holder = None if spec is None else self.holder(spec.name)
        return spec if holder is not None and holder.container_id == id_or_name else None

    def holder(self, name: str) -> Spec | None:
        """Return the container that holds a name."""
        return _read(self._names / name, Spec) if _NAME.fullmatch(name) else None

    def every(self) -> list[Spec]:
        """Return all containers."""
        found = [self.holder(path.name) for path in sorted(self._names.iterdir())]
        return [spec for spec in found if spec is not None]

    def forget(self, container_id: str) -> None:
        """Free the name, then delete the files. Only under the lock, and when no process is left."""
        home = self.directory(container_id)
        spec = _read(home / "spec.json", Spec)
        holder = None if spec is None else self.holder(spec.name)
        if holder is not None and holder.container_id == container_id:
            # Nobody can have replaced it since the look: a taken name is freed only under its holder's lock, ours.
            (self._names / holder.name).unlink(missing_ok=True)
        shutil.rmtree(home, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what crashes left half-made or half-removed. It has no process: those are ended before the name."""
        named = {spec.container_id for spec in self.every()}
        for home in self._containers.iterdir():
            try:
                leftover = home.name not in named and time.time() - home.stat().st_mtime > LEFTOVER_AGE
            except FileNotFoundError:
                continue
            if leftover and self.find(home.name) is None:
                shutil.rmtree(home, ignore_errors=True)

    @asynccontextmanager
    async def locked(self, container_id: str) -> AsyncGenerator[bool]:
        """Hold a container's lock for the body; False if the container's files are gone.

        Raises `Unavailable` when another holds it for longer than 90 s.
        """
        path = self.directory(container_id) / "lock"
        descriptor = await _lock(path) if _ID.fullmatch(container_id) else None
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                # By hand: a process forked meanwhile by another thread may still hold a copy of the descriptor.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)

    def mark_started(self, container_id: str, *, started: bool) -> None:
        """Note before a start that there may be a process from now on; take it back if there was none."""
        mark = self.directory(container_id) / "started"
        if started:
            mark.touch()
        else:
            mark.unlink(missing_ok=True)

    def was_started(self, container_id: str) -> bool:
        """Whether there may be a process."""
        return (self.directory(container_id) / "started").exists()

    def leader(self, container_id: str) -> Leader | None:
        """Return the first process, if it was noted."""
        return _read(self.directory(container_id) / "leader.json", Leader)

    def note_leader(self, container_id: str, leader: Leader) -> None:
        """Note the first process."""
        _write(self.directory(container_id) / "leader.json", leader)

    def exit_code(self, container_id: str) -> int | None:
        """Return how the first process ended, if that was seen."""
        return _read(self.directory(container_id) / "exit.json", int)

    def note_exit(self, container_id: str, code: int) -> None:
        """Note how the first process ended; nothing if the container is gone."""
        _write(self.directory(container_id) / "exit.json", code)


async def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock, or None if the file is gone (also: while we waited for it)."""
    pause = 0.005
    with anyio.move_on_after(LOCK_LIMIT):
        while True:
            try:
                descriptor = _try_lock(path)
            except FileNotFoundError:
                return None
            if descriptor is not None:
                return descriptor
            await anyio.sleep(pause)
            pause = min(pause * 2, 0.1)
    raise Unavailable(f"another program holds {path} for longer than {LOCK_LIMIT:.0f} s")


def _try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock, or None if another holds it. Raises `FileNotFoundError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):  # else it was removed while we opened it
            return descriptor
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    raise FileNotFoundError(path)


def _read(path: Path, kind: type[_T]) -> _T | None:
    """Return what a file holds, or None if it is not there. Files are replaced whole, so a broken one is unknown."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error


def _write(path: Path, value: object) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(msgspec.json.encode(value))
        fresh.replace(path)
    except FileNotFoundError:
        return  # removed meanwhile
