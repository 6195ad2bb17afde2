"""`reactor selftest` as a user starts it, and what somebody else sees of it.

It is not a door into the selftest: a process with its own environment, scratch directory and state directory.
It keeps this: what a test started has ended when the test ends.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.cli.command import plain_environment
from tests.waiting import block_until

LIMIT_S = 200.0
PREFIX_LABEL = "session-reactor.prefix"
REPOSITORY = "session-reactor-selftest"
ZEROES = ("leaks", "double_spawns", "wrong_kills", "early_kills", "foreign_touched")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A selftest on its way."""

    process: subprocess.Popen[bytes]
    files: Path

    @property
    def out(self) -> str:
        """What it has printed: the result."""
        return (self.files / "out").read_text()

    @property
    def err(self) -> str:
        """Its progress so far."""
        return (self.files / "err").read_text()

    @property
    def result(self) -> dict[str, Any]:
        """The result as programs get it."""
        return json.loads(self.out)

    @property
    def prefix(self) -> str:
        """Its prefix, once it has said so."""
        return self.err.partition("; prefix ")[2].partition(",")[0]

    def passes(self, step: str) -> None:
        """Wait until it has told that this step went well."""
        line = f"  ok    {step}: "
        block_until(lambda: line in self.err or self.process.poll() is not None, LIMIT_S, f"the step {step!r} is done")
        assert line in self.err, (self.out, self.err)

    def ends(self) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(LIMIT_S)


@dataclass(slots=True)
class User:
    """Somebody with a scratch directory and a state directory of their own."""

    files: Path
    scratch: Path
    started: list[Running] = field(default_factory=list[Running])

    @property
    def state(self) -> Path:
        """Where the process runtime keeps its containers."""
        return self.files / "state"

    def selftest(self, *arguments: str, **environment: str) -> Running:
        """Start one; `environment` is added to a plain one."""
        env = plain_environment(TMPDIR=str(self.scratch), XDG_STATE_HOME=str(self.state), **environment)
        with (self.files / "out").open("wb") as out, (self.files / "err").open("wb") as err:
            command = [sys.executable, "-m", "reactor", "selftest", *arguments]
            process = subprocess.Popen(
                command, cwd=self.files, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self.started.append(Running(process=process, files=self.files))
        return self.started[-1]

    def processes(self) -> list[psutil.Process]:
        """Return what runs for one of its selftests: the reactor, and sessions that are processes."""
        found: list[psutil.Process] = []
        for each in psutil.process_iter():
            try:
                where = Path(each.cwd())
                if where.is_relative_to(self.scratch) or where.is_relative_to(self.state):
                    found.append(each)
            except (psutil.Error, OSError):
                continue
        return found

    def reactors(self) -> list[int]:
        """Return the process ids of its own reactors; one that has ended and is not waited for yet is none."""
        found: list[int] = []
        for each in self.processes():
            try:
                if "reactor.selftest.child" in each.cmdline():
                    found.append(each.pid)
            except psutil.Error:
                continue
        return found

    def assert_nothing_left(self) -> None:
        """Neither a file nor a process of it is there."""
        assert list(self.scratch.iterdir()) == []
        assert self.processes() == []
        assert [path for path in self.state.rglob("*") if path.parent.name in ("names", "containers")] == []
