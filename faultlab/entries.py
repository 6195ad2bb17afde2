"""The entries of a history: one class for each kind of line.

What this is: plain values, written as JSON with their kind. What it is not: where they are kept (`history`), or what
they prove (`checks`). The invariant: all times are seconds of CLOCK_MONOTONIC, which all processes of a machine share;
the names of kinds and fields stay, as kept histories are judged again.
"""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """One line of a history."""


class Setup(Entry, frozen=True, tag="setup"):
    """What was run, and the bounds that follow from its settings (seconds)."""

    seed: int
    runtime: str
    hosts: tuple[str, ...]
    reactors: int
    deployment: str
    prefix: str
    janitor_s: float
    stop_grace_s: float
    acquire_timeout_s: float
    ttl_max_s: float
    decoys: tuple[str, ...]
    """IDs of containers that are none of ours."""
    wall_s: float
    """Wall clock minus monotonic clock at the start."""
    decoy_keys: tuple[str, ...] = ()
    """Keys that are none of ours."""
    kinds: tuple[str, ...] = ()
    """All faults that this runtime can have, whether the run had them or not."""


class Begin(Entry, frozen=True, tag="begin"):
    """A client began a call; without the `Call` of the same number it never heard how it ended."""

    client: str
    session: str
    op: str
    n: int
    t_call: float
    command: bool = False
    """It is a command line: a program has to start before anything is asked."""


class Call(Entry, frozen=True, tag="call"):
    """A client's call. `reply` is EXPIRE's or DEL's number; a call that raised has an `error` instead."""

    client: str
    session: str
    op: str
    """`acquire`, `heartbeat`, `delete` or `terminate`."""
    n: int
    t_call: float
    t_ret: float
    ttl: float = 0.0
    """Seconds that it gave to the session, or would have."""
    reply: int | None = None
    container: str = ""
    generation: int = 0
    command: bool = False
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the answer said that the session lives (or, for `delete` and `terminate`, that it is over)."""
        return not self.error and self.reply != 0


class Engine(Entry, frozen=True, tag="engine"):
    """An event of the real engine: `create`, `start`, `kill`, `die`, `destroy`, and what operators cause."""

    host: str
    t: float
    action: str
    container: str
    session: str = ""
    generation: int = 0
    ours: bool = False


class Listing(Entry, frozen=True, tag="list"):
    """The engine's list at some instant between `t0` and `t1`: container -> session, generation, state."""

    host: str
    t0: float
    t1: float
    containers: dict[str, tuple[str, int, str]] = msgspec.field(default_factory=dict[str, tuple[str, int, str]])
    error: str = ""


class Processes(Entry, frozen=True, tag="processes"):
    """The containers that really have a process, from /proc."""

    t0: float
    t1: float
    containers: tuple[str, ...]


class Look(Entry, frozen=True, tag="look"):
    """Redis at one instant between `t0` and `t1`: each session's record and heartbeat; tombstones only for a while."""

    t0: float
    t1: float
    run_id: str = ""
    db: str = ""
    sessions: dict[str, Belief] = msgspec.field(default_factory=dict[str, "Belief"])
    due: int = 0
    watched: tuple[str, ...] | None = None
    """Hosts whose reactors say that they watch their engine; None: nobody asked."""
    strangers: tuple[str, ...] = ()
    """Keys without our prefix, and other databases that hold any."""
    error: str = ""


class Belief(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session's record, and when its heartbeat key ends: None without a key, infinite without a TTL."""

    state: str = ""
    generation: int = 0
    container: str = ""
    host: str = ""
    reason: str = ""
    deadline: float | None = None
    immortal: bool = False
    score: float | None = None
    """When its host looks at it at the latest: it knows of no later deadline."""


class KeyEvent(Entry, frozen=True, tag="key"):
    """A keyspace notification about a heartbeat key."""

    t: float
    session: str
    event: str


class Touch(Entry, frozen=True, tag="touch"):
    """Any other keyspace notification: what Redis is told to tell, and in the calm that is every write."""

    t: float
    key: str
    event: str


class Audit(Entry, frozen=True, tag="audit"):
    """An entry of the product's own event stream; `t` is when Redis wrote it."""

    t: float
    event: str
    session: str = ""
    generation: int = 0
    container: str = ""
    host: str = ""
    reason: str = ""
    detector: str = ""
    lag_ms: int | None = None
    """From the deadline to the claim."""


class Fault(Entry, frozen=True, tag="fault"):
    """A fault's life: `start`, `on` (it holds), `mend` (healing begins), `heal` (all is well, with what was seen)."""

    n: int
    name: str
    phase: str
    t: float
    flags: tuple[str, ...] = ()
    fired: bool = False
    evidence: str = ""


class Act(Entry, frozen=True, tag="act"):
    """Something done to one container or key by hand, as part of a fault; it explains what follows."""

    t: float
    act: str
    container: str = ""
    session: str = ""


class Mark(Entry, frozen=True, tag="mark"):
    """A point of the run: `begin`, `probe`, `calm` and `stir` around the quiescence, `end`; or a `crash`."""

    t: float
    name: str
    detail: str = ""


class Reactor(Entry, frozen=True, tag="reactor"):
    """A reactor's process: `start`, `ready`, `signal`, `exit`."""

    t: float
    name: str
    event: str
    pid: int = 0
    code: int | None = None
    detail: str = ""


class Usage(Entry, frozen=True, tag="usage"):
    """What a reactor's process used."""

    t: float
    name: str
    rss_mb: float
    fds: int
    threads: int


class Request(Entry, frozen=True, tag="request"):
    """A request that would change something, as a proxy passed it on to the engine; `status` 0: no answer seen."""

    t: float
    door: str
    method: str
    path: str
    status: int = 0
    t_end: float | None = None
    """When it was answered or given up; None: never while the laboratory ran."""


class Poll(Entry, frozen=True, tag="poll"):
    """How well the observer kept its period: polls done, and seconds lost because it was itself too slow."""

    what: str
    done: int
    lost_s: float
    span_s: float


class Left(Entry, frozen=True, tag="left"):
    """What was there after everything had ended."""

    t: float
    containers: tuple[str, ...] = ()
    """Containers of our deployment."""
    processes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """Keys that should not be there."""
    changed: tuple[str, ...] = ()
    """Foreign containers and keys that are not what they were, and how."""


AnyEntry = (
    Setup
    | Begin
    | Call
    | Engine
    | Listing
    | Processes
    | Look
    | KeyEvent
    | Touch
    | Audit
    | Fault
    | Act
    | Mark
    | Reactor
    | Usage
    | Request
    | Poll
    | Left
)
