"""The way out: a claimed session's container is stopped and removed, then its record becomes a tombstone.

What this is: the one teardown, for every detector and for every reason. What it is not: the decision that a session is
over; that is `examine`, in Redis. The invariant: remove before finish, by ID only; before each engine call the claim is
asked for again, so a claim that a failover or a data loss took away removes nothing.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from reactor.ages import Ages
from reactor.beside import beside_long
from reactor.errors import SessionLost, Unavailable
from reactor.registry.verdicts import Claimed, Mode, Verdict
from reactor.retry import engine_policy, persisted
from reactor.runtime.protocol import Removal
from reactor.session import (
    ContainerId,
    DatabaseId,
    Detector,
    EndReason,
    Generation,
    SessionId,
    Token,
    new_token,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from reactor.registry import SessionRegistry
    from reactor.runtime.protocol import Engine, Runtime
    from reactor.session import Deployment

logger = logging.getLogger(__name__)

ENGINE_LIMIT = timedelta(seconds=30)
"""How long one removal of unknown outcome is repeated before the claim is handed on."""
HAND_ON = timedelta(seconds=2)
"""The lease that is left when the engine did not get it done: whoever looks next takes over."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over and its container gone; `removed` names what this teardown itself made go."""

    reason: EndReason
    removed: tuple[ContainerId, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """A session that is ours to tear down until its lease ends."""

    claimed: Claimed
    token: Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What a teardown works with."""

    registry: SessionRegistry
    runtime: Runtime
    deployment: Deployment
    engine: Engine
    """The engine to which the host name was bound."""
    stop_grace: timedelta
    """How long a container has from SIGTERM to SIGKILL."""
    ages: Ages = field(default_factory=Ages)

    async def confirm_engine(self) -> None:
        """Raise `Unavailable` where another engine answers by now: that it has no such container says nothing."""
        found, bound = await self.runtime.engine(), self.engine
        if (found.engine_id, found.root) != (bound.engine_id, bound.root):
            message = (
                f"the engine is not the one of host {self.registry.host!r} any more (it was {bound.engine_id} at "
                f"{bound.root}, now {found.engine_id} at {found.root}): nothing is concluded from what it does not have"
            )
            raise Unavailable(message)


async def tear_down(  # noqa: PLR0913 (the last ones say what an end is about)
    ways: Ways,
    session_id: SessionId,
    *,
    detector: Detector,
    mode: Mode = Mode.CLAIM,
    reason: EndReason = EndReason.TERMINATED,
    expected: ContainerId | None = None,
    generation: Generation | None = None,
    heard: DatabaseId | None = None,
) -> Verdict | Ended:
    """Examine a session and, if that claims it, remove its container and finish.

    Returns `Ended`, or the verdict that left the session alone. Raises `Unavailable` when Redis or the engine could not
    get it done; the claim is then handed on, nothing is forgotten. Calling it twice, or from many reactors, is
    harmless: one claims, the others hear `Busy`. Cancelled in the middle, the claim's lease ends and the next takes
    over. Raises `SessionLost` where somebody else took over after our lease ended.
    """
    token = new_token()
    verdict = await ways.registry.examine(
        session_id, mode, token, detector=detector, reason=reason, expected=expected, generation=generation, heard=heard
    )
    if not isinstance(verdict, Claimed):
        return verdict
    return await carry_out(ways, session_id, Claim(verdict, token))


async def end_exited(
    ways: Ways, session_id: SessionId, container_id: ContainerId | None, *, detector: Detector
) -> Verdict | Ended:
    """End a session whose container was seen not to run; `Other` where the record names another one by now.

    Errors as in `tear_down`; `Unavailable` too where it was not seen by the host's own engine.
    """
    await ways.confirm_engine()
    return await tear_down(
        ways, session_id, detector=detector, mode=Mode.END, reason=EndReason.CONTAINER_EXITED, expected=container_id
    )


async def carry_out(ways: Ways, session_id: SessionId, claim: Claim) -> Ended:
    """Do what a claim is the right to do. Errors as in `tear_down`."""
    claimed, token = claim.claimed, claim.token
    third = ways.registry.terms.claim_lease.total_seconds() / 3
    async with beside_long(_extending(ways.registry, session_id, token, third), third):
        try:
            targets = await _targets(ways, session_id, claimed)
            removed = [target for target in targets if await _remove(ways, session_id, target, token)]
        except Unavailable:
            await ways.registry.extend(session_id, token, HAND_ON)
            raise
        await ways.registry.delete(session_id, token)
    logger.info(
        "session ended",
        extra={
            "action": "ended",
            "session": session_id,
            "generation": claimed.generation,
            "reason": claimed.reason.value,
        },
    )
    return Ended(claimed.reason, tuple(removed))


async def _targets(ways: Ways, session_id: SessionId, claim: Claimed) -> list[ContainerId]:
    if claim.container_id is not None:
        spared = not claim.committed and await _from_before(ways, claim.container_id, claim.db)
        return [] if spared else [claim.container_id]
    # The spawn had named no container yet: whatever it or an older one made. A running one of another database is left
    # to be registered; a newer one belongs to somebody else.
    prefix = ways.registry.keys.prefix
    found = await ways.runtime.containers(prefix=prefix, deployment=ways.deployment, session_id=session_id)
    return [
        c.container_id
        for c in found
        if c.labels is not None
        and c.labels.generation <= claim.generation
        and not (c.labels.db != claim.db and c.running)
    ]


async def _from_before(ways: Ways, container_id: ContainerId, db: DatabaseId) -> bool:
    """Whether a container of the pool, named by a spawn that was not committed, may have been committed all the same.

    So it may where another database made it: the commit can be lost with the rest. The next acquire finds it by its
    name; nobody's, it goes after its TTL.
    """
    found = await ways.runtime.inspect(container_id)
    return found is not None and found.running and found.member is not None and found.member.db != db


async def _remove(ways: Ways, session_id: SessionId, container_id: ContainerId, token: Token) -> bool:
    async def once() -> bool:
        await _ask_again(ways.registry, session_id, token)
        if await ways.runtime.remove(container_id, grace=ways.stop_grace) is Removal.REMOVED:
            return True
        await ways.confirm_engine()
        return False

    return await persisted(once, lambda: engine_policy(ENGINE_LIMIT))


async def _ask_again(registry: SessionRegistry, session_id: SessionId, token: Token) -> None:
    """Extend the claim, and once more where this process was stopped for so long that the answer is worth nothing."""
    while True:
        asked = anyio.current_time()
        await registry.extend(session_id, token)
        if anyio.current_time() - asked < registry.terms.claim_lease.total_seconds():
            return


def _extending(
    registry: SessionRegistry, session_id: SessionId, token: Token, every: float
) -> Callable[[], Coroutine[None, None, None]]:
    """Extend the claim again and again; one that was lost is found out by the next step of the teardown."""

    async def extend() -> None:
        with suppress(SessionLost, Unavailable):
            while True:
                await registry.extend(session_id, token)
                await anyio.sleep(every)

    return extend


def log_grace(session_id: SessionId, left: timedelta) -> None:
    """Say that a session whose key is missing was given time."""
    logger.info(
        "one grace, the key may be missing for another reason",
        extra={"action": "grace", "session": session_id, "left": left},
    )
