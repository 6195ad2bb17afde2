"""The audit stream, read: one entry per change of state.

What this is: `mcp:events` as the event entries that programs rely on. What it is not: a source of decisions. The
invariant: reading changes nothing; an entry may come more than once, never not at all while it is in the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactor.crew import open_reader
from reactor.session import from_ms, iso

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reactor.session import SessionId
    from reactor.settings import Settings

_BLOCK_MS = 2000
_NUMBERS = frozenset({"generation", "lag_ms", "took_ms"})


async def follow_events(
    settings: Settings, *, follow: bool = False, session_id: SessionId | None = None
) -> AsyncIterator[dict[str, object]]:
    """Yield the event entries there are, oldest first; with `follow` go on for ever with those to come.

    Raises `Unavailable` when Redis is gone for longer than a few seconds.
    """
    async with open_reader(settings) as reader:
        after = "0"
        while True:
            entries = await reader.read_events(after, block_ms=_BLOCK_MS if follow else None)
            for entry_id, fields in entries:
                after = entry_id
                if session_id is None or fields.get("session_id") == session_id:
                    yield shown(entry_id, fields)
            if not entries and not follow:
                return


def shown(entry_id: str, fields: dict[str, str]) -> dict[str, object]:
    """Return a stream entry as programs see it; `at` is the moment of its stream id."""
    entry: dict[str, object] = {
        name: int(value) if name in _NUMBERS else value or None for name, value in fields.items()
    }
    for name in (
        "event",
        "session_id",
        "generation",
        "container_id",
        "host",
        "reason",
        "detector",
        "lag_ms",
        "took_ms",
    ):
        entry.setdefault(name, None)
    entry["at"] = iso(from_ms(int(entry_id.partition("-")[0])))
    return entry
