"""A host that was renamed: its engine goes on under the new name, with its sessions.

What this is: the proof that this engine bore another name, and the order of the steps. What it is not: the steps in
Redis (`registry.naming`). The invariant: an engine's ID alone proves nothing, since copies of a machine share it;
an old name is taken over only where a container here carries the token of one of that name's records, and only when no
reactor goes by it any more.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from reactor.errors import ConfigError
from reactor.registry import Record

if TYPE_CHECKING:
    from reactor.registry import Evidence, Naming
    from reactor.runtime.protocol import Engine, Runtime
    from reactor.session import Deployment, HostName

logger = logging.getLogger(__name__)

MARGIN = timedelta(milliseconds=100)
"""Beyond the time for which an ended reactor's word holds."""


async def bind(naming: Naming, evidence: Evidence, runtime: Runtime, engine: Engine) -> None:
    """Tie the host name to this engine, and take over what the engine holds under names that it bore before.

    Repeating it changes nothing; interrupted, the next start goes on. Raises `ConfigError` where the name is another
    engine's, or where a reactor still runs under an old name of this one; `Unavailable`.
    """
    bears = await evidence.bind_engine(engine.engine_id, engine.root)
    alike = await naming.alike(engine)
    if bears is not None:
        alike.setdefault(bears, None)
    for old, renamed in alike.items():
        certain = old == bears or renamed is not None
        if certain or await _proved(naming, runtime, evidence.deployment, old):
            await _take_over(naming, evidence, engine, old)
    if bears is not None:
        await evidence.bind_engine(engine.engine_id, engine.root, anew=True)


async def _proved(naming: Naming, runtime: Runtime, deployment: Deployment, old: HostName) -> bool:
    listed = await runtime.containers(prefix=naming.keys.prefix, deployment=deployment)
    tokens = {c.labels.session: c.labels.token for c in listed if c.labels is not None}
    records = await naming.records(list(tokens))
    found = (record for record in records.values() if isinstance(record, Record))
    return any(record.host == old and record.token == tokens[record.session_id] for record in found)


async def _take_over(naming: Naming, evidence: Evidence, engine: Engine, old: HostName) -> None:
    left = await naming.begin(old, engine)
    if left:
        # A reactor that has just ended is believed for a few seconds more; one that runs says so again meanwhile.
        await anyio.sleep((left + MARGIN).total_seconds())
        left = await naming.begin(old, engine)
    if left is None:
        return
    if left:
        message = (
            f"this engine is host {old!r}, and a reactor runs on it under that name; set REACTOR_HOST={old}, or stop "
            f"that reactor first: the sessions then follow to {naming.host!r}"
        )
        raise ConfigError(message)
    done = await naming.move(old)
    await evidence.witness()  # by what the old name saw of Redis: a restart since then is a quarantine
    logger.info(
        "the host was renamed, its sessions go on",
        extra={"action": "renamed", "host": naming.host, "was": old, "all": done},
    )
