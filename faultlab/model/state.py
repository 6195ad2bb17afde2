"""What the model remembers: Redis, the engines, the processes and a client, as one hashable value.

What this is: the nouns of the protocol, reduced to what its decisions need, and the one way to change a state. What it
is not: behaviour. The invariant: a state is a tuple of tuples, and actors are sorted, so that two situations that
differ only in who is who are one state.

Times are events: a lease `is` over, a key `is` gone. Numbers are names: generations rise, containers are numbered.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

T = TypeVar("T")

# Kinds of moves; liveness asks what can be reached by some of them only.
STEP = "step"
FAULT = "fault"
TIME = "time"
SILENCE = "silence"
"""A heartbeat's TTL ends: the client did not touch it."""
BEAT = "beat"
ACQUIRE = "acquire"
"""Somebody begins to acquire the session."""
HANDED = "handed out"
"""A container is handed out after it was inspected (or should have been)."""
READ = "handed out as read"
"""Of a broken variant only: a container is handed out because the record names it."""
TRUSTED = "handed out unseen"
"""A container is handed out whose host is watched by others: foreign, or watched here."""
BOUND = "bound"
"""A move beyond the bounds of the model; where it leads is not looked at."""

ACQUIRER = "acquirer"
REACTOR = "reactor"

IDLE = "idle"

SURE = "sure"
DOUBT = "doubt"
"""Evidence changed (evictions, clock, failed commands): no verdict before it was witnessed."""
OTHER_RUN = "other run"
"""Another server process: no command at all before it was witnessed."""


class Record(NamedTuple):
    """The session's record. `claim` 0: none; `lease`: whether the present lease still runs."""

    state: str = "none"
    generation: int = 0
    token: int = 0
    host: int = 0
    container: int = 0
    claim: int = 0
    lease: bool = False
    end_requested: bool = False
    graced: int = 0
    """The quarantine in which this session had its grace."""
    start: bool = False
    """Claimed before it was committed."""


class Redis(NamedTuple):
    """One primary. What is a tuple has one entry for each host."""

    record: Record
    key: int
    """The heartbeat key: the generation in it, 0 for missing, negative for one whose TTL is a mere lease's."""
    due: tuple[bool, ...]
    db: int
    """The database id; 0 for missing."""
    seen: tuple[int, ...]
    """The database id that the host last saw; 0 for never."""
    standing: tuple[str, ...]
    quarantine: tuple[int, ...]
    evicted: tuple[int, ...]
    """The newest generation whose record may have been evicted, as the host noted it."""
    entry: tuple[str, int] = ("", 0)
    """What the pool's index says of its member: ready and the database that made it, taken and the generation that has
    it, lost, lost over, doomed, or nothing."""


class Container(NamedTuple):
    """A container with its labels; number 0 is none."""

    number: int = 0
    generation: int = 0
    token: int = 0
    db: int = 0
    state: str = ""
    """created, running or exited."""


class Request(NamedTuple):
    """An engine request whose sender gave up: the engine may carry it out at any later moment."""

    verb: str
    host: int
    container: Container


class Actor(NamedTuple):
    """One process's flow. `at` names the next step; fields that this step does not need are empty."""

    role: str
    host: int
    at: str = IDLE
    token: int = 0
    """Of its spawn, or of its claim."""
    generation: int = 0
    db: int = 0
    container: int = 0
    found: Container = Container()
    note: str = ""


class Client(NamedTuple):
    """Whoever was handed a container last."""

    generation: int = 0
    container: int = 0
    alive: int = 0
    """1: its last touch (or hand-out) said alive and that TTL is not over. 2: so it was when Redis lost its data."""


class Ghost(NamedTuple):
    """What no process knows, kept to judge by."""

    generations: int = 0
    containers: int = 0
    dbs: int = 1
    claimed: int = 0
    """A bit for each generation that was claimed."""
    committed: int = 0
    """The newest generation that was committed."""
    handed: tuple[tuple[int, int], ...] = ()
    terminated: int = 0
    """The generation whose end somebody asked for last."""
    lost: bool = False
    """Redis lost acknowledged writes."""
    forgot: bool = False


class State(NamedTuple):
    """Everything."""

    redis: Redis
    engines: tuple[Container, ...]
    pending: tuple[Request, ...]
    actors: tuple[Actor, ...]
    client: Client
    ghost: Ghost
    left: tuple[int, ...]
    """How many faults of each kind may still happen; see faults.py."""
    replica: Redis | None = None
    """What a failover or a restart from older data would bring back."""
    lag: int = 0
    spare: Container = Container()
    """The pool's member on host 0, as long as it bears its own name."""


NO_RECORD = Record()
NO_CONTAINER = Container()
NO_CLIENT = Client()
Move = tuple[str, str, State]


MEMBER = 1
"""The number of the pool's member, where there is a pool. Its labels name no session: generation and token are 0."""


def initial(hosts: tuple[tuple[int, int], ...], left: tuple[int, ...], *, warm: bool = False) -> State:
    """Return the state before anything happened; `hosts` says how many acquirers and reactors each host has.

    With `warm` there is a pool on host 0, with one member.
    """
    none = (0,) * len(hosts)
    actors = [Actor(ACQUIRER, host) for host, (acquirers, _) in enumerate(hosts) for _ in range(acquirers)]
    actors += [Actor(REACTOR, host) for host, (_, reactors) in enumerate(hosts) for _ in range(reactors)]
    redis = Redis(
        record=NO_RECORD,
        key=0,
        due=(False,) * len(hosts),
        db=1,
        seen=(1,) * len(hosts),
        standing=(SURE,) * len(hosts),
        quarantine=none,
        evicted=none,
    )
    first = State(redis, (NO_CONTAINER,) * len(hosts), (), tuple(sorted(actors)), NO_CLIENT, Ghost(), left)
    if not warm:
        return first
    return first._replace(
        redis=redis._replace(entry=("ready", 1)),
        spare=Container(MEMBER, db=1, state="running"),
        ghost=Ghost(containers=MEMBER),
    )


def put(old: tuple[T, ...], index: int, new: T) -> tuple[T, ...]:
    """Return the tuple with one entry replaced."""
    return (*old[:index], new, *old[index + 1 :])


def acted(  # noqa: PLR0913 (one for each part of the state)
    state: State,
    index: int,
    actor: Actor,
    *,
    redis: Redis | None = None,
    engines: tuple[Container, ...] | None = None,
    pending: tuple[Request, ...] | None = None,
    client: Client | None = None,
    ghost: Ghost | None = None,
    left: tuple[int, ...] | None = None,
    spare: Container | None = None,
) -> State:
    """Return the state in which one actor went on, with the other parts that changed."""
    actors = state.actors
    if actor is not actors[index]:
        sorted_actors = list(actors)
        sorted_actors[index] = actor
        sorted_actors.sort()
        actors = tuple(sorted_actors)
    return State(
        redis or state.redis,
        engines or state.engines,
        state.pending if pending is None else pending,
        actors,
        client or state.client,
        ghost or state.ghost,
        left or state.left,
        state.replica,
        state.lag,
        state.spare if spare is None else spare,
    )
