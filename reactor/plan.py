"""What a reconcile would do: a pure function from what is believed and what runs to a list of lines.

What this is: `plan`, and the judgement of one container. What it is not: reading or acting (`reactor.reconcile`). The
invariant: it depends on the order in which the view was read (engine, then records, then the database id; a record,
then the inspection of its container): only in that order are its facts stable. What is not sure is waited for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from reactor.registry import PoolIndex, Record
from reactor.session import ContainerId, DatabaseId, Deployment, Generation, HostName, SessionId, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reactor.registry import Found, Mark
    from reactor.runtime.protocol import Container, Labels


BRAKE_COUNT = 10
BRAKE_SHARE = 0.3


class Action(StrEnum):
    """What is done about it."""

    REMOVE = "remove"
    ADOPT = "adopt"
    END = "end"
    REPAIR = "repair"
    WAIT = "wait"
    IGNORE = "ignore"


class Kind(StrEnum):
    """What kind of drift it is."""

    ORPHAN = "orphan"
    EXPIRED = "expired"
    LOST = "lost"
    STUCK = "stuck"
    DUPLICATE = "duplicate"
    STALE_GENERATION = "stale_generation"
    IMMORTAL = "immortal"
    DEAD = "dead"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """One finding and what is done about it."""

    action: Action
    kind: Kind
    session_id: SessionId | None
    reason: str
    container_id: ContainerId | None = None
    generation: Generation | None = None
    age: timedelta | None = None
    asked: bool = False
    """Redis says itself that this very spawn has ended."""
    mark: Mark | None = None
    """Of a container that was made for a pool: what it was judged by."""

    @property
    def is_drift(self) -> bool:
        """Whether something is to be done; waiting for certainty and foreign things are no drift."""
        return self.action not in (Action.WAIT, Action.IGNORE)

    @property
    def unasked(self) -> bool:
        """Whether it removes a container that Redis did not ask to remove: what the brake counts."""
        removes = self.action is Action.REMOVE and self.container_id is not None and not self.asked
        return removes or (self.action is Action.END and self.kind is Kind.LOST)

    def as_dict(self) -> dict[str, object]:
        """Return the plan line of `--json`."""
        return {
            "action": self.action.value,
            "kind": self.kind.value,
            "session_id": self.session_id,
            "container_id": self.container_id,
            "generation": self.generation,
            "reason": self.reason,
            "age_s": None if self.age is None else round(self.age.total_seconds(), 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What was read, in this order: `containers`; `index`; `records`, `strays`; `inspected`, `due`; `db`, `now_ms`.

    A container that its record takes care of, and that record, need not be in it: `settled` counts them.
    """

    host: HostName
    deployment: Deployment
    spawn_limit: timedelta
    """The longest that a spawn may take; younger doubtful containers may belong to one in flight."""
    containers: Sequence[Container]
    settled: int = 0
    """Containers of ours that are not listed here, since nothing is to be said of them."""
    holders: frozenset[ContainerId] = frozenset()
    """Containers of a pool that such records name."""
    records: Mapping[SessionId, Found]
    strays: frozenset[SessionId] = frozenset()
    """Heartbeat keys without a record."""
    inspected: Mapping[ContainerId, Container | None] = field(default_factory=dict["ContainerId", "Container | None"])
    """Containers of running records that the list did not show running, as inspected after the record was read."""
    due: frozenset[SessionId]
    db: DatabaseId | None
    now_ms: int
    index: PoolIndex = field(default_factory=PoolIndex)
    ahead: Mapping[Generation, timedelta] = field(default_factory=dict["Generation", timedelta])
    """Generations beyond `now_ms`, since the clock was set back, and how long they have been known."""
    evicted_ms: int = 0
    """When Redis was last found to have evicted keys: the record of an older spawn may be among them."""


def plan(view: View) -> list[PlanLine]:
    """Return every finding, ordered by session; an empty list means that belief and engine agree."""
    lines = [line for container in view.containers if (line := judge_container(view, container)) is not None]
    for session_id, found in view.records.items():
        lines.extend(_judge_record(view, session_id, found))
    # What becomes of a container becomes of its key: removed with it, or kept with it.
    settled = {line.session_id for line in lines if line.container_id is not None and line.kind is not Kind.FOREIGN}
    for session_id in view.strays - settled:
        reason = "heartbeat key without a record"
        lines.append(PlanLine(action=Action.REMOVE, kind=Kind.ORPHAN, session_id=session_id, reason=reason))
    return sorted(lines, key=lambda line: (line.session_id or "", line.container_id or "", line.kind))


def brake(lines: Sequence[PlanLine], view: View) -> str:
    """Return why so many removals that Redis did not ask for may not be carried out; '' where they may."""
    listed = sum(c.labels is not None and c.labels.deployment == view.deployment for c in view.containers)
    ours = view.settled + listed
    unasked = Counter(line.kind.value for line in lines if line.unasked)
    if unasked.total() <= max(BRAKE_COUNT, BRAKE_SHARE * ours):
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(unasked.items()))
    return (
        f"brake: {unasked.total()} containers ({kinds}) would be removed although Redis did not ask for it, of {ours} "
        "that are here; they are kept; look at `reactor reconcile --dry-run`, then `reactor reconcile --force`"
    )


def judge_container(view: View, container: Container) -> PlanLine | None:  # noqa: PLR0911 (a table, row by row)
    """Return what is to be done about one listed container, or None where its record takes care of it."""
    labels = container.labels
    if labels is None:
        return None
    if labels.deployment != view.deployment:
        why = f"belongs to deployment {labels.deployment}"
        return _line(view, container, labels, Action.IGNORE, Kind.FOREIGN, why)
    found = view.records.get(labels.session)
    if found is not None and not isinstance(found, Record):
        return None  # its record is reported, and nothing is concluded from it
    before = labels.db != view.db
    if found is None:
        return _without_record(view, container, labels, before=before)
    # Its own record may have been evicted, and what stands there be a later one.
    before = before or _evicted(view, labels)
    if found.generation > labels.generation or (found.generation == labels.generation and found.state is State.ENDED):
        return _outlived(view, container, labels, found, before=before)
    if found.generation == labels.generation and found.token == labels.token:
        if found.state is State.RUNNING and found.container_id != container.container_id:
            return _when_old(
                view, container, labels, Kind.DUPLICATE, f"the session's container is {found.container_id}"
            )
        return None
    if before and container.running:
        why = "newer than its record, from another database: Redis was rewound"
        action = Action.ADOPT if found.state is State.ENDED and _old(view, labels) else Action.WAIT
        return _line(view, container, labels, action, Kind.ORPHAN, why)
    if found.state in (State.RUNNING, State.ENDED):
        return _when_old(view, container, labels, Kind.DUPLICATE, "its record names another spawn")
    return None


def _without_record(view: View, container: Container, labels: Labels, *, before: bool) -> PlanLine:
    if view.db is None:
        why = "no record, and Redis does not know its database id: nothing is concluded"
        return _line(view, container, labels, Action.WAIT, Kind.ORPHAN, why)
    if not (before or _evicted(view, labels)):
        return _line(view, container, labels, Action.REMOVE, Kind.ORPHAN, "no record in the database that made it")
    loss = "a data loss" if before else "keys were evicted"
    if not _old(view, labels):
        why = f"no record, from before {loss}, young enough to be a spawn in flight"
        return _line(view, container, labels, Action.WAIT, Kind.ORPHAN, why)
    if container.running:
        why = f"no record, runs since before {loss}: registered again with a full TTL"
        return _line(view, container, labels, Action.ADOPT, Kind.ORPHAN, why)
    return _line(view, container, labels, Action.REMOVE, Kind.ORPHAN, f"no record, from before {loss}, not running")


def _evicted(view: View, labels: Labels) -> bool:
    return labels.generation // 1000 <= view.evicted_ms


def _outlived(view: View, container: Container, labels: Labels, found: Record, *, before: bool) -> PlanLine:
    # A tombstone without a container is of a spawn whose commit Redis may have lost with the rest.
    other = found.token != labels.token or found.container_id is None
    if before and container.running and other and found.state is not State.RUNNING:
        if found.state is State.ENDED and _old(view, labels):
            why = "runs since before a data loss, and no live record stands: registered again with a full TTL"
            return _line(view, container, labels, Action.ADOPT, Kind.ORPHAN, why)
        why = "from before a data loss; the next acquire or look registers it"
        return _line(view, container, labels, Action.WAIT, Kind.ORPHAN, why)
    if before and other and found.state is not State.RUNNING and not _old(view, labels):
        why = "from before a data loss, young enough to be a spawn in flight"
        return _line(view, container, labels, Action.WAIT, Kind.ORPHAN, why)
    if found.generation == labels.generation:
        line = _line(view, container, labels, Action.REMOVE, Kind.STALE_GENERATION, "its session has ended")
        return replace(line, asked=found.token == labels.token)
    why = f"generation {labels.generation} was followed by {found.generation}"
    return _line(view, container, labels, Action.REMOVE, Kind.STALE_GENERATION, why)


def _judge_record(view: View, session_id: SessionId, found: Found) -> Iterator[PlanLine]:
    if found is None:
        return
    if not isinstance(found, Record):
        yield PlanLine(action=Action.IGNORE, kind=Kind.FOREIGN, session_id=session_id, reason=str(found))
        return
    if found.host != view.host:
        return
    ended = found.state is State.ENDED
    if ended != found.has_ttl:
        why = "an ended record without a TTL" if ended else "a live record with a TTL would vanish"
        yield _about(view, found, Action.REPAIR, Kind.IMMORTAL if ended else Kind.STUCK, why)
    if ended:
        return
    if session_id not in view.due:
        yield _about(view, found, Action.REPAIR, Kind.STUCK, "not in the due index: nobody would look at it")
    if found.state is State.RUNNING:
        yield from _judge_running(view, found)
    elif view.now_ms > found.lease_until_ms:
        yield _about(view, found, Action.END, Kind.STUCK, f"{found.state.value}, and its lease is over")


def _judge_running(view: View, found: Record) -> Iterator[PlanLine]:
    container_id = found.container_id
    if container_id is not None and container_id in view.inspected:
        container = view.inspected[container_id]
        if container is None:
            yield _about(view, found, Action.END, Kind.LOST, "its container is gone")
            return
        if not container.running:
            why = f"its container does not run{': ' if container.detail else ''}{container.detail}"
            yield _about(view, found, Action.END, Kind.DEAD, why)
            return
    if found.end_requested:
        yield _about(view, found, Action.END, Kind.STUCK, "its end was asked for on another host")
    elif found.heartbeat_left is None:
        yield _about(view, found, Action.END, Kind.EXPIRED, "no heartbeat key")
    elif found.immortal:
        yield _about(view, found, Action.REPAIR, Kind.IMMORTAL, "heartbeat key without a TTL or beyond the session's")


def _old(view: View, labels: Labels) -> bool:
    return view.ahead.get(labels.generation, _age(view, labels.generation)) > view.spawn_limit


def _age(view: View, generation: Generation) -> timedelta:
    # The generation is Redis' clock in microseconds at the reserve; no other clock is asked.
    return timedelta(milliseconds=max(0, view.now_ms - generation // 1000))


def _when_old(view: View, container: Container, labels: Labels, kind: Kind, why: str) -> PlanLine:
    return _line(view, container, labels, Action.REMOVE if _old(view, labels) else Action.WAIT, kind, why)


def _line(view: View, container: Container, labels: Labels, action: Action, kind: Kind, why: str) -> PlanLine:
    return PlanLine(
        action=action,
        kind=kind,
        session_id=labels.session,
        container_id=container.container_id,
        generation=labels.generation,
        reason=why,
        age=_age(view, labels.generation),
    )


def _about(view: View, found: Record, action: Action, kind: Kind, why: str) -> PlanLine:
    return PlanLine(
        action=action,
        kind=kind,
        session_id=found.session_id,
        container_id=found.container_id,
        generation=found.generation,
        reason=why,
        age=_age(view, found.generation),
    )
