"""Sorted sets and streams of a simulated Redis.

What this is: the commands on them that the product uses. What it is not: all their options; an unknown one is a syntax
error. The invariant: as in `commands`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from faultlab.sim.commands import Keyspace, integer, typed
from faultlab.sim.replies import SYNTAX, RefusedError, Reply
from faultlab.sim.store import SortedSet, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_FLOAT = "ERR value is not a valid float"
BAD_RANGE = "ERR min or max is not a float"


def _number(raw: bytes, refusal: str = NOT_FLOAT) -> float:
    try:
        value = float(raw)
    except ValueError:
        raise RefusedError(refusal) from None
    if math.isnan(value):
        raise RefusedError(refusal)
    return value


def shown_score(score: float) -> bytes:
    """Return a score as Redis prints it."""
    if math.isinf(score):
        return b"inf" if score > 0 else b"-inf"
    return b"%d" % int(score) if score == int(score) and abs(score) < 1e17 else repr(score).encode()


def _bound(raw: bytes) -> tuple[float, bool]:
    if raw.startswith(b"("):
        return _number(raw[1:], BAD_RANGE), False
    return _number(raw, BAD_RANGE), True


class Ordered(Keyspace):
    """Commands on sorted sets and streams."""

    def _zset(self, key: bytes) -> SortedSet:
        return typed(self.store, key, SortedSet) or SortedSet()

    def zadd(self, key: bytes, *args: bytes) -> Reply:
        """ZADD with NX, XX, GT, LT, CH."""
        flags: set[bytes] = set()
        rest = list(args)
        while rest and rest[0].upper() in (b"NX", b"XX", b"GT", b"LT", b"CH"):
            flags.add(rest.pop(0).upper())
        if not rest or len(rest) % 2:
            raise RefusedError(SYNTAX)
        if b"NX" in flags and flags & {b"XX", b"GT", b"LT"}:
            text = "XX and NX" if b"XX" in flags else "GT, LT, and/or NX"
            raise RefusedError(f"ERR {text} options at the same time are not compatible")
        pairs = [(_number(score), member) for score, member in zip(rest[::2], rest[1::2], strict=True)]
        known = self._zset(key)
        added = changed = 0
        for score, member in pairs:
            old = known.scores.get(member)
            if (old is not None and b"NX" in flags) or (old is None and b"XX" in flags) or score == old:
                continue
            if old is not None and ((b"GT" in flags and score <= old) or (b"LT" in flags and score >= old)):
                continue
            if not changed:
                self.store.touch(key)
            added += known.put(member, score)
            changed += 1
        if changed:
            self.store.data[key] = known
            self.notify("z", "zadd", key)
        return changed if b"CH" in flags else added

    def zrem(self, key: bytes, *members: bytes) -> Reply:
        """ZREM."""
        known = self._zset(key)
        gone = [member for member in dict.fromkeys(members) if member in known.scores]
        if gone:
            self.store.touch(key)
            for member in gone:
                known.drop(member)
            self.notify("z", "zrem", key)
            self._drop_empty(key, known.order)
        return len(gone)

    def zcard(self, key: bytes) -> Reply:
        """ZCARD."""
        return len(self._zset(key).scores)

    def zscore(self, key: bytes, member: bytes) -> Reply:
        """ZSCORE."""
        score = self._zset(key).scores.get(member)
        return None if score is None else shown_score(score)

    def zmscore(self, key: bytes, *members: bytes) -> Reply:
        """ZMSCORE."""
        return [self.zscore(key, member) for member in members]

    def zcount(self, key: bytes, low: bytes, high: bytes) -> Reply:
        """ZCOUNT."""
        return sum(1 for _ in self._between(key, low, high))

    def zrangebyscore(self, key: bytes, low: bytes, high: bytes, *options: bytes) -> Reply:
        """ZRANGEBYSCORE."""
        return self.zrange(key, low, high, b"BYSCORE", *options)

    def _between(self, key: bytes, low: bytes, high: bytes) -> Iterator[tuple[float, bytes]]:
        (least, with_least), (most, with_most) = _bound(low), _bound(high)
        for score, member in self._zset(key).order:
            if (score > least or (with_least and score == least)) and (score < most or (with_most and score == most)):
                yield score, member
            elif score > most:
                return

    def zrange(self, key: bytes, low: bytes, high: bytes, *options: bytes) -> Reply:
        """ZRANGE by index or BYSCORE, with LIMIT and WITHSCORES."""
        words = iter(options)
        by_score = with_scores = False
        limit: tuple[int, int] | None = None
        for raw in words:
            match raw.upper():
                case b"BYSCORE":
                    by_score = True
                case b"WITHSCORES":
                    with_scores = True
                case b"LIMIT":
                    limit = (integer(next(words)), integer(next(words)))
                case _:
                    raise RefusedError(SYNTAX)
        if limit and not by_score:
            raise RefusedError("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
        if by_score:
            found = list(self._between(key, low, high))
            if limit:
                found = found[limit[0] :] if limit[1] < 0 else found[limit[0] : limit[0] + limit[1]]
        else:
            order = self._zset(key).order
            first, last = integer(low), integer(high)
            first = max(0, first + len(order)) if first < 0 else first
            last = last + len(order) if last < 0 else last
            found = order[first : last + 1] if last >= first else []
        if with_scores:
            return [part for score, member in found for part in (member, shown_score(score))]
        return [member for _, member in found]

    # ------------------------------------------------------------------ streams

    def xadd(self, key: bytes, *args: bytes) -> Reply:
        """XADD with MAXLEN and an id of `*`."""
        rest = list(args)
        cap: int | None = None
        if rest and rest[0].upper() == b"MAXLEN":
            rest.pop(0)
            roughly = rest[0] == b"~"
            if rest[0] in (b"~", b"="):
                rest.pop(0)
            cap = integer(rest.pop(0))
            cap = cap + 100 if roughly else cap
        if not rest or rest.pop(0) != b"*" or not rest or len(rest) % 2:
            raise RefusedError("ERR wrong number of arguments for 'xadd' command")
        stream: Stream = typed(self.store, key, Stream) or Stream()
        self.store.touch(key)
        now = self.now_ms()
        stream.last = (now, 0) if now > stream.last[0] else (stream.last[0], stream.last[1] + 1)
        entry_id = b"%d-%d" % stream.last
        stream.entries.append((entry_id, rest))
        stream.added += 1
        self.store.data[key] = stream
        self.notify("t", "xadd", key)
        if cap is not None and len(stream.entries) > cap:
            while len(stream.entries) > cap:
                stream.entries.popleft()
            self.notify("t", "xtrim", key)
        return entry_id

    def xlen(self, key: bytes) -> Reply:
        """XLEN."""
        stream: Stream | None = typed(self.store, key, Stream)
        return len(stream.entries) if stream else 0

    def xrange(self, key: bytes, low: bytes, high: bytes, *options: bytes) -> Reply:
        """XRANGE with COUNT."""
        stream: Stream | None = typed(self.store, key, Stream)
        limit = integer(options[1]) if options else None
        (least, after), most = _stream_id(low, 0), _stream_id(high, 2**63)[0]
        found = [
            [entry_id, list(fields)]
            for entry_id, fields in (stream.entries if stream else ())
            if least <= _stream_id(entry_id, 0)[0] <= most and not (after and _stream_id(entry_id, 0)[0] == least)
        ]
        return found if limit is None else found[:limit]

    def xread(self, *args: bytes) -> Reply:
        """XREAD of one stream, without BLOCK."""
        words = [word.upper() for word in args]
        at = words.index(b"STREAMS")
        limit = integer(args[words.index(b"COUNT") + 1]) if b"COUNT" in words[:at] else None
        key, after = args[at + 1], args[at + 2]
        found = self.xrange(key, b"(" + after, b"+", *((b"COUNT", b"%d" % limit) if limit is not None else ()))
        return [[key, found]] if found else None


def _stream_id(raw: bytes, missing: int) -> tuple[tuple[int, int], bool]:
    after = raw.startswith(b"(")
    text = raw[1:] if after else raw
    if text == b"-":
        return (0, 0), after
    if text == b"+":
        return (2**63, 2**63), after
    ms, _, seq = text.partition(b"-")
    return (int(ms), int(seq) if seq else (0 if after else missing)), after
