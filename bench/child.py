"""Processes that a bench starts: the reactor that is measured, and what loads it.

What this is: one child, asked and answered by lines of JSON. What it is not: what it does. The invariant: leaving the
block ends the child; it is in a session of its own, so that Ctrl-C reaches the bench alone, and the kernel ends it
should the bench be killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

if TYPE_CHECKING:
    from types import TracebackType

    from bench.talk import Message

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120.0
END_S = 20.0
OURS = ("REACTOR_", "REDIS_URL", "DOCKER_")


class ChildFailed(Exception):
    """A process of the bench ended or kept silent; the message has its last words."""


class Child:
    """A module of this package as a process. Make it in the main thread: the kernel ties its life to that one."""

    def __init__(self, module: str, log: Path, **job: object) -> None:
        """Start it with a job; what it writes to stderr goes to `log`."""
        self.module = module
        self._log = log
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        words = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", module, json.dumps(job)]
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
                cwd=ROOT,  # `-m` looks there first
                start_new_session=True,
            )
        self._rest = b""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.end()

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    def ask(self, question: str, limit: float = PATIENCE_S, **fields: object) -> Message:
        """Send a question and return the answer; raises `ChildFailed` where none comes within `limit` seconds."""
        self.tell(question, **fields)
        return self.hear(limit)

    def tell(self, question: str, **fields: object) -> None:
        """Send a question whose answer is heard later."""
        assert self.process.stdin is not None  # noqa: S101 (it was opened above)
        try:
            self.process.stdin.write(json.dumps({"ask": question, **fields}).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise self._failed("has ended") from error

    def hear(self, limit: float = PATIENCE_S) -> Message:
        """Return the next thing that it says."""
        assert self.process.stdout is not None  # noqa: S101 (it was opened above)
        ends = time.monotonic() + limit
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, ends - time.monotonic())):
                    raise self._failed(f"kept silent for {limit:.0f} s")
                part = os.read(self.process.stdout.fileno(), 1 << 20)
                if not part:
                    raise self._failed("has ended")
                self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return cast("dict[str, Any]", json.loads(line))

    def end(self) -> None:
        """Close its stdin, wait, and insist. Twice is fine."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # it has ended, unsent words and all
                    pipe.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def _failed(self, what: str) -> ChildFailed:
        words = self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""
        return ChildFailed(f"{self.module} {what}; its last words:\n{words}")
