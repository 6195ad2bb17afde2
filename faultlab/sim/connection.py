"""What a simulated server knows of one connection, and how it describes itself.

What this is: subscriptions and the open transaction of a client; the text of INFO. What it is not: the wire. The
invariant: what was not asked for leaves by `push` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from faultlab.sim.replies import Reply


class Session:
    """What the server knows of one connection."""

    def __init__(self, push: Callable[[Reply], None]) -> None:
        """Take how to send what was not asked for."""
        self.push = push
        self.queued: list[list[bytes]] | None = None
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}

    @property
    def subscriptions(self) -> int:
        """How many channels and patterns it listens to."""
        return len(self.channels) + len(self.patterns)


def info_text(known: Mapping[str, Mapping[str, object]], wanted: Sequence[str]) -> bytes:
    """Write the sections of INFO that were asked for; none, or `all`, means every one."""
    whole = not wanted or {"all", "everything", "default"} & set(wanted)
    parts: list[str] = []
    for name in known if whole else wanted:
        lines = "".join(f"{key}:{value}\r\n" for key, value in known.get(name, {}).items())
        parts.append(f"# {name.capitalize()}\r\n{lines}")
    return "\r\n".join(parts).encode()
