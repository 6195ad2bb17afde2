"""Who we are to this Redis, and whether it is still the Redis that this host knew.

What this is: the binding of a host to its engine and of a prefix to its deployment, and the witness that compares Redis
with what was last seen of it. What it is not: the judgement, which is pure (`reactor.quarantine`). The invariant: no
verdict and no spawn happens between a change of Redis and its being witnessed.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any, cast

import anyio

from reactor.errors import ConfigError, Unavailable
from reactor.keys import default_deployment
from reactor.quarantine import Observation, conclude
from reactor.registry.link import RunIdChanged, redis_errors
from reactor.registry.scripts import Script
from reactor.session import DatabaseId, Deployment

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor.keys import Keys
    from reactor.registry.link import RedisLink
    from reactor.session import HostName

logger = logging.getLogger(__name__)

LAYOUT = "1"
_TRIES = 10


def _nothing() -> None:
    """Do nothing: nobody wants to know."""


class Evidence:
    """One host's view of one Redis. `witness` may be called by many tasks at once; they share one look."""

    def __init__(self, link: RedisLink, keys: Keys, host: HostName, deployment: Deployment | None) -> None:
        """Note who asks; nothing is sent yet. `deployment` None takes the one that Redis knows."""
        self._link = link
        self._keys = keys
        self._host = host
        self._asked = deployment
        self._lock = anyio.Lock()
        self.db = DatabaseId("")
        self.deployment = deployment or Deployment("")
        self.on_change: Callable[[], None] = _nothing
        """Called when the database id changed: belief and engine have to be compared again."""
        self.changes = 0
        """How often Redis turned out to be another one: every claim and plan from before is void."""

    async def witness(self) -> None:
        """Look at Redis and write down what it is now.

        Raises `Unavailable`, and `ConfigError` where this Redis and prefix belong to another deployment. Repeating it
        changes nothing.
        """
        before = self.changes
        async with self._lock:
            if self.changes != before:
                return
            server = await self._link.look()
            self._link.trust(server)
            for _ in range(_TRIES):
                if await self._agree(server.run_id):
                    return
        message = f"Redis at {self._link.where} kept changing its database id; look at {self._keys.meta}"
        raise Unavailable(message)

    async def _agree(self, run_id: str) -> bool:
        seen = await self._observe(run_id)
        deployment = self._settle(seen.meta_deployment)
        found = conclude(seen, secrets.token_hex(8))
        args = (self._host, seen.meta_db, seen.meta_deployment, seen.seen_run_id, seen.seen_db)
        new = (found.db, deployment, LAYOUT, run_id, found.quarantine)
        keys = (self._keys.meta, self._keys.seen(self._host), self._keys.events)
        settled = (seen.meta_db, seen.meta_deployment) == (found.db, deployment)
        settled = settled and (seen.seen_run_id, seen.seen_db) == (run_id, found.db)
        if not settled and await self._link.run(Script.WITNESS, keys, (*args, *new)) != "OK":
            return False
        self.deployment = deployment
        self._note_db(DatabaseId(found.db))
        if found.quarantine:
            logger.warning(
                "a missing heartbeat key proves nothing for a while: each session gets one grace",
                extra={"action": "quarantine", "host": self._host, "reason": found.quarantine},
            )
        return True

    def _settle(self, written: str) -> Deployment:
        # Once bound we write our own back after a data loss; before that Redis' word stands for the default.
        ours = self._asked or self.deployment
        if written and ours and written != ours:
            message = (
                f"prefix {self._keys.prefix!r} in Redis at {self._link.where} belongs to deployment {written!r}, "
                f"not {ours!r}; set REACTOR_DEPLOYMENT={written} or another REACTOR_PREFIX"
            )
            raise ConfigError(message)
        if written or ours:
            return Deployment(written or ours)
        return default_deployment(self._link.where, self._link.database, self._keys.prefix)

    async def _observe(self, run_id: str) -> Observation:
        with redis_errors(self._link.where):
            pipe = cast("Any", self._link.client.pipeline(transaction=True))
            pipe.hmget(self._keys.meta, "db", "deployment")
            pipe.hmget(self._keys.seen(self._host), "run_id", "db")
            pipe.zcard(self._keys.due(self._host))
            meta, seen, records = await pipe.execute()
        return Observation(
            run_id=run_id,
            meta_db=meta[0] or "",
            meta_deployment=meta[1] or "",
            seen_run_id=seen[0] or "",
            seen_db=seen[1] or "",
            has_records=bool(records),
        )

    async def bind_engine(self, engine_id: str, root: str) -> None:
        """Tie the host name to its engine; raises `ConfigError` where another engine holds that name already."""
        reply = await self._link.run(Script.BIND_ENGINE, (self._keys.engine(self._host),), (engine_id, root))
        if reply[0] != "OK":
            message = (
                f"host name {self._host!r} belongs to engine {reply[1]} ({reply[2]}), not to this one ({engine_id}, "
                f"{root}); give this machine another REACTOR_HOST, or DEL {self._keys.engine(self._host)}"
            )
            raise ConfigError(message)

    async def watch(self, *, watched_ms: int, ahead_ms: int) -> None:
        """Say that this host's engine is watched for the next `watched_ms`, and how far ahead its scores may lie."""
        keys = (self._keys.seen(self._host), self._keys.meta)
        try:
            reply = await self._link.run(Script.WATCH, keys, (self._link.run_id, watched_ms, ahead_ms))
        except RunIdChanged:
            reply = ["UNSURE"]
        if reply[0] == "OK":
            # Another process of this host may have witnessed the change; belief and engine differ all the same.
            self._note_db(DatabaseId(reply[1]))
        else:
            await self.witness()

    def _note_db(self, db: DatabaseId) -> None:
        changed = self.db not in ("", db)
        self.db = db
        if changed:
            self.changes += 1
            self.on_change()
