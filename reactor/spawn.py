"""A spawn: create, fence, start, ready, commit, inspect; or take, rename, commit, inspect where there is a pool.

What this is: the steps between `reserve` saying "yours" and a container handed out, and what becomes of it when any of
them fails. What it is not: waiting for others (`reactor.acquire`). The invariant: the fence stands between create and
start, so the container has held its name since before the fence passed, any newer spawn had to remove it first, and a
late start of this one meets a 404. A container of the pool gets its name late: there the record names it first, and it
is committed only through a record that does; a spawner that lost the record leaves it to whoever took that over.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import anyio

from reactor.asked import Asked
from reactor.beside import beside
from reactor.conflict import AgainError, RegisteredError, resolve
from reactor.errors import AcquireTimeout, ImageMissing, ReactorError, SessionLost, SpawnFailed, Unavailable
from reactor.keys import container_name
from reactor.ready import wait_ready
from reactor.registry import Superseded
from reactor.retry import engine_policy, persisted
from reactor.runtime.protocol import ContainerGone, ContainerSpec, Labels, NameTaken
from reactor.session import ContainerId, Detector, Session
from reactor.teardown import ENGINE_LIMIT, end_exited
from reactor.templates import Pull, ReadyKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reactor.registry import Record
    from reactor.registry.verdicts import Spawn
    from reactor.runtime.protocol import Container
    from reactor.teardown import Ways

__all__ = ["AgainError", "Asked", "PullNeededError", "Spawner", "repeated"]

SETTLE_SECONDS = 0.15
"""How long the first container of a template must run before `started` is believed: a command that exits at once would
be handed out otherwise. Later ones of the same process are known to stay."""
T = TypeVar("T")
UNDO_SECONDS = 15.0


class PullNeededError(Exception):
    """The image has to be fetched first; the id was let go."""


class UnusableError(Exception):
    """What was taken from the pool does not run, is gone, or cannot have the session's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawner:
    """Makes containers for one process. `proved` holds the templates whose container was seen to stay."""

    ways: Ways
    proved: set[str] = field(default_factory=set[str])

    async def spawn(self, asked: Asked, reserved: Spawn) -> Session:
        """Make the container that `reserve` granted, or leave nothing behind.

        Raises `AgainError` (reserve again), `PullNeededError`, `SpawnFailed`, `AcquireTimeout`, or `Unavailable` when
        Redis or the engine stays silent: everything is left as it is then, the spawn's lease ends and others repair it.
        """
        made: list[ContainerId] = []
        try:
            return await self._steps(asked, reserved, made)
        except RegisteredError as registered:
            return await self._checked(registered.record, created=False)
        except Superseded as error:
            await self._undo(made)
            raise AgainError from error
        except UnusableError as error:
            await self._give_up(asked, reserved, made, None)
            raise AgainError from error
        except (SessionLost, ContainerGone) as error:
            # Data lost: what we made may be all that is left of the session. Gone: somebody newer removed it.
            raise AgainError from error
        except ImageMissing as error:
            if asked.template.pull is Pull.MISSING:
                await self.ways.registry.abort(asked.session_id, asked.token, "")
                raise PullNeededError from error
            await self._give_up(asked, reserved, made, error)
            raise
        except (SpawnFailed, AcquireTimeout) as error:
            await self._give_up(asked, reserved, made, error)
            raise
        except anyio.get_cancelled_exc_class():
            await self._give_up(asked, reserved, made, None)
            raise

    async def _steps(self, asked: Asked, reserved: Spawn, made: list[ContainerId]) -> Session:
        container = await self._prepared(asked, reserved, made)
        taken = container.member is not None
        record = await self.ways.registry.save(
            asked.session_id,
            asked.token,
            container_id=container.container_id,
            db=reserved.db,
            address=container.address,
            taken=taken,
        )
        return await self._checked(record, created=True, taken=taken)

    async def _prepared(self, asked: Asked, reserved: Spawn, made: list[ContainerId]) -> Container:
        """Take and rename; else create, fence, start, wait until ready.

        The lease is kept meanwhile, and only until the commit.
        """
        lost: SessionLost | None = None
        prepared: list[Container] = []
        registry = self.ways.registry

        async def keep() -> None:
            nonlocal lost
            while True:
                await anyio.sleep(registry.terms.spawn_lease.total_seconds() / 3)
                try:
                    await registry.renew(asked.session_id, asked.token, reserved.db)
                except SessionLost as error:
                    lost = error
                    scope.cancel()
                except Unavailable:
                    continue

        async with beside(keep) as scope:
            container = await self._taken(asked) or await self._made(asked, reserved, made)
            prepared.append(container)
        if not prepared:
            raise lost or AgainError
        return prepared[0]

    async def _taken(self, asked: Asked) -> Container | None:
        """Take a container of the pool and give it the session's name; None where there is none for this caller."""
        if not asked.from_pool:
            return None
        template, runtime = asked.template, self.ways.runtime
        container_id = await self.ways.registry.take(asked.session_id, asked.token, template.name, template.shape())
        if container_id is None:
            return None
        try:
            await repeated(lambda: runtime.rename(container_id, self._name(asked)))
        except (NameTaken, ContainerGone) as error:
            raise UnusableError from error
        container = await repeated(lambda: runtime.inspect(container_id))
        if container is None or not container.running:
            raise UnusableError
        return container

    async def _made(self, asked: Asked, reserved: Spawn, made: list[ContainerId]) -> Container:
        container_id = await self._create(asked, reserved)
        made.append(container_id)
        await self.ways.registry.renew(asked.session_id, asked.token, reserved.db)
        await repeated(lambda: self.ways.runtime.start(container_id))
        ready, deadline = asked.template.ready, asked.soft_deadline
        await repeated(lambda: wait_ready(self.ways.runtime, container_id, ready, deadline=deadline))
        return await self._settled(asked, container_id)

    async def _create(self, asked: Asked, reserved: Spawn) -> ContainerId:
        ways, registry = self.ways, self.ways.registry
        labels = Labels(
            prefix=registry.keys.prefix,
            deployment=ways.deployment,
            host=registry.host,
            db=reserved.db,
            session=asked.session_id,
            generation=reserved.generation,
            template=asked.template.name,
            ttl=asked.ttl,
            token=asked.token,
        )
        spec = ContainerSpec(
            name=self._name(asked),
            labels=labels,
            template=asked.template,
            # Where a pool is kept all containers are alike, those that were not taken from it too.
            environment={} if asked.template.pool else {"SESSION_ID": asked.session_id},
        )
        while True:
            try:
                return await repeated(lambda: ways.runtime.create(spec))
            except NameTaken as taken:
                if (own := await resolve(ways, spec.name, labels, taken.holder, asked.limit)) is not None:
                    return own

    async def _settled(self, asked: Asked, container_id: ContainerId) -> Container:
        until = anyio.current_time()
        if asked.template.ready.kind is ReadyKind.STARTED and asked.template.name not in self.proved:
            until += SETTLE_SECONDS
        while True:
            container = await repeated(lambda: self.ways.runtime.inspect(container_id))
            if container is None:
                raise ContainerGone
            if not container.running:
                raise await self._exited(container)
            if anyio.current_time() >= until:
                self.proved.add(asked.template.name)
                return container
            await anyio.sleep(SETTLE_SECONDS / 5)

    async def _checked(self, record: Record, *, created: bool, taken: bool = False) -> Session:
        """Hand out what was just committed, if it still runs."""
        assert record.container_id is not None  # noqa: S101 (save and register name it)
        container = await repeated(lambda: self.ways.runtime.inspect(record.container_id or ""))
        if container is not None and container.running:
            key = self.ways.registry.keys.heartbeat(record.session_id)
            return record.session(key, local=True, created=created)
        failure = AgainError() if container is None or taken or not created else await self._exited(container)
        with suppress(SessionLost):  # overtaken: somebody else ends it
            await end_exited(self.ways, record.session_id, record.container_id, detector=Detector.ENGINE)
        raise failure

    async def _exited(self, container: Container) -> SpawnFailed:
        said = await self.ways.runtime.last_output(container.container_id)
        last = f'; its last words: "{said}"' if said else ""
        return SpawnFailed(f"the container exited at once ({container.detail or 'no reason known'}){last}")

    async def _own(self, asked: Asked) -> list[ContainerId]:
        """Return what this spawn made if the answer of its create was cut off: the name's holder with our token."""
        found = await self.ways.runtime.inspect(self._name(asked))
        mine = found is not None and found.labels is not None and found.labels.token == asked.token
        return [found.container_id] if found is not None and mine else []

    def _name(self, asked: Asked) -> str:
        return container_name(self.ways.registry.keys.prefix, self.ways.deployment, asked.session_id)

    async def _undo(self, made: list[ContainerId]) -> None:
        for container_id in made:
            await self.ways.runtime.remove(container_id, grace=timedelta(0))

    async def _give_up(
        self, asked: Asked, reserved: Spawn, made: list[ContainerId], error: ReactorError | None
    ) -> None:
        """Remove what was made, then end the record with the error; without one the id is only let go. Shielded.

        Asked first whether the spawn is still ours: after a commit whose reply was cut off, or a data loss, the
        container may be somebody's session.
        """
        text = "" if error is None else f"{type(error).__name__}: {error}"
        with anyio.CancelScope(shield=True), anyio.move_on_after(UNDO_SECONDS):
            try:
                named = await self.ways.registry.renew(asked.session_id, asked.token, reserved.db)
                await self._undo([named] if named else made or await self._own(asked))
                await self.ways.registry.abort(asked.session_id, asked.token, text)
            except (SessionLost, Unavailable):
                # Not ours any more, or nobody answers: the lease ends, and whoever claims it removes what it made.
                return


async def repeated(call: Callable[[], Awaitable[T]], limit: timedelta | None = None) -> T:
    """Return what the engine answers, asked again while it does not, for at most `limit`; then raises `Unavailable`."""
    return await persisted(call, lambda: engine_policy(ENGINE_LIMIT if limit is None else limit))
