"""The rhythm of a loop, and how well it was kept.

What this is: sleeping until the next tick, and a count of what was missed. What it is not: a retry policy. The
invariant: time that the observed side took (it hung) is not counted as lost; time in which the observer itself did not
run is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from faultlab.entries import Poll
from faultlab.history import now

if TYPE_CHECKING:
    from faultlab.history import Writer

NOTICED_S = 0.2


class Pace:
    """One loop's period, in seconds."""

    def __init__(self, what: str, period: float, writer: Writer) -> None:
        """Begin now."""
        self._what = what
        self._period = period
        self._writer = writer
        self._began = now()
        self._done = 0
        self._lost = 0.0

    async def rest(self) -> None:
        """Sleep until the next tick; oversleeping by more than a period (and what a reader notices) is lost time."""
        self._done += 1
        before = now()
        await asyncio.sleep(self._period)
        over = now() - before - self._period
        if over > max(self._period, NOTICED_S):
            self._lost += over

    def close(self) -> None:
        """Write down how it went."""
        span = now() - self._began
        self._writer.write(Poll(what=self._what, done=self._done, lost_s=round(self._lost, 3), span_s=round(span, 3)))
