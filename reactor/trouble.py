"""What a long-running part last stumbled over, and the loop that carries it over any outage.

What this is: one note per part, logged when it changes, read by `/readyz`. What it is not: a retry policy (`retry`).
The invariant: a part that works again has no trouble; one that does not has said why, once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from reactor.retry import detector_policy, persisted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


class Trouble:
    """The trouble of one part, in a book shared by all parts of a process."""

    def __init__(self, part: str, book: dict[str, str]) -> None:
        """Take the part's name and the book, where an entry stands while there is trouble."""
        self._part = part
        self._book = book

    def failed(self, error: BaseException) -> None:
        """Note a failure; logged if it is another one than before."""
        text = str(error)
        if self._book.get(self._part) != text:
            self._book[self._part] = text
            logger.warning("%s", text, extra={"action": "trouble", "part": self._part})

    def over(self) -> None:
        """Note that the part works."""
        if self._book.pop(self._part, None) is not None:
            logger.info("works again", extra={"action": "trouble_over", "part": self._part})

    async def persist(self, step: Callable[[], Awaitable[None]], *, most: float = 5.0) -> None:
        """Take a step until it succeeds, however long Redis or the engine is away; ended only by cancellation.

        `most` is the longest pause between two tries, in seconds.
        """
        await persisted(step, lambda: detector_policy(self.failed, most))
        self.over()
