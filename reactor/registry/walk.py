"""A walk over all sessions of a prefix that reads in full only what is not as it should be.

What this is: the steps of the walk, read into types. What it is not: a judgement; that Redis is content with a session
says nothing of its container (`reactor.survey`). The invariant: whatever is not certainly in order is named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from reactor.session import ContainerId, Generation, SessionId, Token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reactor.registry.upkeep import Upkeep

STEP = 500
"""Keys that Redis looks at in one step: a few milliseconds in which it does nothing else."""


class Content(NamedTuple):
    """A session of this host that runs, with nothing about it in doubt as far as Redis knows."""

    name: str
    """Its id, if it is one: whoever finds no container with it has it checked."""
    generation: Generation
    token: Token
    container_id: ContainerId


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found."""

    content: list[Content] = field(default_factory=list[Content])
    doubtful: list[SessionId] = field(default_factory=list[SessionId])
    """To be read one by one."""
    elsewhere: list[SessionId] = field(default_factory=list[SessionId])
    """Of another host, or over: of interest only where a container of theirs is here."""
    strays: list[SessionId] = field(default_factory=list[SessionId])
    """Had a heartbeat key and no record."""


async def walk(registry: Upkeep, count: int = STEP) -> AsyncIterator[Step]:
    """Yield the steps, over `count` keys each.

    A session may come more than once (SCAN), one that comes or goes meanwhile not at all. Raises `Unavailable`. It may
    be left at any time.
    """
    head = len(registry.keys.record(SessionId("")))
    cursor = "0"
    while True:
        cursor, *rows = await registry.walk_step(cursor, count)
        yield _read(registry, rows, head)
        if cursor == "0":
            return


def _read(registry: Upkeep, rows: list[str], head: int) -> Step:
    step = Step()
    lists = {"?": step.doubtful, "~": step.elsewhere, "!": step.strays}
    for row in rows:
        if row[0] == "=":
            _, generation, token, container_id, key = row.split(" ", 4)
            told = Content(key[head:], Generation(int(generation)), Token(token), ContainerId(container_id))
            step.content.append(told)
        elif (parsed := registry.keys.parse_session_key(row[2:])) is not None:
            lists[row[0]].append(parsed[0])
    return step
