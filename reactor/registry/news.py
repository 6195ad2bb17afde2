"""What is said of a host's doubts: once each, by every process that hears of them.

What this is: the log line of a quarantine or outage, and whether it is worth an entry in the audit stream. What it is
not: the judgement (`reactor.quarantine`). The invariant: whoever found it (this process, another one, a script), each
process says it once, and one that comes again and again at most once a minute.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from reactor.quarantine import explain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from reactor.observation import Observation
    from reactor.quarantine import Conclusion
    from reactor.session import HostName

logger = logging.getLogger(__name__)

SAY_AGAIN_SECONDS = 60.0


def kind(doubt: str) -> str:
    """Return the kind of evidence that a doubt is named after; '' for none."""
    return doubt.partition(":")[0]


def worth_an_entry(now: Observation, found: Conclusion, raw: Mapping[str, str]) -> tuple[str, str]:
    """Return the quarantine and the outage that the audit stream is to hear of, '' for none."""
    said_ago = now.clock.redis_ms - int(raw.get("said_at") or 0)
    lately = 0 <= said_ago < SAY_AGAIN_SECONDS * 1000
    quarantine, outage = found.quarantine, found.outage
    # A Redis that evicts all the time begins a doubt with each look.
    if quarantine == now.seen.quarantine or (kind(quarantine) == kind(now.seen.quarantine) == "evicted" and lately):
        quarantine = ""
    return quarantine, "" if outage == now.seen.outage else outage


class Doubts:
    """What one process has heard of its host's doubts."""

    def __init__(self, host: HostName) -> None:
        """Begin without having heard anything."""
        self._host = host
        self._known: tuple[str, str] | None = None
        self._evicted_said = -SAY_AGAIN_SECONDS
        self.clock_moved = False
        """A doubt about the clock began; whoever has acted on it takes this back."""

    def hear(self, quarantine: str, outage: str, begun: Collection[str] = ()) -> bool:
        """Take the doubts that stand now (`begun`: new for certain); returns whether one of another kind began.

        What stood already when this process began to listen is no news to it.
        """
        was = self._known or (quarantine, outage)
        self._known = (quarantine, outage)
        for name, before in zip(self._known, was, strict=True):
            if name and (name != before or name in begun):
                self._say(name)
        self.clock_moved = self.clock_moved or (kind(quarantine) == "clock" and quarantine != was[0])
        return (kind(was[0]), kind(was[1])) != (kind(quarantine), kind(outage))

    def _say(self, reason: str) -> None:
        if kind(reason) == "evicted":
            if time.monotonic() - self._evicted_said < SAY_AGAIN_SECONDS:
                return
            self._evicted_said = time.monotonic()
        whose = "each session" if kind(reason) != "outage" else "each session whose heartbeats it can have cost"
        logger.warning(
            "%s: a missing heartbeat key proves nothing for a while, %s gets one grace",
            explain(reason),
            whose,
            extra={"action": "quarantine", "host": self._host, "reason": reason},
        )
