"""What can happen next: the collection that every actor, the engines, time and the faults add to.

What this is: the successors of one state under one configuration. What it is not: the search. The invariant: the same
state always yields the same moves in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from faultlab.model.state import SILENCE, STEP, TIME, Move, State

if TYPE_CHECKING:
    from faultlab.model.rules import Rules


FAULTS = (
    "crash", "lost reply", "abandoned request", "lease over", "flush", "rewind", "exit", "tombstone over",
    "terminate", "client DEL", "record evicted", "heartbeat evicted", "cancel", "forget host", "outdated",
)  # fmt: skip
(
    CRASH, LOST_REPLY, ABANDON, LEASE, FLUSH, REWIND, EXIT, TOMBSTONE, TERMINATE, DELETE, EVICT, EVICT_KEY, CANCEL,
    FORGET, OUTDATED,
) = range(len(FAULTS))  # fmt: skip
"""Each is a budget: how often it may happen on one path."""


class Bounds(NamedTuple):
    """How far the model goes; what lies beyond counts as live."""

    spawns: int
    containers: int
    lag: int
    """How many writes a replica may miss."""
    settled: bool = False
    """Redis loses data only while no removal is on its way: between the last question to Redis and the engine's deed
    no protocol helps."""
    warm: bool = False
    """Host 0 has a pool with one member."""


class Moves:
    """The moves out of one state."""

    __slots__ = ("bounds", "found", "rules", "state")

    def __init__(self, state: State, rules: Rules, bounds: Bounds) -> None:
        """Begin without any."""
        self.state = state
        self.rules = rules
        self.bounds = bounds
        self.found: list[Move] = []

    def add(self, label: str, after: State, kind: str = STEP) -> None:
        """Note one move. A replica that fell behind misses this write too, or has caught up."""
        if after.replica is not None and after.replica is self.state.replica and kind not in (TIME, SILENCE):
            before = self.state
            if after.redis != before.redis:
                behind = before.lag < self.bounds.lag
                after = after._replace(lag=before.lag + 1) if behind else after._replace(replica=None, lag=0)
        self.found.append((label, kind, after))

    def has(self, fault: int) -> int:
        """Return how often this fault may still happen."""
        return self.state.left[fault]

    def spent(self, fault: int) -> tuple[int, ...]:
        """Return the faults that are left after this one."""
        left = self.state.left
        return (*left[:fault], left[fault] - 1, *left[fault + 1 :])
