"""A simulated Redis server: sessions of clients, scripts, notifications, and everything that can befall it.

What this is: one primary in memory on a virtual clock. What it is not: the network in front of it (`wire`). The
invariant: one command or script is one step; nothing that happens to it leaves half of one behind.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from faultlab.sim.admission import GROWS, KNOWN, REFUSALS, UNHARMED, WRITES, WRONG_TYPE
from faultlab.sim.connection import Session, info_text
from faultlab.sim.naming import script_name
from faultlab.sim.ordered import Ordered
from faultlab.sim.replies import OK, Refusal, RefusedError, Reply, Status, matcher
from faultlab.sim.scripting import Lua, ScriptFlags
from faultlab.sim.store import Before, Store, WrongTypeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from faultlab.sim.clock import ServerClock


class SimRedis:
    """One server. `mode` is the error that it answers with, empty while it is well."""

    def __init__(self, clock: ServerClock, rng: Random, *, undo: bool = True) -> None:
        """Start it empty."""
        self.clock = clock
        self._rng = rng
        self.store = Store(clock.now_ms, rng, undo=undo)
        self.store.on_expired = lambda key: self.notify("x", "expired", key)
        self.keyspace = Ordered(self.store, self.notify, clock.now_us)
        self.lua = Lua()
        self.mode = ""
        self.flags = "KExge"
        self.sessions: dict[Session, None] = {}
        self._scripts: dict[bytes, bytes] = {}
        self.errors: Counter[str] = Counter()
        self.evicted = 0
        self.run_id = self.replid = ""
        self.on_step: Callable[[str], None] = lambda _name: None
        """Called after each command or script with its name, while `store.changed` names what it touched."""
        self._name = ""
        self._verb = cache(self._found)
        self.begin_again(new_replid=True)

    def _hex(self) -> str:
        return f"{self._rng.getrandbits(160):040x}"

    # ------------------------------------------------------------------ what befalls it

    def begin_again(self, *, new_replid: bool) -> None:
        """Become another process: new run id, no connections, no scripts, counters at zero."""
        self.run_id = self._hex()
        if new_replid:
            self.replid = self._hex()
        self._scripts.clear()
        self.errors.clear()
        self.evicted = self.store.expired_count = 0
        self.sessions.clear()
        self.mode = ""

    def evict(self, keys: list[bytes]) -> None:
        """Throw keys out, as a full server with a policy of eviction does."""
        for key in keys:
            if self.store.remove(key):
                self.evicted += 1
                self.notify("e", "evicted", key)
        self._step("evict")

    def restart(self, data: list[Before], *, new_replid: bool = True) -> None:
        """End and start again with the given data (none: empty)."""
        self.begin_again(new_replid=new_replid)
        self.store.load(data)
        self._step("restart")

    def fail_over(self, lost: int) -> int:
        """Let a replica take over that had not seen the last `lost` writes."""
        undone = self.store.rewind(lost)
        self.begin_again(new_replid=True)
        self._step("failover")
        return undone

    def _step(self, name: str) -> None:
        self.store.settled()
        self.on_step(name)
        self.store.changed.clear()

    def cycle(self) -> None:
        """Do a round of active expiry."""
        if not self.mode and self.store.expires:
            self.store.sample()
            if self.store.changed:
                self._step("cycle")

    # ------------------------------------------------------------------ notifications

    def notify(self, kind: str, event: str, key: bytes) -> None:
        """Publish a keyspace notification where its class is switched on."""
        if kind not in self.flags and not ("A" in self.flags and kind in "g$lshzxet"):
            return
        if "K" in self.flags:
            self.publish(b"__keyspace@0__:" + key, event.encode())
        if "E" in self.flags:
            self.publish(b"__keyevent@0__:" + event.encode(), key)

    def publish(self, channel: bytes, message: bytes) -> int:
        """Send to whoever listens, and forget."""
        heard = 0
        for session in list(self.sessions):
            if channel in session.channels:
                session.push([b"message", channel, message])
                heard += 1
            for pattern in session.patterns:
                if matcher(pattern)(channel):
                    session.push([b"pmessage", pattern, channel, message])
                    heard += 1
        return heard

    # ------------------------------------------------------------------ commands

    def execute(self, session: Session, words: list[bytes]) -> list[Reply]:  # noqa: PLR0911 (a table of commands)
        """Carry out one command; returns its replies (a subscription has one for each channel)."""
        name = words[0].upper()
        if name in (b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE"):
            if self.mode in ("LOADING", "NOAUTH"):
                return [self._refused(REFUSALS[self.mode])]
            return self._subscriptions(session, name, words[1:])
        if session.subscriptions and name == b"PING":
            return [[b"pong", words[1] if len(words) > 1 else b""]]
        if session.queued is not None and name not in (b"EXEC", b"DISCARD", b"MULTI"):
            session.queued.append(words)
            return [Status(b"QUEUED")]
        match name:
            case b"MULTI":
                session.queued = []
                return [OK]
            case b"EXEC":
                queued, session.queued = session.queued or [], None
                replies = [self._run(one) for one in queued]
                self._step("exec")
                return [replies]
            case b"DISCARD":
                session.queued = None
                return [OK]
            case _:
                reply = self._run(words)
                self._step(self._name)
                return [reply]

    def direct(self, *words: bytes) -> Reply:
        """Carry out a command of somebody without a connection."""
        reply = self._run(list(words))
        self._step(self._name)
        return reply

    def _run(self, words: list[bytes]) -> Reply:
        name = words[0].upper()
        self._name = name.decode("latin-1").lower()
        try:
            if name in (b"EVAL", b"EVALSHA"):
                return self._eval(name, words[1:])
            self._admit(name)
            return self._verb(name)(*words[1:])
        except RefusedError as error:
            return self._refused(str(error))
        except WrongTypeError:
            return self._refused(WRONG_TYPE)

    def _refused(self, text: str) -> Refusal:
        self.errors[text.partition(" ")[0]] += 1
        return Refusal(text)

    def _admit(self, name: bytes) -> None:
        mode = self.mode
        if not mode or (name in UNHARMED and mode != "NOAUTH"):
            return
        whole = mode in ("LOADING", "NOAUTH")
        if whole or (name in WRITES and (mode != "OOM" or name in GROWS)):
            raise RefusedError(REFUSALS[mode])

    def _found(self, name: bytes) -> Any:
        if name not in KNOWN:
            raise RefusedError(f"ERR unknown command '{name.decode('latin-1')}', with args beginning with: ")
        lower = name.decode().lower()
        verb: Any = getattr(self, "cmd_" + lower, None)
        return getattr(self.keyspace, "delete" if name == b"DEL" else lower) if verb is None else verb

    # ------------------------------------------------------------------ scripts

    def _eval(self, name: bytes, args: list[bytes]) -> Reply:
        if self.mode in ("LOADING", "NOAUTH"):
            raise RefusedError(REFUSALS[self.mode])
        body = self._scripts.get(args[0].lower()) if name == b"EVALSHA" else args[0]
        if body is None:
            raise RefusedError("NOSCRIPT No matching script. Please use EVAL.")
        if name == b"EVAL":
            self.cmd_script(b"LOAD", body)
        count = int(args[1])
        flags = self.lua.flags(body)
        self._admit_script(flags)
        self._name = script_name(body)

        def call(words: list[bytes]) -> Reply:
            verb = words[0].upper()
            if not flags.writes and verb in WRITES:
                raise RefusedError("ERR Write commands are not allowed from read-only scripts.")
            if verb not in KNOWN:
                raise RefusedError("ERR Unknown Redis command called from script")
            return self._verb(verb)(*words[1:])

        return self.lua.run(body, args[2 : 2 + count], args[2 + count :], call)

    def _admit_script(self, flags: ScriptFlags) -> None:
        refused = not flags.allow_oom if self.mode == "OOM" else flags.writes
        if flags.has_shebang and self.mode and refused:
            raise RefusedError(REFUSALS[self.mode])

    def _subscriptions(self, session: Session, name: bytes, names: list[bytes]) -> list[Reply]:
        book = session.patterns if name.startswith(b"P") else session.channels
        replies: list[Reply] = []
        for one in names or list(book):
            if name.endswith(b"UNSUBSCRIBE"):
                book.pop(one, None)
            else:
                book[one] = None
            replies.append([name.lower(), one, session.subscriptions])
        return replies or [[name.lower(), None, session.subscriptions]]

    # ------------------------------------------------------------------ commands about the server

    def cmd_ping(self, *text: bytes) -> Reply:
        """PING."""
        return text[0] if text else Status(b"PONG")

    def cmd_time(self) -> Reply:
        """TIME."""
        now = self.clock.now_us()
        return [b"%d" % (now // 1_000_000), b"%d" % (now % 1_000_000)]

    def cmd_select(self, number: bytes) -> Reply:
        """SELECT: there is one database."""
        return OK if number == b"0" else Refusal("ERR DB index is out of range")

    def cmd_client(self, *_: bytes) -> Reply:
        """CLIENT."""
        return OK

    def cmd_publish(self, channel: bytes, message: bytes) -> Reply:
        """PUBLISH."""
        return self.publish(channel, message)

    def cmd_flushall(self, *_: bytes) -> Reply:
        """FLUSHALL."""
        self.store.clear()
        return OK

    cmd_flushdb = cmd_flushall

    def cmd_dbsize(self) -> Reply:
        """DBSIZE."""
        return len(self.store.data)

    def cmd_config(self, verb: bytes, name: bytes = b"", value: bytes = b"") -> Reply:
        """CONFIG GET and SET of the notifications."""
        if verb.upper() == b"SET":
            if name == b"notify-keyspace-events":
                self.flags = value.decode()
            return OK
        known = {b"notify-keyspace-events": self.flags.encode(), b"maxmemory-policy": b"noeviction"}
        return [part for key, shown in known.items() if matcher(name)(key) for part in (key, shown)]

    def cmd_script(self, verb: bytes, body: bytes = b"") -> Reply:
        """SCRIPT LOAD and FLUSH."""
        if verb.upper() == b"FLUSH":
            self._scripts.clear()
            return OK
        digest = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
        self._scripts[digest] = body
        return digest

    def cmd_info(self, *sections: bytes) -> Reply:
        """INFO: what the product may look at."""
        role = "slave" if self.mode == "READONLY" else "master"
        known = {
            "server": {"redis_version": "7.0.15", "redis_mode": "standalone", "run_id": self.run_id,
                       "uptime_in_seconds": int(self.clock.uptime())},
            "replication": {"role": role, "connected_slaves": 0, "master_replid": self.replid},
            "stats": {"expired_keys": self.store.expired_count, "evicted_keys": self.evicted},
            "errorstats": {f"errorstat_{name}": f"count={count}" for name, count in sorted(self.errors.items())},
            "persistence": {"loading": int(self.mode == "LOADING")},
        }  # fmt: skip
        return info_text(known, [section.decode().lower() for section in sections])
