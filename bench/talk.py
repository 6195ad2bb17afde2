"""How a bench and its children talk: one JSON object a line, questions on stdin, answers on stdout.

What this is: both ends of the child's side. What it is not: the parent's (`bench.child`). The invariant: a child whose
stdin ends has lost its parent, and ends too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from typing import Any, cast

Message = dict[str, Any]


def job() -> Message:
    """Return what this child was started to do."""
    return cast("Message", json.loads(sys.argv[1]))


def say(**fields: object) -> None:
    """Tell the parent."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class Ear:
    """The parent's questions, heard by a thread, so that the loop that is measured does nothing for it meanwhile."""

    def __init__(self) -> None:
        """Begin to listen; call it inside a running loop."""
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    async def next(self) -> Message | None:
        """Return the next question; None: the parent is gone, or wants us to end."""
        return await self._queue.get()

    def _listen(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            for line in sys.stdin:
                self._loop.call_soon_threadsafe(self._queue.put_nowait, json.loads(line))
            self._loop.call_soon_threadsafe(self._queue.put_nowait, None)
