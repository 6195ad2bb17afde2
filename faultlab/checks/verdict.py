"""What a checker says: a violation, or nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach of an invariant: which, when, of what, and how."""

    check: str
    t: float
    session: str
    container: str
    text: str

    def line(self, origin: float) -> str:
        """Return it as one line, its time counted from `origin`."""
        return (
            f"{self.check:4} {self.t - origin:8.2f} s  {self.session or '-'}  {self.container[:12] or '-'}  {self.text}"
        )
