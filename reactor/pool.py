"""The pool's keeper: as many started, ready containers as each template asks for, made while nobody waits.

What this is: the filling, the replacing of what is dead or outdated, and the drain. What it is not: the take, which is
the spawn's (`reactor.spawn`), or the search for what no index lists, which is the janitor's. The invariant: a container
is made only after its slot was granted, and listed only while that slot stands; in between it is nobody's, and whoever
finds it after the slot's time may remove it.
"""

from __future__ import annotations

import logging
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from reactor.errors import ImageMissing, ReactorError, SpawnFailed, Unavailable
from reactor.keys import pool_name
from reactor.members import MemberView, judge_member
from reactor.ready import wait_ready
from reactor.registry import Mark
from reactor.registry.pools import READY
from reactor.retire import as_judged, retire
from reactor.runtime.protocol import ContainerGone, ContainerSpec, Member, NameTaken
from reactor.session import Token, new_token
from reactor.spawn import SETTLE_SECONDS, repeated
from reactor.templates import Pull, ReadyKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reactor.crew import Crew
    from reactor.registry import PoolIndex
    from reactor.registry.pools import Slot
    from reactor.runtime.protocol import Container
    from reactor.session import ContainerId
    from reactor.templates import Template
    from reactor.trouble import Trouble

logger = logging.getLogger(__name__)

ROUND = 0.25
"""Seconds between two looks at the index."""
LOOK_EVERY = 15.0
"""Seconds between two looks at the engine, for what died or is outdated; where it tells of a death, at once."""
QUIET = timedelta(milliseconds=500)
"""How long nobody may have asked for a container before one is made: the engine is theirs."""
PATIENCE = 5.0
"""Seconds that the filling waits at most for such a moment."""
SLOT_MARGIN = timedelta(seconds=30)
"""Beyond the time that a container may take to be ready."""
LONGEST_PAUSE = 60.0
"""Seconds between two tries to make one that cannot be made."""
UNDO_SECONDS = 15.0


@dataclass(slots=True, kw_only=True)
class _Standing:
    """What the keeper remembers of one template."""

    wanted_since: float | None = None
    not_before: float = 0.0
    failures: int = 0


@dataclass(slots=True)
class PoolKeeper:
    """Keeps the pools of one host; several reactors of a host share them."""

    crew: Crew
    templates: Sequence[Template]
    limit: timedelta
    """How long a container may take to be ready."""
    _standing: dict[str, _Standing] = field(default_factory=dict[str, _Standing])
    _look_at: float = 0.0

    def look_soon(self) -> None:
        """A container of a pool died: look at the engine in the next round."""
        self._look_at = 0.0

    async def keep(self, trouble: Trouble) -> None:
        """Go on for ever; cancelled, what is half made is removed."""
        while self.templates:
            await trouble.persist(self._round)
            await anyio.sleep(ROUND * random.uniform(0.8, 1.2))  # noqa: S311 (jitter)

    async def _round(self) -> None:
        looks = anyio.current_time() >= self._look_at
        if looks:
            self._look_at = anyio.current_time() + LOOK_EVERY * random.uniform(0.8, 1.2)  # noqa: S311 (jitter)
        for template in self.templates:
            index = await self.crew.registry.pool_entries(template.name)
            if looks:
                await self._replace(template, index)
            if await self._wants_one(template, index):
                await self._fill(template)

    # ------------------------------------------------------------------ replacing

    async def _replace(self, template: Template, index: PoolIndex) -> None:
        """Remove what is dead, or what an acquire would not make any more."""
        runtime, registry = self.crew.runtime, self.crew.registry
        view = MemberView(
            prefix=registry.keys.prefix,
            deployment=self.crew.ways.deployment,
            index=index,
            db=registry.evidence.db,
            now_ms=0,
            young=timedelta.max,
            shapes={template.name: template.shape()},
            images={template.name: await runtime.image_id(template.image)},
        )
        for token, entry in index.entries[template.name].items():
            if entry.word != READY or entry.container_id is None or entry.db != view.db:
                continue
            container = await runtime.inspect(entry.container_id)
            if container is None:
                await self.crew.ways.confirm_engine()
                await registry.mark(template.name, token, (entry.raw, ""), "")
            elif (line := judge_member(view, container)) is not None and line.mark is not None:
                await self._retire(template, line.mark, line.reason)

    async def _retire(self, template: Template, mark: Mark, reason: str) -> None:
        if await as_judged(self.crew.ways, mark) and await retire(self.crew.ways, mark):
            fields = {"action": "pool", "template": template.name, "reason": reason}
            logger.info("a container of a pool is replaced", extra=fields)

    # ------------------------------------------------------------------ filling

    async def _wants_one(self, template: Template, index: PoolIndex) -> bool:
        now, standing = anyio.current_time(), self._of(template)
        ready = sum(entry.word == READY for entry in index.entries[template.name].values())
        if ready >= template.pool:
            standing.wanted_since = None
            return False
        if standing.wanted_since is None:
            standing.wanted_since = now
        if now < standing.not_before:
            return False
        if now - standing.wanted_since >= PATIENCE:
            return True
        asked_ms = index.asked_ms.get(template.name, 0)
        return await self.crew.registry.now_ms() - asked_ms >= QUIET / timedelta(milliseconds=1)

    async def _fill(self, template: Template) -> None:
        standing = self._of(template)
        try:
            made = await self.make_one(template)
        except Unavailable:
            raise
        except ReactorError as error:  # it cannot be made as it is asked for; perhaps later
            standing.failures += 1
            pause = min(LONGEST_PAUSE, 2.0**standing.failures) * random.uniform(0.7, 1.3)  # noqa: S311 (jitter)
            standing.not_before = anyio.current_time() + pause
            logger.warning("a pool stays short: %s", error, extra={"action": "pool", "template": template.name})
            return
        standing.failures = 0
        if not made:  # others make what is missing
            standing.not_before = anyio.current_time() + 1.0

    async def make_one(self, template: Template) -> bool:
        """Make one container and list it; False where there is no room, or its slot was taken away."""
        registry, token = self.crew.registry, new_token()
        if (problem := self.crew.runtime.problems(template)) is not None:
            raise SpawnFailed(problem)
        slot = await registry.slot(template.name, token, template.pool, self.limit + SLOT_MARGIN)
        if slot is None:
            return False
        member = self.member(template, token, slot)
        made: list[ContainerId] = []
        stocked = False
        try:
            container_id = await self.started(template, member, slot, made)
            stocked = await registry.stock(member, container_id, slot.entry)
        except (ContainerGone, NameTaken):
            return False
        finally:
            if not stocked:
                with anyio.CancelScope(shield=True), anyio.move_on_after(UNDO_SECONDS), suppress(Unavailable):
                    await self._undo(member, slot, made)
        return stocked

    async def started(self, template: Template, member: Member, slot: Slot, made: list[ContainerId]) -> ContainerId:
        """Return a container that is started, ready, and not listed yet; noted in `made` as soon as it is there."""
        runtime = self.crew.runtime
        name = pool_name(member.prefix, member.deployment, slot.now_us)
        spec = ContainerSpec(name=name, labels=member, template=template)
        try:
            container_id = await runtime.create(spec)
        except ImageMissing:
            if template.pull is not Pull.MISSING:
                raise
            await runtime.pull(template.image)
            container_id = await runtime.create(spec)
        made.append(container_id)
        await repeated(lambda: runtime.start(container_id))
        deadline = anyio.current_time() + self.limit.total_seconds()
        await wait_ready(runtime, container_id, template.ready, deadline=deadline)
        if template.ready.kind is ReadyKind.STARTED:
            await anyio.sleep(SETTLE_SECONDS)  # a command that exits at once would be handed out otherwise
        container = await repeated(lambda: runtime.inspect(container_id))
        if container is None or not container.running:
            raise await self._exited(container)
        return container_id

    async def _exited(self, container: Container | None) -> SpawnFailed:
        said = "" if container is None else await self.crew.runtime.last_output(container.container_id)
        detail = "" if container is None else container.detail
        return SpawnFailed(f"the container exited at once ({detail or 'no reason known'})" + f': "{said}"' * bool(said))

    async def _undo(self, member: Member, slot: Slot, made: list[ContainerId]) -> None:
        """Remove what was made; where even that is not known, the slot's time ends and the janitor looks."""
        name = pool_name(member.prefix, member.deployment, slot.now_us)
        found = await self.crew.runtime.inspect(made[0] if made else name)
        if found is not None and found.member == member:
            await retire(self.crew.ways, Mark(container=found, member=member, entry=slot.entry, taken=""))
        else:
            await self.crew.registry.mark(member.template, member.token, (slot.entry, ""), "")

    def member(self, template: Template, token: Token, slot: Slot) -> Member:
        """Return what a container of this slot says of itself."""
        registry = self.crew.registry
        return Member(
            prefix=registry.keys.prefix,
            deployment=self.crew.ways.deployment,
            host=registry.host,
            db=registry.evidence.db,
            template=template.name,
            ttl=template.ttl,
            token=token,
            shape=template.shape(),
            made_us=slot.now_us,
        )

    # ------------------------------------------------------------------ the end

    async def drain(self) -> None:
        """Remove what waits in the pools that are to be drained. Raises `Unavailable`; what is left waits on."""
        for template in self.templates:
            if template.pool_drain:
                await self._drain(template)

    async def _drain(self, template: Template) -> None:
        index = await self.crew.registry.pool_entries(template.name)
        async with anyio.create_task_group() as tasks:
            for token, entry in index.entries[template.name].items():
                if entry.word == READY and entry.container_id is not None:
                    tasks.start_soon(self._drain_one, entry.container_id, entry.raw, token)

    async def _drain_one(self, container_id: ContainerId, raw: str, token: Token) -> None:
        with suppress(Unavailable):
            container = await self.crew.runtime.inspect(container_id)
            if container is not None and container.member is not None and container.member.token == token:
                await retire(self.crew.ways, Mark(container=container, member=container.member, entry=raw, taken=""))

    def _of(self, template: Template) -> _Standing:
        return self._standing.setdefault(template.name, _Standing())
