"""The list of mutants: what each breaks, the line that it changes, and the tests that kill it.

What this is: the reading and checking of `catalogue.toml`. What it is not: a run (`faultlab.mutants.__main__`). The
invariant: a mutant changes exactly one place of one file; a line that the product no longer has is an error, so the
list cannot rot.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("catalogue.toml")


class CatalogueError(Exception):
    """An entry does not fit the product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One way to break the product in one place."""

    name: str
    breaks: str
    """What goes wrong for a user, in one sentence."""
    file: str
    old: str
    new: str
    killed_by: tuple[str, ...]
    """pytest's names of the tests of which at least one must fail."""

    def applied(self, root: Path) -> str:
        """Return the file's text with the mutation; raises `CatalogueError` unless the line is there exactly once."""
        text = (root / self.file).read_text(encoding="utf-8")
        found = text.count(self.old)
        if found != 1:
            raise CatalogueError(f"{self.name}: {self.file} has its line {found} times, not once: {self.old.strip()!r}")
        return text.replace(self.old, self.new)


def catalogue(path: Path = LIST) -> list[Mutant]:
    """Return every mutant; raises `CatalogueError` for a name that stands there twice or an entry without a killer."""
    mutants = msgspec.toml.decode(path.read_bytes(), type=dict[str, list[Mutant]])["mutant"]
    names = [mutant.name for mutant in mutants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CatalogueError(f"named twice: {', '.join(twice)}")
    for mutant in mutants:
        if not mutant.killed_by or mutant.old == mutant.new:
            raise CatalogueError(f"{mutant.name}: it needs a change and a test that notices it")
    return mutants
