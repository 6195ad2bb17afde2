"""What a reconcile judges: belief and engine, read in the one safe order, and only what differs kept.

What this is: the reading, and the comparison of each container with its record. What it is not: the judgement of what
differs (`reactor.plan`), or any action. The invariant: containers are listed first, each record is read after that, the
database id last; a container that its record takes care of, and that record, are let go of at once, so what is kept
grows with the drift and not with the sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from reactor.errors import Unavailable
from reactor.plan import View
from reactor.registry import BATCH, Record
from reactor.registry.walk import walk
from reactor.session import ContainerId, SessionId, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from reactor.crew import Crew
    from reactor.registry import Found
    from reactor.registry.walk import Content, Step
    from reactor.runtime.protocol import Container
    from reactor.session import Deployment

INSPECT_SECONDS = 60.0
"""For all doubtful containers together: an engine that answers slowly must not hold the janitor for ever."""


class Sightings:
    """The containers that the engine listed, each until its record was seen to take care of it."""

    def __init__(self, containers: Iterable[Container], deployment: Deployment) -> None:
        """Take the list; `deployment` is ours."""
        self._of: dict[SessionId, tuple[Container, ...]] = {}
        """Those of ours by session; empty where its record takes care of it."""
        self._others: list[Container] = []
        self._members: set[ContainerId] = set()
        self.settled = 0
        self.holders: set[ContainerId] = set()
        """Of the pool's containers those that a session has, with nothing about it in doubt."""
        self.doubtful: set[SessionId] = set()
        self.strays: set[SessionId] = set()
        for container in containers:
            self._sort_in(container, deployment)

    def _sort_in(self, container: Container, deployment: Deployment) -> None:
        labels = container.labels
        if container.member is not None and container.running:
            self._members.add(container.container_id)
        if labels is None or labels.deployment != deployment:
            self._others.append(container)
            return
        self._of[labels.session] = (*self._of.get(labels.session, ()), container)

    def take(self, step: Step) -> list[str]:
        """Compare a part of what Redis believes; returns the names that belong to no container here."""
        self.doubtful.update(step.doubtful)
        self.doubtful.update(id_ for id_ in step.elsewhere if id_ in self._of)
        self.strays.update(step.strays)
        return [told.name for told in step.content if not self._settle(told)]

    def _settle(self, told: Content) -> bool:
        session_id = SessionId(told.name)
        known = self._of.get(session_id)
        if known is None:
            if told.container_id in self._members:
                self.holders.add(told.container_id)
                return True
            return False
        if len(known) == 1 and _is_of(told, known[0]):
            self._of[session_id] = ()
            self.settled += 1
        elif known:
            self.doubtful.add(session_id)
        return True

    def left(self) -> list[Container]:
        """Return the containers that no record was seen to take care of, those of others and of pools among them."""
        return [*self._others, *(container for known in self._of.values() for container in known)]

    def to_read(self) -> list[SessionId]:
        """Return the sessions whose records have to be read in full."""
        alone = (session_id for session_id, known in self._of.items() if known)
        return sorted({*self.doubtful, *self.strays, *alone})


def _is_of(told: Content, container: Container) -> bool:
    labels = container.labels
    return (
        labels is not None
        and container.running
        and (container.container_id, labels.generation, labels.token)
        == (told.container_id, told.generation, told.token)
    )


async def survey(crew: Crew, *, spawn_limit: timedelta, pools: Iterable[str]) -> View:
    """Read everything and return what is to be judged; `pools` are the templates that keep one.

    Raises `Unavailable` when either side cannot be read whole.
    """
    registry, deployment = crew.registry, crew.ways.deployment
    listed = await crew.runtime.containers(prefix=registry.keys.prefix)
    index = await registry.pool_index({*pools, *(c.member.template for c in listed if c.member is not None)})
    sightings = Sightings(listed, deployment)
    del listed
    async for step in walk(registry):
        for name in sightings.take(step):
            if (parsed := registry.keys.parse_session_key(registry.keys.record(SessionId(name)))) is not None:
                sightings.doubtful.add(parsed[0])
    containers = sightings.left()
    records = await _records(crew, sightings.to_read())
    inspected = await _inspected(crew, containers, records)
    due = await registry.due_among(list(records))
    db, now_ms = await registry.bound_db(), await registry.now_ms()
    return View(
        host=registry.host,
        deployment=deployment,
        spawn_limit=spawn_limit,
        containers=containers,
        settled=sightings.settled,
        holders=frozenset(sightings.holders),
        index=index,
        records=records,
        strays=frozenset(i for i in sightings.strays if records.get(i) is None),
        inspected=inspected,
        due=due,
        db=db,
        evicted_ms=registry.evidence.evicted_ms,
        now_ms=now_ms,
        ahead=crew.ways.ages.ahead(containers, now_ms),
    )


async def survey_of(crew: Crew, container: Container, *, spawn_limit: timedelta) -> View:
    """Return what one container is judged by, which was inspected before this call."""
    registry = crew.registry
    assert container.labels is not None  # noqa: S101 (listed by its labels)
    records = await registry.records([container.labels.session])
    generation, now_ms = container.labels.generation, await registry.now_ms()
    return View(
        host=registry.host,
        deployment=crew.ways.deployment,
        spawn_limit=spawn_limit,
        containers=[container],
        records=records,
        due=frozenset(),
        db=await registry.bound_db(),
        evicted_ms=registry.evidence.evicted_ms,
        now_ms=now_ms,
        ahead={generation: crew.ways.ages.of(generation, now_ms)},
    )


async def _records(crew: Crew, session_ids: Sequence[SessionId]) -> dict[SessionId, Found]:
    records: dict[SessionId, Found] = {}
    for start in range(0, len(session_ids), BATCH):
        records.update(await crew.registry.records(session_ids[start : start + BATCH]))
    return records


async def _inspected(
    crew: Crew, containers: Sequence[Container], records: dict[SessionId, Found]
) -> dict[ContainerId, Container | None]:
    running = {c.container_id for c in containers if c.running}
    doubtful = [
        found.container_id
        for found in records.values()
        if isinstance(found, Record)
        and found.host == crew.registry.host
        and found.state is State.RUNNING
        and found.container_id is not None
        and found.container_id not in running
    ]
    inspected: dict[ContainerId, Container | None] = {}
    with anyio.move_on_after(INSPECT_SECONDS) as limit:
        for container_id in doubtful:
            inspected[container_id] = await crew.runtime.inspect(container_id)
    if limit.cancelled_caught:
        raise Unavailable(f"{len(doubtful)} containers could not be inspected within {INSPECT_SECONDS:.0f} s")
    if None in inspected.values():
        await crew.ways.confirm_engine()
    return inspected
