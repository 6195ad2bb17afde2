"""An observer of the simulated world: it sees every change in Redis and in the engines, and judges it.

What this is: the invariants S1, S2, S4, S5, S6, S7, S10, S15 over the truth, not over what the product believes.
What it is not: a part of the product's decisions. The invariant: what was promised to a client (its heartbeat key
lives until then) is noted when it is promised; data that Redis lost voids promises, never the container of a client
that keeps its session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faultlab.sim.seen import Life, Pointing, Violation
from faultlab.sim.store import Stream
from reactor.keys import Keys
from reactor.session import SessionId

if TYPE_CHECKING:
    from collections.abc import Callable

    from faultlab.sim.engine import Box
    from faultlab.sim.redis import SimRedis

SLACK = 0.002
"""Seconds: Redis' clock counts whole milliseconds."""
WATCH_GAP = 2.0
"""A container handed out on a watched host may have died this long before."""
CLAIM_LEASE = 15.0
LABEL = "session-reactor."

Spawned = tuple[str, int]
"""A session and a generation."""


@dataclass(slots=True)
class Observer:
    """What was seen, and what was wrong. `now` is the world's clock."""

    now: Callable[[], float]
    redis: SimRedis
    note: Callable[[str], None]
    keys: Keys = field(default_factory=lambda: Keys("mcp"))
    violations: list[Violation] = field(default_factory=list[Violation])
    lives: dict[str, Life] = field(default_factory=dict[str, Life])
    present: dict[str, dict[str, Life]] = field(default_factory=dict[str, dict[str, Life]])
    """The containers that are there, by session."""
    promises: dict[Spawned, float] = field(default_factory=dict[Spawned, float])
    excused: dict[str, str] = field(default_factory=dict[str, str])
    """Sessions whose container may go although its key lives: terminated, ended by the client, killed by hand."""
    by_hand: dict[str, None] = field(default_factory=dict[str, None])
    """Containers that died or went by nobody of ours."""
    claimed: dict[Spawned, float] = field(default_factory=dict[Spawned, float])
    committed: dict[str, int] = field(default_factory=dict[str, int])
    spawns: dict[Spawned, str] = field(default_factory=dict[Spawned, str])
    """The container that a record named last."""
    handed: dict[Spawned, str] = field(default_factory=dict[Spawned, str])
    pointing: dict[str, list[Pointing]] = field(default_factory=dict[str, list[Pointing]])
    ends: dict[Spawned, int] = field(default_factory=dict[Spawned, int])
    bare: dict[Spawned, float] = field(default_factory=dict[Spawned, float])
    """When a record ended that named no container."""
    ended_as: dict[str, str] = field(default_factory=dict[str, str])
    """Why a session last ended, as the audit stream says."""
    heard: dict[str, float] = field(default_factory=dict[str, float])
    writes: dict[str, int] = field(default_factory=dict[str, int])
    """Writes to keys that a quiet system leaves alone."""
    losses: int = 0
    lost_at: float = float("-inf")
    doubts: int = 0
    """Quarantines and outages that the product found."""
    clock_was_set_back: bool = False
    repeats: bool = False
    """A generation may be given to a second spawn, which another container shows."""
    removals: int = 0
    _read: int = 0

    def wrong(self, invariant: str, text: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(self.now(), invariant, text))
        self.note(f"VIOLATION {invariant} {text}")

    def lost_data(self, what: str, *, older: bool = False) -> None:
        """Redis lost or rewound data: promises and claims from before are void (a keeper's container is not).

        `older`: it is as it was a while ago. Where its clock was set back before, it then gives a generation twice.
        """
        self.repeats |= older and self.clock_was_set_back
        self.losses += 1
        self.lost_at = self.now()
        self.note(f"loss {what}")
        self.promises.clear()
        self.claimed.clear()
        self.ends.clear()
        self._read_on()

    def _read_on(self) -> None:
        """Begin with the entries that come from here on."""
        stream = self.redis.store.data.get(self.keys.events.encode())
        self._read = stream.added if isinstance(stream, Stream) else 0

    def excuse(self, session: str, why: str) -> None:
        """From here on this session's present container may go."""
        self.excused[session] = why
        for spawned in [one for one in self.promises if one[0] == session]:
            del self.promises[spawned]

    # ------------------------------------------------------------------ Redis

    def step(self, name: str) -> None:
        """Look at what one command or script changed."""
        store = self.redis.store
        for key in store.changed:
            text = key.decode("latin-1")
            if text == self.keys.events:
                # What a restart brought back was seen when it was written.
                self._read_on() if name in ("restart", "failover") else self._new_entries()
            elif (parsed := self.keys.parse_session_key(text)) is not None:
                self.writes["session"] = self.writes.get("session", 0) + 1
                if parsed[1]:
                    self._key_changed(parsed[0], key, name)
                else:
                    self._record_changed(parsed[0], key)
            elif not (text.startswith("mcp:canary:") or text.endswith((":seen", ":due"))):
                self.writes[text] = self.writes.get(text, 0) + 1

    def _record_changed(self, session: SessionId, key: bytes) -> None:
        record = self.redis.store.data.get(key)
        if not isinstance(record, dict):
            self._stop_pointing(session)
            return
        generation, state = int(record[b"generation"]), record[b"state"]
        spawned = (session, generation)
        if state == b"running":
            self._committed(session, generation, record[b"container_id"].decode())
        else:
            self._stop_pointing(session)
        if state == b"ending" and spawned not in self.claimed:
            self.claimed[spawned] = self.now()
            self.note(f"claimed {session} {record.get(b'reason', b'').decode()}")
            reason = record.get(b"reason")
            if reason in (b"expired", b"ended_by_client"):
                self._too_early(spawned, "claimed")
            else:
                self.promises.pop(spawned, None)

    def _committed(self, session: str, generation: int, box_id: str) -> None:
        spawned = (session, generation)
        if self.repeats and self.spawns.get(spawned, box_id) != box_id:
            for book in (self.claimed, self.ends, self.handed, self.bare):
                book.pop(spawned, None)
        self.spawns[spawned] = box_id
        if self.committed.get(session, 0) < generation:
            self.committed[session] = generation
            self.excused.pop(session, None)
        points = self.pointing.setdefault(session, [])
        if not points or points[-1].until is not None or points[-1].box_id != box_id:
            self._stop_pointing(session)
            points.append(Pointing(box_id, self.now()))
            del points[:-6]

    def _stop_pointing(self, session: str) -> None:
        points = self.pointing.get(session)
        if points and points[-1].until is None:
            points[-1].until = self.now()

    def _key_changed(self, session: SessionId, key: bytes, name: str) -> None:
        value = self.redis.store.data.get(key)
        if not isinstance(value, bytes):
            return
        ends = self.redis.store.expires.get(key)
        spawned = (session, int(value) if value.isdigit() else 0)
        if spawned in self.claimed and name in ("expire", "pexpire"):
            self.wrong("S6", f"the key of {session} was touched after its claim")
        if ends is not None and session not in self.excused:
            self.promises[spawned] = self.now() + (ends - self.redis.clock.now_ms()) / 1000

    def _too_early(self, spawned: Spawned, what: str) -> None:
        until = self.promises.get(spawned)
        if until is not None and self.now() < until - SLACK and spawned[0] not in self.excused:
            self.wrong("S1", f"{spawned[0]} was {what} {until - self.now():.3f} s before its heartbeat ended")

    def _new_entries(self) -> None:
        stream = self.redis.store.data.get(self.keys.events.encode())
        if not isinstance(stream, Stream):
            self._read = 0
            return
        fresh = min(stream.added - self._read, len(stream.entries))
        self._read = stream.added
        for index in range(-fresh, 0):
            fields = stream.entries[index][1]
            entry = dict(zip(fields[::2], fields[1::2], strict=True))
            event, session = entry[b"event"].decode(), entry[b"session_id"].decode()
            self.note(f"event {event} {session} {entry.get(b'reason', b'').decode()}")
            self.doubts += event == "quarantine"
            if event == "ended":
                self._ended((session, int(entry[b"generation"])), entry)
            elif event == "adopted":
                self._found_again((session, int(entry[b"generation"])))

    def _ended(self, spawned: Spawned, entry: dict[bytes, bytes]) -> None:
        session = spawned[0]
        self.ends[spawned] = self.ends.get(spawned, 0) + 1
        self.ended_as[session] = entry.get(b"reason", b"").decode()
        if not entry.get(b"container_id"):
            self.bare[spawned] = self.now()
        if self.ends[spawned] > 1:
            self.wrong("S4", f"{session} ended {self.ends[spawned]} times in one generation")

    def _found_again(self, spawned: Spawned) -> None:
        # A spawn whose commit Redis may have lost ends without its container, of which the client may have been told.
        # Who acquires the id then finds that container by its labels; its generation goes on.
        ended = self.bare.get(spawned, float("-inf"))
        there = (life for life in self.present.get(spawned[0], {}).values() if life.generation == spawned[1])
        if any(life.created <= self.lost_at <= ended for life in there):
            self.note(f"found again {spawned[0]}")
            self.ends.pop(spawned, None)
            self.claimed.pop(spawned, None)

    # ------------------------------------------------------------------ engines

    def engine_changed(self, host: str, what: str, box: Box) -> None:
        """Look at what happened to a container."""
        session = box.labels.get(LABEL + "session", "")
        generation = int(box.labels.get(LABEL + "generation", "0"))
        self.note(f"{host} {what} {session} {box.box_id[:6]}")
        life = self.lives.setdefault(box.box_id, Life(session, generation, host, self.now()))
        spawned = (session, generation)
        there = self.present.setdefault(session, {})
        there[box.box_id] = life
        match what:
            case "created":
                others = [other for other, one in there.items() if other != box.box_id and one.host == host]
                if others:
                    self.wrong("S15", f"{session} was created while {others[0][:6]} was still there")
            case "started":
                life.started, life.died = self.now(), None
                self._check_started(box, life)
            case "died":
                life.died = self.now()
                self._too_early(spawned, f"stopped on {host}")
            case "killed":
                life.died = self.now()
                self.by_hand[box.box_id] = None
            case _:
                life.gone = self.now()
                del there[box.box_id]
                if what == "vanished":
                    self.by_hand[box.box_id] = None
                self.removals += what == "removed"
                if what == "removed":
                    self._too_early(spawned, f"removed on {host}")

    def _check_started(self, box: Box, life: Life) -> None:
        if self.committed.get(life.session, 0) > life.generation and not self.losses:
            self.wrong("S5", f"{life.session}: {box.box_id[:6]} started after a newer generation was committed")
        running = [one for one in self.present[life.session].values() if one.started is not None and one.died is None]
        same_host = [one for one in running if one.host == life.host]
        if len(same_host) > 1 or (len(running) > 1 and not self.losses):
            self.wrong("S2", f"{life.session} runs {len(running)} times")

    # ------------------------------------------------------------------ what callers were told

    def answered(self, session: str, generation: int, box_id: str, called: float) -> None:
        """Judge what an acquire returned."""
        spawned = (session, generation)
        first = self.handed.setdefault(spawned, box_id)
        if first != box_id:
            self.wrong("S2", f"{session}: two containers of one generation were handed out")
        at = self.claimed.get(spawned)
        if at is not None and at < called:
            self.wrong("S6", f"{session} was handed out {self.now() - at:.3f} s after its claim")
        life = self.lives.get(box_id)
        if life is None or life.started is None:
            self.wrong("S7", f"{session}: {box_id[:6]} was handed out and never ran")
            return
        ended = min(moment for moment in (life.died, life.gone, self.now()) if moment is not None)
        if ended < called - WATCH_GAP:
            self.wrong("S7", f"{session}: {box_id[:6]} was handed out {called - ended:.3f} s after its end")
        named = [p for p in self.pointing.get(session, []) if p.box_id == box_id]
        if not any(p.until is None or p.until >= called for p in named):
            self.wrong("S7", f"{session}: {box_id[:6]} was handed out while no record named it")

    def request(self, process: str, label: str) -> None:
        """Look at what a process sends to an engine."""
        if label in ("engine.delete", "engine.kill"):
            silent = self.now() - self.heard.get(process, self.now())
            if silent > CLAIM_LEASE + 1:
                self.wrong("S10", f"{process} sent {label} {silent:.1f} s after it last heard of Redis")

    def running(self, session: str) -> list[str]:
        """Return the session's running containers."""
        return [
            box_id
            for box_id, life in self.present.get(session, {}).items()
            if life.started is not None and life.died is None
        ]
