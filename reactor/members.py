"""What becomes of a warm container: a pure function from what the indices, the records and the engine say of it.

What this is: the judgement of one container that was made for a pool. What it is not: reading or acting
(`reactor.reconcile`, `reactor.pool`). The invariant: it depends on the order in which the view was read: the engine,
then the indices, then the records, then the database id. One that no index lists and no record names by then can be
committed by nobody any more; the step that acts compares the indices with what was judged by, and looks at the
container's name once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from reactor.keys import is_pool_name
from reactor.plan import Action, Kind, PlanLine
from reactor.registry import Mark, PoolIndex, Record
from reactor.registry.pools import DOOMED, LOST, MAKING, READY, Entry
from reactor.session import ContainerId, DatabaseId, Deployment, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reactor.plan import View
    from reactor.runtime.protocol import Container, Member
    from reactor.templates import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberView:
    """What a container of a pool is judged by."""

    prefix: str
    deployment: Deployment
    index: PoolIndex
    holders: frozenset[ContainerId] = frozenset()
    """The containers that records of sessions that are not over name."""
    unreadable: bool = False
    """Some record cannot be read: it may name any container."""
    db: DatabaseId | None
    now_ms: int
    evicted_ms: int = 0
    young: timedelta
    """Without any trace in an index, one younger than that is waited for."""
    shapes: Mapping[str, str] = field(default_factory=dict[str, str])
    """By template, of those that keep a pool."""
    images: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    """By template: which image it would be made from now; None: not known."""


def judge_members(view: View, members: MemberView) -> list[PlanLine]:
    """Return what is to be done about each listed container of a pool; nothing about those in order."""
    lines = (judge_member(members, container) for container in view.containers)
    return [line for line in lines if line is not None]


def member_view(view: View, prefix: str, pooled: Sequence[Template], images: Mapping[str, str | None]) -> MemberView:
    """Return what the containers of pools in a view are judged by; `pooled` are the templates that keep one."""
    records = view.records.values()
    live = (r for r in records if isinstance(r, Record) and r.host == view.host and r.state is not State.ENDED)
    return MemberView(
        prefix=prefix,
        deployment=view.deployment,
        index=view.index,
        holders=view.holders | {r.container_id for r in live if r.container_id is not None},
        unreadable=any(r is not None and not isinstance(r, Record) for r in records),
        db=view.db,
        now_ms=view.now_ms,
        evicted_ms=view.evicted_ms,
        young=view.spawn_limit,
        shapes={template.name: template.shape() for template in pooled},
        images=images,
    )


def judge_member(view: MemberView, container: Container) -> PlanLine | None:  # noqa: PLR0911 (a table, row by row)
    """Return what is to be done about one container, or None where all is well with it or it is no pool's."""
    member = container.member
    if member is None:
        return None
    if member.deployment != view.deployment:
        return _line(view, container, member, Action.IGNORE, Kind.FOREIGN, f"belongs to deployment {member.deployment}")
    entry = view.index.entry(member)
    if entry.word == DOOMED:
        return _line(view, container, member, Action.REMOVE, Kind.ORPHAN, "a pool's, on its way out")
    if entry.word == MAKING and view.now_ms <= entry.at_ms:
        return None
    if entry.word == READY and entry.db == view.db:
        return _ready(view, container, member)
    if container.container_id in view.holders:
        return None
    if view.unreadable or view.db is None or entry.word not in ("", MAKING, READY, LOST):
        why = "a pool's, and not all records can be read: one of them may name it"
        return _line(view, container, member, Action.WAIT, Kind.ORPHAN, why)
    return _nobodys(view, container, member, entry)


def _ready(view: MemberView, container: Container, member: Member) -> PlanLine | None:
    if not container.running:
        why = f"waits in a pool, and does not run{': ' if container.detail else ''}{container.detail}"
        return _line(view, container, member, Action.REMOVE, Kind.DEAD, why)
    if view.shapes.get(member.template) != member.shape:
        why = f"template {member.template} changed, or keeps no pool any more"
        return _line(view, container, member, Action.REMOVE, Kind.STALE_GENERATION, why)
    if view.images.get(member.template) not in (None, container.image_id):
        why = f"the image of template {member.template} changed"
        return _line(view, container, member, Action.REMOVE, Kind.STALE_GENERATION, why)
    return None


def _nobodys(view: MemberView, container: Container, member: Member, entry: Entry) -> PlanLine:
    before = member.db != view.db or member.made_us // 1000 <= view.evicted_ms
    waiting = is_pool_name(view.prefix, container.name)
    if waiting and not entry.raw and _age(view, member) <= view.young:
        why = "in no pool, young enough to be on its way into one"
        return _line(view, container, member, Action.WAIT, Kind.ORPHAN, why)
    if waiting or not before or not container.running:
        return _line(view, container, member, Action.REMOVE, Kind.ORPHAN, "in no pool, and no record names it")
    if entry.word != LOST:
        why = "bears a session's name since before a data loss: kept until its id is acquired, or for its TTL"
        return _line(view, container, member, Action.ADOPT, Kind.ORPHAN, why)
    if view.now_ms - entry.at_ms <= member.ttl / timedelta(milliseconds=1):
        why = "from before a data loss, its TTL is not over: an acquire of its id finds it"
        return _line(view, container, member, Action.WAIT, Kind.ORPHAN, why)
    why = "from before a data loss, nobody acquired its id within its TTL"
    return _line(view, container, member, Action.REMOVE, Kind.ORPHAN, why)


def _age(view: MemberView, member: Member) -> timedelta:
    return timedelta(milliseconds=max(0, view.now_ms - member.made_us // 1000))


def _line(view: MemberView, container: Container, member: Member, action: Action, kind: Kind, why: str) -> PlanLine:
    foreign = kind is Kind.FOREIGN
    raw, taken = view.index.entry(member).raw, view.index.taken.get(member.token, "")
    return PlanLine(
        action=action,
        kind=kind,
        session_id=None,
        container_id=container.container_id,
        reason=why,
        age=_age(view, member),
        asked=True,  # it is no session's as far as anybody knows: the brake is for sessions
        mark=None if foreign else Mark(container=container, member=member, entry=raw, taken=taken),
    )
