"""How this process' own commands to Redis fare, and the host's clock that Redis' clock is compared with.

What this is: since when which kind of command fails, and one reading of Redis' clock. What it is not: a judgement
(`reactor.quarantine`), or the sending. The invariant: once a command failed or hung, `doubted` is true until a witness
has looked; so no verdict is given on what happened in between.
"""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from reactor.errors import OutOfMemory, Unavailable
from reactor.observation import CLOCK_DRIFT_PPM, ClockReading

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SILENCE: Final = 8.0
"""Seconds: a connect and a command together may hang that long before they fail."""
BETWEEN: Final = 3.0
"""Seconds: a reactor that is well sends something at least this often; more is its own pause, not Redis'."""
FOR_EVER_MS: Final = 10**15
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class UnexpectedAnswer(Unavailable):
    """Redis works, but not for this one command; that says nothing of what clients could do."""


class HostClock:
    """The host's own clock, in ms, which nobody sets; `boot` names it, so that another process knows it as the same."""

    def __init__(self) -> None:
        """Find out which clock there is: one that counts on while the host sleeps, where there is one."""
        self._id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        try:
            self.boot = _BOOT_ID.read_text("ascii").strip()
        except OSError:  # not Linux: comparable within this process only
            self.boot = f"process {secrets.token_hex(8)}"

    def now_ms(self) -> int:
        """Return the time since some instant of the past."""
        return time.clock_gettime_ns(self._id) // 1_000_000


class Lane(Enum):
    """Kinds of commands; a kind that works says nothing of the others."""

    WRITES = auto()
    """Scripts that write: as long as they fail, so do heartbeats."""
    PROBE = auto()
    """A question that any server answers, on a connection of its own."""
    CANARY = auto()
    """Plain writes that need memory: as long as they fail, scripts and heartbeats may work."""


class Pulse:
    """Since when what fails. One per process that judges outages by its own commands, so per reactor."""

    def __init__(self, now: Callable[[], float] = anyio.current_time) -> None:
        """Begin without knowing anything; `now` is monotonic, in seconds."""
        self._now = now
        self._worked: dict[Lane, float] = {}
        self._failing: dict[Lane, float | None] = {}
        """Since when, None: never worked; a lane stays in here until a witness was told."""
        self._canary_fails = False
        self.failures = 0
        """How many failures were noted so far."""

    @property
    def doubted(self) -> bool:
        """Whether something failed that no witness has looked at yet."""
        return Lane.WRITES in self._failing or Lane.PROBE in self._failing

    @property
    def ailing(self) -> bool:
        """Whether there is anything that a witness should be told of."""
        return bool(self._failing)

    @property
    def still_failing(self) -> bool:
        """Whether plain writes go on failing while scripts work."""
        return self._canary_fails and not self.doubted

    @property
    def failing_ms(self) -> int | None:
        """How long commands have failed until now; None where they did not."""
        if not self._failing:
            return None
        since = [at for at in self._failing.values() if at is not None]
        if len(since) < len(self._failing):
            return FOR_EVER_MS
        return max(0, round((self._now() - min(since)) * 1000))

    def worked(self, lane: Lane) -> None:
        """Note that a command of this kind worked."""
        self._worked[lane] = self._now()
        if lane is Lane.CANARY:
            self._canary_fails = False

    def failed(self, lane: Lane, hung: float) -> None:
        """Note that one failed, or hangs, after `hung` seconds."""
        self.failures += 1
        if lane is Lane.CANARY:
            self._canary_fails = True
        if lane in self._failing:
            return
        # The probe asks what any answer proves; a write proves only that writes work.
        worked = max(self._worked.values(), default=None) if lane is Lane.PROBE else self._worked.get(lane)
        if worked is not None:
            worked = max(worked, self._now() - min(hung, SILENCE) - BETWEEN)
        self._failing[lane] = worked

    def told(self, failures: int) -> None:
        """Note that a witness has written down all of this; what goes on failing is noted anew.

        `failures` is how many there were when he looked: what failed since then is for the next look.
        """
        if failures != self.failures:
            return
        # Where scripts failed too, they work now, and whether plain writes do the next one says. To count on from here
        # would make one outage of this and of another that comes before that, and sessions get one grace for each.
        self._canary_fails = self.still_failing
        kept = {Lane.CANARY: self._failing.get(Lane.CANARY)} if self._canary_fails else {}
        self._failing = dict[Lane, "float | None"](kept)

    @contextmanager
    def lane(self, lane: Lane) -> Generator[None]:
        """Note how the commands of the body fared."""
        began = self._now()
        try:
            yield
        except OutOfMemory:
            if lane is Lane.CANARY:
                self.failed(lane, self._now() - began)
            raise
        except UnexpectedAnswer:
            raise
        except Unavailable:
            self.failed(lane, self._now() - began)
            raise
        self.worked(lane)


class Expectation:
    """What Redis' clock should say now, from the last reading of it."""

    def __init__(self, clock: HostClock) -> None:
        """Begin without a reading."""
        self._clock = clock
        self._last: ClockReading | None = None

    def note(self, reading: ClockReading) -> None:
        """Take a reading; the next expectation starts from it."""
        self._last = reading

    def now(self) -> tuple[int, int]:
        """Return Redis' time as it should be, and how far off that may honestly be, in ms; 0, 0 where unknown."""
        if self._last is None:
            return 0, 0
        last, here = self._last, self._clock.now_ms()
        passed = max(0, here - last.told_ms)
        middle = (last.asked_ms + last.told_ms) // 2
        unsure = (last.told_ms - last.asked_ms) // 2 + passed * CLOCK_DRIFT_PPM // 1_000_000 + 1
        return last.redis_ms + here - middle, unsure

    def contradicts(self, reading: ClockReading) -> bool:
        """Whether a new reading shows that the clock moved by more than it may."""
        return self._last is not None and abs(self._last.shift(reading)) > self._last.allowed(reading)
