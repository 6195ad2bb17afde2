"""Every call of a process through a port, numbered, and the one place where a fault can be put on it.

What this is: the count of calls to Redis and to engines, and of messages that come unasked; a sweep arms one fault at
one number. What it is not: the effect of a call. The invariant: each call passes here once before it leaves, so "crash
at the n-th call" means the same call in each run of a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultlab.sim.loop import Process


class Fault(StrEnum):
    """What can happen to one call."""

    NONE = "none"
    CRASH_BEFORE = "crash_before"
    """The process dies; the call never leaves."""
    CRASH_AFTER = "crash_after"
    """The call is carried out; the process dies and never hears the answer."""
    LOSE_REQUEST = "lose_request"
    """The connection breaks before the call arrives."""
    LOSE_REPLY = "lose_reply"
    """The call is carried out; the connection breaks instead of an answer."""
    STALL_BEFORE = "stall_before"
    """The process stands still for longer than every lease, then the call leaves."""
    STALL_AFTER = "stall_after"
    """The call is carried out; the process stands still for longer than every lease before it hears the answer."""
    STALE = "stale"
    """The answer is true when it is given and old when it is heard (an engine's: also of the moment before)."""
    LATE = "late"
    """Nobody answers in time; the call is carried out afterwards."""
    REPEAT = "repeat"
    """It is carried out twice, as a repetition after a lost answer."""
    DROP_PUSH = "drop_event"
    """A message that came unasked is lost."""
    REPEAT_PUSH = "repeat_event"
    """A message that came unasked comes twice, the second time late."""


STALL = 45.0
"""Seconds that a stalled process stands still: longer than every lease and time-out."""
STALE = 4.5
"""Seconds that a stale answer takes: just within redis-py's time-out."""
LATE = 8.0
"""Seconds after which a late request is carried out: beyond that time-out."""
PUSH_FAULTS = (Fault.DROP_PUSH, Fault.REPEAT_PUSH)
AT_ONCE_FAULTS = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.STALL_BEFORE, Fault.STALL_AFTER, Fault.STALE)
"""Those after which somebody may ask for the session while whoever was struck is dead, stands still, or has yet to hear
an answer that is no longer true."""
CALL_FAULTS = tuple(fault for fault in Fault if fault not in (*PUSH_FAULTS, Fault.NONE))


@dataclass(slots=True)
class Ports:
    """The calls of one process while it is `counting`."""

    process: Process | None = None
    counting: bool = False
    calls: list[str] = field(default_factory=list[str])
    pushes: list[str] = field(default_factory=list[str])
    fault: Fault = Fault.NONE
    at: int = 0
    """The fault's number, beginning with 1; of calls or of pushes, as the fault is."""
    fired: str = ""
    on_fired: Callable[[], object] = lambda: None
    """Called when the fault befalls a call, before it takes effect."""
    watchers: list[Callable[[str, str], None]] = field(default_factory=list[Callable[[str, str], None]])
    """Told of each call: process and label."""

    def call(self, process: Process | None, label: str) -> Fault:
        """Count a call; return what befalls it."""
        for watcher in self.watchers:
            watcher("" if process is None else process.name, label)
        if not self.counting or process is None or process is not self.process:
            return Fault.NONE
        self.calls.append(label)
        if self.fault in CALL_FAULTS and len(self.calls) == self.at:
            self.fired = label
            self.on_fired()
            return self.fault
        return Fault.NONE

    def push(self, process: Process | None, label: str) -> Fault:
        """Count a message that comes unasked; return what befalls it."""
        if not self.counting or process is None or process is not self.process:
            return Fault.NONE
        self.pushes.append(label)
        if self.fault in PUSH_FAULTS and len(self.pushes) == self.at:
            self.fired = label
            return self.fault
        return Fault.NONE


def leave(process: Process | None, fault: Fault, later: Callable[[float, Callable[[], None]], object]) -> float | None:
    """Let a fault befall whoever sends; return by how much the request is late, None if it never leaves."""
    if process is None or fault is Fault.NONE:
        return 0.0
    match fault:
        case Fault.CRASH_BEFORE:
            process.kill()
            return None
        case Fault.CRASH_AFTER:
            process.kill()
        case Fault.STALL_BEFORE | Fault.STALL_AFTER:
            process.freeze()
            later(STALL, process.thaw)
            return STALL if fault is Fault.STALL_BEFORE else 0.0
        case Fault.LATE:
            return LATE
        case _:
            pass
    return 0.0
