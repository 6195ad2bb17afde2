"""The commands of a simulated Redis that the product and its clients use, with their notifications.

What this is: one function per command over a `Store`. What it is not: connections, scripts or faults (`redis`). The
invariant: the same replies and keyspace events as a real server, which a differential test holds it to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faultlab.sim.replies import NOT_INT, OK, SYNTAX, RefusedError, Reply, Status, matcher
from faultlab.sim.store import Hash, SortedSet, Store, Stream, WrongTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sized


def integer(raw: bytes) -> int:
    """Read a whole number."""
    try:
        return int(raw)
    except ValueError:
        raise RefusedError(NOT_INT) from None


def typed(store: Store, key: bytes, kind: type) -> Any:
    """Return a value of this kind, or None."""
    value = store.look(key)
    if value is not None and not isinstance(value, kind):
        raise WrongTypeError
    return value


@dataclass(slots=True)
class Keyspace:
    """What a command works on."""

    store: Store
    notify: Callable[[str, str, bytes], None]
    """Class, event, key."""
    now_us: Callable[[], int]
    past: tuple[str, str] = ("g", "del")
    """The class and event of a key whose new deadline has passed already; with Valkey `("x", "expired")`."""

    def now_ms(self) -> int:
        """Return the server's clock."""
        return self.now_us() // 1000

    # ------------------------------------------------------------------ any key

    def delete(self, *keys: bytes) -> Reply:
        """DEL."""
        gone = 0
        for key in keys:
            if self.store.look(key) is not None and self.store.remove(key):
                gone += 1
                self.notify("g", "del", key)
        return gone

    def exists(self, *keys: bytes) -> Reply:
        """EXISTS."""
        return sum(self.store.look(key) is not None for key in keys)

    def type(self, key: bytes) -> Reply:
        """TYPE."""
        names: list[tuple[type, bytes]] = [
            (bytes, b"string"), (dict, b"hash"), (SortedSet, b"zset"), (Stream, b"stream"), (set, b"set"),
        ]  # fmt: skip
        value = self.store.look(key)
        return Status(next((name for kind, name in names if isinstance(value, kind)), b"none"))

    def pttl(self, key: bytes) -> Reply:
        """PTTL."""
        if self.store.look(key) is None:
            return -2
        when = self.store.expires.get(key)
        return -1 if when is None else max(0, when - self.now_ms())

    def ttl(self, key: bytes) -> Reply:
        """TTL."""
        left = self.pttl(key)
        return left if left < 0 else (left + 500) // 1000

    def pexpiretime(self, key: bytes) -> Reply:
        """PEXPIRETIME."""
        if self.store.look(key) is None:
            return -2
        return self.store.expires.get(key, -1)

    def expire(self, key: bytes, seconds: bytes, *options: bytes) -> Reply:
        """EXPIRE."""
        return self._expire_at(key, self.now_ms() + integer(seconds) * 1000, options)

    def pexpire(self, key: bytes, ms: bytes, *options: bytes) -> Reply:
        """PEXPIRE."""
        return self._expire_at(key, self.now_ms() + integer(ms), options)

    def pexpireat(self, key: bytes, ms: bytes, *options: bytes) -> Reply:
        """PEXPIREAT."""
        return self._expire_at(key, integer(ms), options)

    def _expire_at(self, key: bytes, when: int, options: tuple[bytes, ...]) -> int:
        wanted = {option.upper() for option in options}
        for option in options:
            if option.upper() not in (b"NX", b"XX", b"GT", b"LT"):
                raise RefusedError("ERR Unsupported option " + option.decode())
        if b"NX" in wanted and len(wanted) > 1:
            raise RefusedError("ERR NX and XX, GT or LT options at the same time are not compatible")
        if {b"GT", b"LT"} <= wanted:
            raise RefusedError("ERR GT and LT options at the same time are not compatible")
        if self.store.look(key) is None:
            return 0
        now = self.store.expires.get(key)
        refused = (
            (b"NX" in wanted and now is not None)
            or (b"XX" in wanted and now is None)
            or (b"GT" in wanted and (now is None or when <= now))
            or (b"LT" in wanted and now is not None and when >= now)
        )
        if refused:
            return 0
        if when <= self.now_ms():
            self.store.remove(key)
            self.notify(*self.past, key)
            return 1
        self.store.touch(key)
        self.store.expires[key] = when
        self.notify("g", "expire", key)
        return 1

    def persist(self, key: bytes) -> Reply:
        """PERSIST."""
        if self.store.look(key) is None or key not in self.store.expires:
            return 0
        self.store.touch(key)
        del self.store.expires[key]
        self.notify("g", "persist", key)
        return 1

    def scan(self, cursor: bytes, *options: bytes) -> Reply:
        """SCAN: every key in one step, as a small database answers."""
        if cursor != b"0":
            return [b"0", []]
        pattern = b"*"
        words = iter(options)
        for word in words:
            value = next(words)
            if word.upper() == b"MATCH":
                pattern = value
        found = matcher(pattern)
        return [b"0", [key for key in list(self.store.data) if found(key) and self.store.look(key) is not None]]

    # ------------------------------------------------------------------ strings

    def get(self, key: bytes) -> Reply:
        """GET."""
        return typed(self.store, key, bytes)

    def set(self, key: bytes, value: bytes, *options: bytes) -> Reply:
        """SET with EX, PX, PXAT, KEEPTTL, NX, XX."""
        when: int | None = None
        flags: set[bytes] = set()
        words = iter(options)
        for raw in words:
            word = raw.upper()
            if word in (b"EX", b"PX", b"PXAT"):
                number = integer(next(words, b"x")) * (1000 if word == b"EX" else 1)
                if number <= 0:
                    raise RefusedError("ERR invalid expire time in 'set' command")
                when = number + (0 if word == b"PXAT" else self.now_ms())
            elif word in (b"NX", b"XX", b"KEEPTTL"):
                flags.add(word)
            else:
                raise RefusedError(SYNTAX)
        there = self.store.look(key) is not None
        if (b"NX" in flags and there) or (b"XX" in flags and not there):
            return None
        self.store.put(key, value)
        if b"KEEPTTL" not in flags:
            self.store.expires.pop(key, None)
        self.notify("$", "set", key)
        if when is not None:
            self.store.expires[key] = when
            self.notify("g", "expire", key)
        return OK

    # ------------------------------------------------------------------ hashes

    def _hash(self, key: bytes) -> Hash:
        return typed(self.store, key, dict) or {}

    def hset(self, key: bytes, *pairs: bytes) -> Reply:
        """HSET."""
        if not pairs or len(pairs) % 2:
            raise RefusedError("ERR wrong number of arguments for 'hset' command")
        old = self._hash(key)
        self.store.touch(key)
        new = self.store.data.setdefault(key, old)
        assert isinstance(new, dict)
        before = len(new)
        new.update(zip(pairs[::2], pairs[1::2], strict=True))
        self.notify("h", "hset", key)
        return len(new) - before

    def hdel(self, key: bytes, *fields: bytes) -> Reply:
        """HDEL."""
        known = self._hash(key)
        gone = [name for name in dict.fromkeys(fields) if name in known]
        if gone:
            self.store.touch(key)
            for name in gone:
                del known[name]
            self.notify("h", "hdel", key)
            self._drop_empty(key, known)
        return len(gone)

    def hget(self, key: bytes, field: bytes) -> Reply:
        """HGET."""
        return self._hash(key).get(field)

    def hmget(self, key: bytes, *fields: bytes) -> Reply:
        """HMGET."""
        known = self._hash(key)
        return [known.get(name) for name in fields]

    def hgetall(self, key: bytes) -> Reply:
        """HGETALL."""
        return [part for pair in self._hash(key).items() for part in pair]

    def hexists(self, key: bytes, field: bytes) -> Reply:
        """HEXISTS."""
        return int(field in self._hash(key))

    def hlen(self, key: bytes) -> Reply:
        """HLEN."""
        return len(self._hash(key))

    def hsetnx(self, key: bytes, field: bytes, value: bytes) -> Reply:
        """HSETNX."""
        return 0 if field in self._hash(key) else self.hset(key, field, value)

    def hincrby(self, key: bytes, field: bytes, by: bytes) -> Reply:
        """HINCRBY."""
        try:
            value = int(self._hash(key).get(field, b"0")) + integer(by)
        except ValueError:
            raise RefusedError("ERR hash value is not an integer") from None
        old = self._hash(key)
        self.store.touch(key)
        new = self.store.data.setdefault(key, old)
        assert isinstance(new, dict)
        new[field] = b"%d" % value
        self.notify("h", "hincrby", key)
        return value

    def _drop_empty(self, key: bytes, value: Sized) -> None:
        if not len(value):
            self.store.remove(key)
            self.notify("g", "del", key)

    # ------------------------------------------------------------------ sets

    def sadd(self, key: bytes, *members: bytes) -> Reply:
        """SADD."""
        known: set[bytes] = typed(self.store, key, set) or set()
        new = [member for member in dict.fromkeys(members) if member not in known]
        if new:
            self.store.touch(key)
            known.update(new)
            self.store.data[key] = known
            self.notify("s", "sadd", key)
        return len(new)

    def srem(self, key: bytes, *members: bytes) -> Reply:
        """SREM."""
        known: set[bytes] = typed(self.store, key, set) or set()
        gone = [member for member in dict.fromkeys(members) if member in known]
        if gone:
            self.store.touch(key)
            known.difference_update(gone)
            self.notify("s", "srem", key)
            self._drop_empty(key, known)
        return len(gone)

    def smembers(self, key: bytes) -> Reply:
        """SMEMBERS, in order so that a run can be repeated."""
        return sorted(typed(self.store, key, set) or ())

    def sismember(self, key: bytes, member: bytes) -> Reply:
        """SISMEMBER."""
        return int(member in (typed(self.store, key, set) or ()))
