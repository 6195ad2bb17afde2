"""The way out of a warm container that no session has.

What this is: the steps that remove one, for the janitor and for the pool's keeper. What it is not: the judgement
(`reactor.members`). The invariant: doomed first, in the very step that compares both indices with what was judged by;
then removed by ID; forgotten last. Killed in between, whoever looks next goes on.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from reactor.registry.pools import DOOMED, LOST, MAKING

if TYPE_CHECKING:
    from reactor.registry import Mark, PoolIndex
    from reactor.runtime.protocol import Container
    from reactor.teardown import Ways


async def retire(ways: Ways, mark: Mark) -> bool:
    """Remove a container, unless it is not what it was judged to be; False then. Raises `Unavailable`."""
    registry, member = ways.registry, mark.member
    if not await registry.mark(member.template, member.token, (mark.entry, mark.taken), DOOMED):
        return False
    await ways.runtime.remove(mark.container.container_id, grace=timedelta(0))
    await registry.mark(member.template, member.token, (DOOMED, mark.taken), "")
    return True


async def note_lost(ways: Ways, mark: Mark) -> bool:
    """Note from when on a container may be somebody's from before a data loss; False: it is not any more."""
    lost = f"{LOST} {await ways.registry.now_ms()}"
    return await ways.registry.mark(mark.member.template, mark.member.token, (mark.entry, mark.taken), lost)


async def as_judged(ways: Ways, mark: Mark) -> bool:
    """Whether the engine still shows the container as it was judged, under the same name."""
    now = await ways.runtime.inspect(mark.container.container_id)
    return now is not None and (now.state, now.name) == (mark.container.state, mark.container.name)


async def tidy(ways: Ways, index: PoolIndex, listed: list[Container], young: timedelta) -> None:
    """Forget what the indices say of containers that are not there; `listed` was read before `index`.

    What is missing in the list may be newer than it, so each is asked for once more, or has to be old.
    """
    if not index.taken and not any(index.entries.values()):
        return
    there = {c.member.token for c in listed if c.member is not None}
    now_ms = await ways.registry.now_ms()
    for template, entries in index.entries.items():
        for token, entry in entries.items():
            if token in there or (entry.word == MAKING and now_ms <= entry.at_ms):
                continue
            if entry.container_id is None or await _is_gone(ways, entry.container_id):
                await ways.registry.mark(template, token, (entry.raw, index.taken.get(token, "")), "")
    for token, value in index.taken.items():
        began_ms = int(value.partition(" ")[0]) // 1000
        if token not in there and now_ms - began_ms > young / timedelta(milliseconds=1):
            # Under whichever template: it stands in no pool.
            await ways.registry.mark("", token, ("", value), "")


async def _is_gone(ways: Ways, container_id: str) -> bool:
    if await ways.runtime.inspect(container_id) is not None:
        return False
    await ways.confirm_engine()
    return True
