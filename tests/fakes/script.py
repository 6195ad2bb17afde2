"""Failures and pauses of a fake, on request.

What this is: the part of a fake that a test scripts. What it is not: the effect of a call. It keeps this: a call is
recorded, waits at its gate, then fails if it is to fail; once before its effect, and once more after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import anyio
import anyio.lowlevel

Verb = Literal[
    "engine", "create", "start", "inspect", "containers", "remove", "pull", "events", "last_output", "rename"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, in order of arrival; `subject` is a container id, a name, or an image."""

    verb: Verb
    subject: str = ""


@dataclass(slots=True, kw_only=True)
class Failure:
    """A scripted failure."""

    error: Exception
    times: int
    after_effect: bool


@dataclass(slots=True)
class Gate:
    """A place where calls wait. `reached` is set by the first that arrives; `open` lets all through from then on."""

    reached: anyio.Event = field(default_factory=anyio.Event)
    opened: anyio.Event = field(default_factory=anyio.Event)
    waiting: int = 0

    def open(self) -> None:
        """Let those who wait, and all later ones, through."""
        self.opened.set()

    async def passing(self) -> None:
        """Wait for the gate to open; cancellable."""
        self.waiting += 1
        self.reached.set()
        try:
            await self.opened.wait()
        finally:
            self.waiting -= 1


class Script:
    """What a test told a fake to do, and the calls that came."""

    def __init__(self) -> None:
        """Begin with nothing scripted."""
        self.calls: list[Call] = []
        self._failures: dict[Verb, list[Failure]] = {}
        self._gates: dict[tuple[Verb, bool], Gate] = {}

    def fail(self, verb: Verb, error: Exception, *, times: int = 1, after_effect: bool = False) -> None:
        """Let the next `times` calls fail, before their effect or after it (a lost answer)."""
        self._failures.setdefault(verb, []).append(Failure(error=error, times=times, after_effect=after_effect))

    def gate(self, verb: Verb, *, after_effect: bool = False) -> Gate:
        """Let calls wait, before their effect or after it, until the gate is opened."""
        return self._gates.setdefault((verb, after_effect), Gate())

    def count(self, verb: Verb) -> int:
        """Return how often a verb was called."""
        return sum(call.verb == verb for call in self.calls)

    async def before(self, verb: Verb, subject: str = "") -> None:
        """Record the call, then wait and fail as scripted for the moment before the effect."""
        self.calls.append(Call(verb=verb, subject=subject))
        await self._point(verb, after_effect=False)

    async def after(self, verb: Verb) -> None:
        """Wait and fail as scripted for the moment after the effect."""
        await self._point(verb, after_effect=True)

    async def _point(self, verb: Verb, *, after_effect: bool) -> None:
        await anyio.lowlevel.checkpoint()
        gate = self._gates.get((verb, after_effect))
        if gate is not None:
            await gate.passing()
        for failure in self._failures.get(verb, []):
            if failure.after_effect is after_effect and failure.times > 0:
                failure.times -= 1
                raise failure.error
