"""What the demo shows: lines for a person, or one JSON object per fact; and which facts it still owes.

What this is: the only place of the demo that prints. What it is not: the judgement whether something was observed. The
invariant: a fact that nobody reported is missing, and a demo with a missing fact has failed.
"""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from typing import Final

_COLOURS: Final = {"green": "32", "red": "31", "dim": "2", "bold": "1"}


class Fact(StrEnum):
    """What a demo has to show, in its order."""

    TWO_CONTAINERS = "two users get two containers"
    SAME_CONTAINER = "the same user again gets the same one"
    ONE_OF_TEN = "ten concurrent acquires of one new id get one"
    LIVES_ON = "a client that keeps touching its key lives on"
    EXPIRED = "one that stops is removed"
    DELETED = "a DEL ends one at once"
    ORPHAN = "an orphan is found and removed by a reconcile"
    NOTHING_LEFT = "nothing is left behind"


class Screen:
    """Prints as it goes. With `as_json` only the facts, one object per line; everything else is then left out."""

    def __init__(self, *, as_json: bool) -> None:
        """Look at stdout once: colours only where somebody sees them, signs only where they can be written."""
        self._as_json = as_json
        self._coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._signs = "utf" in (sys.stdout.encoding or "").lower()
        self._seen: dict[Fact, bool] = {}

    def title(self, text: str) -> None:
        """Begin a part."""
        self._print(f"\n{self._in('bold', text)}")

    def say(self, text: str) -> None:
        """Tell what happens, beside the facts."""
        self._print(f"    {self._in('dim', text)}")

    def setting(self, name: str, text: str) -> None:
        """Tell one thing that the demo works with."""
        self._print(f"{name:<8} {text}")

    def fact(self, fact: Fact, *, seen: bool, detail: str, **measured: float) -> None:
        """Report a fact as observed or not, with what was seen; `measured` are its numbers for programs."""
        self._seen[fact] = seen
        if self._as_json:
            shown = {"fact": fact.name.lower(), "observed": seen, "detail": detail, **measured}
            print(json.dumps(shown, separators=(",", ":")), flush=True)
            return
        good, bad = ("\N{CHECK MARK}", "\N{BALLOT X}") if self._signs else ("[ok]", "[no]")
        mark = self._in("green", good) if seen else self._in("red", bad)
        self._print(f"  {mark} {fact.value}: {detail}")

    @property
    def missing(self) -> list[Fact]:
        """The facts that were not observed so far."""
        return [fact for fact in Fact if not self._seen.get(fact)]

    def trouble(self, text: str) -> None:
        """Say what went wrong, on stderr, in one line."""
        line = " ".join(text.split())
        print(f"reactor: {line}", file=sys.stderr, flush=True)

    def _print(self, text: str) -> None:
        if not self._as_json:
            print(text if self._signs else text.encode("ascii", "replace").decode(), flush=True)

    def _in(self, colour: str, text: str) -> str:
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self._coloured else text
