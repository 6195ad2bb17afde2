"""S8: heartbeat keys that would live too long are put right within a janitor's period.

What this is: the look at all heartbeat keys, from time to time. What it is not: a judgement of one command
(`observer`). The invariant: each key is reported once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultlab.sim.observer import Observer


@dataclass(slots=True)
class LongKeys:
    """Since when which key has had a wrong TTL."""

    observer: Observer
    since: dict[bytes, float] = field(default_factory=dict[bytes, float])

    def clear(self) -> None:
        """Begin anew: nobody is there who could put them right."""
        self.since.clear()

    def look(self, longest: float, allowed: float) -> None:
        """Look for keys that live for more than `longest` seconds; `allowed` is for how long that may be so."""
        redis, now = self.observer.redis, self.observer.now()
        store, now_ms = redis.store, redis.clock.now_ms()
        bad = {
            key
            for key, value in store.data.items()
            if key.endswith(b":heartbeat")
            and isinstance(value, bytes)
            and (key not in store.expires or store.expires[key] - now_ms > longest * 1000 + 1)
        }
        for key in [one for one in self.since if one not in bad]:
            del self.since[key]
        for key in sorted(bad):
            since = self.since.setdefault(key, now)
            if now - since > allowed:
                self.observer.wrong("S8", f"{key.decode()} has had a wrong TTL for {now - since:.0f} s")
                self.since[key] = now + 1e9
