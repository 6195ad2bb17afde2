"""The keys of a simulated Redis: values, expiry on a virtual clock, and the memory of what was lost.

What this is: data, lazy and sampled expiry, copies for restarts, and an undo log for failovers. What it is not: the
commands (`commands`). The invariant: every change goes through `touch`, so that the undo log and the observers see it;
a key is dead only when now > its deadline, and its end is told when it is deleted, not when it is due.
"""

from __future__ import annotations

import bisect
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

UNDO_DEPTH = 64


class WrongTypeError(Exception):
    """The key holds another kind of value."""


@dataclass(slots=True)
class SortedSet:
    """Members with scores, in order."""

    scores: dict[bytes, float] = field(default_factory=dict[bytes, float])
    order: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])

    def put(self, member: bytes, score: float) -> bool:
        """Set a score; whether the member is new."""
        old = self.scores.get(member)
        if old is not None:
            if old == score:
                return False
            self.order.pop(bisect.bisect_left(self.order, (old, member)))
        self.scores[member] = score
        bisect.insort(self.order, (score, member))
        return old is None

    def drop(self, member: bytes) -> bool:
        """Remove a member; whether it was there."""
        old = self.scores.pop(member, None)
        if old is None:
            return False
        self.order.pop(bisect.bisect_left(self.order, (old, member)))
        return True


@dataclass(slots=True)
class Stream:
    """Entries by id; only appended to and trimmed at the front."""

    entries: deque[tuple[bytes, list[bytes]]] = field(default_factory=deque[tuple[bytes, list[bytes]]])
    last: tuple[int, int] = (0, 0)
    added: int = 0


@dataclass(slots=True)
class StreamMark:
    """How far a stream was: enough to undo, since it is only appended to."""

    last: tuple[int, int]
    added: int


Hash = dict[bytes, bytes]
Value = bytes | Hash | SortedSet | Stream | set[bytes]


@dataclass(slots=True)
class Before:
    """What a key was before a write."""

    key: bytes
    value: Value | StreamMark | None
    expires: int | None


def _mark(value: Value | None) -> Value | StreamMark | None:
    return StreamMark(value.last, value.added) if isinstance(value, Stream) else _copy(value)


def _copy(value: Value | StreamMark | None) -> Value | None:
    match value:
        case StreamMark():
            return None  # never part of a snapshot
        case SortedSet():
            return SortedSet(dict(value.scores), list(value.order))
        case Stream():
            return Stream(deque(value.entries), value.last, value.added)
        case dict():
            return dict(value)
        case set():
            return set(value)
        case _:
            return value


class Store:
    """One database. `now_ms` is the server's own clock, which may jump."""

    def __init__(self, now_ms: Callable[[], int], rng: Random, *, undo: bool = True) -> None:
        """Begin empty."""
        self.data: dict[bytes, Value] = {}
        self.expires: dict[bytes, int] = {}
        self.changed: dict[bytes, None] = {}
        """Keys touched since somebody last looked."""
        self.on_expired: Callable[[bytes], None] = lambda _key: None
        self.expired_count = 0
        self._now_ms = now_ms
        self._rng = rng
        self._undo: deque[list[Before]] | None = deque(maxlen=UNDO_DEPTH) if undo else None
        self._step: list[Before] = []
        self._steps_keys: set[bytes] = set()

    # ------------------------------------------------------------------ reading and changing

    def look(self, key: bytes) -> Value | None:
        """Return a value, deleting it first if it has ended."""
        when = self.expires.get(key)
        if when is not None and self._now_ms() > when:
            self.end(key)
            return None
        return self.data.get(key)

    def touch(self, key: bytes, *, gone: bool = False) -> None:
        """Say that a key is about to change, or to go: then nobody changes its value any more."""
        self.changed[key] = None
        if self._undo is not None and key not in self._steps_keys:
            self._steps_keys.add(key)
            value = self.data.get(key)
            self._step.append(Before(key, value if gone else _mark(value), self.expires.get(key)))

    def put(self, key: bytes, value: Value) -> None:
        """Set a value, leaving its TTL."""
        self.touch(key)
        self.data[key] = value

    def remove(self, key: bytes) -> bool:
        """Delete a key; whether it was there."""
        if key not in self.data:
            return False
        self.touch(key, gone=True)
        del self.data[key]
        self.expires.pop(key, None)
        return True

    def end(self, key: bytes) -> None:
        """Delete a key whose time is over, and say so."""
        self.remove(key)
        self.expired_count += 1
        self.on_expired(key)

    def sample(self, count: int = 20) -> None:
        """Look for ended keys as the background cycle does: a random handful of those with a TTL."""
        if not self.expires:
            return
        now = self._now_ms()
        names = list(self.expires)
        for key in self._rng.sample(names, min(count, len(names))):
            if now > self.expires[key]:
                self.end(key)
        self.settled()

    # ------------------------------------------------------------------ losing data

    def settled(self) -> None:
        """Mark the end of one command or script: what was touched until now is one write."""
        if self._undo is not None and self._step:
            self._undo.append(self._step)
            self._step = []
            self._steps_keys.clear()

    def rewind(self, writes: int) -> int:
        """Forget the last `writes` writes (a failover to a replica that lagged); returns how many there were."""
        if self._undo is None:
            return 0
        undone = 0
        while self._undo and undone < writes:
            for before in reversed(self._undo.pop()):
                self._restore(before)
            undone += 1
        return undone

    def _restore(self, before: Before) -> None:
        self.changed[before.key] = None
        if before.value is None:
            self.data.pop(before.key, None)
        elif isinstance(before.value, StreamMark):
            stream = self.data[before.key]
            assert isinstance(stream, Stream)
            while stream.added > before.value.added:
                stream.entries.pop()
                stream.added -= 1
            stream.last = before.value.last
        else:
            self.data[before.key] = before.value
        if before.expires is None or before.value is None:
            self.expires.pop(before.key, None)
        else:
            self.expires[before.key] = before.expires

    def copy(self) -> list[Before]:
        """Return everything, as a snapshot file holds it."""
        return [Before(key, _copy(value), self.expires.get(key)) for key, value in self.data.items()]

    def load(self, snapshot: list[Before]) -> None:
        """Replace everything by a snapshot; keys that ended meanwhile are left out, and nobody is told."""
        self.changed.update(dict.fromkeys(self.data))
        self.data.clear()
        self.expires.clear()
        now = self._now_ms()
        for before in snapshot:
            if before.expires is None or now <= before.expires:
                self._restore(Before(before.key, _copy(before.value), before.expires))
        if self._undo is not None:
            self._undo.clear()

    def clear(self) -> None:
        """Delete everything without a word (FLUSHALL publishes nothing)."""
        for key in list(self.data):
            self.touch(key, gone=True)
        self.data.clear()
        self.expires.clear()
