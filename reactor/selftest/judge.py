"""What was promised, and what was seen: a pure judgement over what clients were told and what the engine did.

What this is: double spawns, wrong kills, early kills, and the lag, from two independent records. What it is not: the
looking (bench) or the acting (clients). The invariant: it believes Redis' answers to the clients and the engine, never
the reactor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reactor.session import ContainerId

START: Final = "start"
DIE: Final = "die"
DESTROY: Final = "destroy"
KINDS: Final = ("create", START, DIE, DESTROY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that the engine did: `at_ms` when it was seen, on Redis' clock; `engine_s` on the engine's own."""

    at_ms: float
    engine_s: float
    kind: str
    container_id: ContainerId
    session_id: str


@dataclass(slots=True, kw_only=True)
class Holding:
    """One container that a client was given, and until when Redis said that it lives."""

    session_id: str
    container_id: ContainerId
    deadline_ms: float = 0.0
    """The latest that Redis has confirmed, on its own clock."""
    left: bool = False
    """The client does not touch it any more."""
    ended: bool = False
    """The client asked for its end (DEL, terminate): it may go at once."""
    timed: bool = False
    """Its lag counts: no fault stands between its deadline and its end."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """What must not be, one line each; and what was measured."""

    leaks: list[str] = field(default_factory=list[str])
    double_spawns: list[str] = field(default_factory=list[str])
    wrong_kills: list[str] = field(default_factory=list[str])
    early_kills: list[str] = field(default_factory=list[str])
    foreign_touched: list[str] = field(default_factory=list[str])
    lags_ms: list[float] = field(default_factory=list[float])

    @property
    def zeroes(self) -> dict[str, list[str]]:
        """Every list that has to be empty, by its name for programs."""
        return {
            "leaks": self.leaks,
            "double_spawns": self.double_spawns,
            "wrong_kills": self.wrong_kills,
            "early_kills": self.early_kills,
            "foreign_touched": self.foreign_touched,
        }


def judge(holdings: Iterable[Holding], happenings: Sequence[Happening], tolerance_ms: float) -> Findings:
    """Return what the two records show. `tolerance_ms` is how well Redis' clock is known here."""
    found = Findings(double_spawns=double_spawns(happenings))
    ends: dict[ContainerId, Happening] = {}
    gone: dict[ContainerId, Happening] = {}
    for each in happenings:
        if each.kind in (DIE, DESTROY):
            ends.setdefault(each.container_id, each)
        if each.kind == DESTROY:
            gone.setdefault(each.container_id, each)
    for held in holdings:
        end = ends.get(held.container_id)
        if end is None or held.ended:
            continue
        early = held.deadline_ms - end.at_ms
        if early > tolerance_ms:
            whose = "a client that had left" if held.left else "a client that was alive"
            line = f"session {held.session_id}: container {held.container_id[:12]} of {whose} went {early:.0f} ms early"
            (found.early_kills if held.left else found.wrong_kills).append(line)
        elif held.timed and (removed := gone.get(held.container_id)) is not None:
            found.lags_ms.append(max(0.0, removed.at_ms - held.deadline_ms))
    return found


def double_spawns(happenings: Sequence[Happening]) -> list[str]:
    """Return each session of which two containers ran at the same time, by the engine's own clock."""
    found: list[str] = []
    running: dict[str, set[ContainerId]] = {}
    for each in sorted(happenings, key=lambda each: each.engine_s):
        now = running.setdefault(each.session_id, set())
        if each.kind == START:
            if now - {each.container_id}:
                both = " and ".join(sorted(one[:12] for one in now | {each.container_id}))
                found.append(f"session {each.session_id}: containers {both} ran at the same time")
            now.add(each.container_id)
        elif each.kind in (DIE, DESTROY):
            now.discard(each.container_id)
    return found


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that `share` of all do not exceed (nearest rank); None of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
