"""What is run: which hosts, which faults, how far, and what must come out.

What this is: the list of configurations under the product's rules, and how one is run. What it is not: the broken
variants (`variants.py`). The invariant: a configuration that did not close has shown nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faultlab.model.invariants import ALLOWED, LIVENESS, SAFETY, asked, broken, reached
from faultlab.model.moves import FAULTS, Bounds
from faultlab.model.rules import Rules
from faultlab.model.search import Goal, Search
from faultlab.model.state import State, initial
from faultlab.model.world import moves

if TYPE_CHECKING:
    from faultlab.model.search import Found

Hosts = tuple[tuple[int, int], ...]
ONE: Hosts = ((2, 1),)
"""One host: two acquirers, one reactor."""
CROWD: Hosts = ((2, 2),)
TWO: Hosts = ((1, 1), (1, 1))
"""Two hosts, two engines, two indices: one acquirer and one reactor each."""
LIMIT = 3_000_000
BOUNDS = Bounds(spawns=3, containers=4, lag=1)
"""Enough for an old generation, the one after it, and one that came between."""
NARROW = Bounds(spawns=2, containers=3, lag=1)
WARM = NARROW._replace(warm=True)
"""With a pool: its member is one of the containers."""
_WORDS: dict[Hosts, str] = {ONE: "one host", CROWD: "one host, two reactors", TWO: "two hosts"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One search. `expects`: the property that must be found broken, '' where all must hold."""

    name: str
    hosts: Hosts = ONE
    faults: tuple[str, ...] = ()
    """Each once; named twice, twice."""
    rules: Rules = field(default_factory=Rules)
    checks: tuple[str, ...] = SAFETY
    goals: tuple[str, ...] = LIVENESS
    bounds: Bounds = BOUNDS
    expects: str = ""
    quick: bool = False

    @property
    def first(self) -> State:
        """Return the state to begin with."""
        unknown = set(self.faults) - set(FAULTS)
        assert not unknown, unknown  # noqa: S101 (a slip in the list below)
        return initial(self.hosts, tuple(self.faults.count(fault) for fault in FAULTS), warm=self.bounds.warm)


def run(configuration: Configuration, *, limit: int = LIMIT) -> Found[State]:
    """Explore one configuration."""
    rules, bounds, checks = configuration.rules, configuration.bounds, frozenset(configuration.checks)

    def judged(before: State, move: tuple[str, str, State]) -> str:
        found = broken(before, move)
        return found if found in checks else ""

    goals: list[Goal[State]] = [
        Goal(
            name=name,
            wants=lambda s, name=name: reached(name, s),
            asks=lambda s, name=name: asked(name, s),
            allowed=ALLOWED[name],
        )
        for name in configuration.goals
    ]
    return Search(configuration.first, lambda s: moves(s, rules, bounds), judged, goals).run(limit=limit)


def _product(hosts: Hosts, *faults: str, quick: bool = False, bounds: Bounds = BOUNDS) -> Configuration:
    """A configuration of the product's rules; where losses are `settled`, S1F must hold too."""
    words = " + ".join(faults) or "no fault"
    extra = f", {bounds.lag} writes" * (bounds.lag > 1) + ", S1F" * bounds.settled
    extra += ", 2 spawns" * (bounds.spawns < BOUNDS.spawns)
    checks = (*SAFETY, "S1F") if bounds.settled else SAFETY
    name = f"{_WORDS[hosts]}{', a pool' * bounds.warm}: {words}{extra}"
    return Configuration(name=name, hosts=hosts, faults=faults, checks=checks, bounds=bounds, quick=quick)


_WIDE = ("flush", "rewind", "record evicted")
"""Faults after which so much is possible that a smaller world has to do where there are more actors."""
_NEAR = ("crash", "lost reply", "tombstone over", "client DEL", "lease over", "cancel")
_PAIRS = (
    ("crash", "lease over"), ("lost reply", "lease over"), ("abandoned request", "lease over"),
    ("crash", "abandoned request"), ("exit", "crash"), ("tombstone over", "lease over"), ("crash", "lost reply"),
    ("terminate", "lease over"), ("terminate", "crash"), ("cancel", "lease over"), ("cancel", "abandoned request"),
    ("heartbeat evicted", "crash"), ("heartbeat evicted", "heartbeat evicted"), ("flush", "lease over"),
    ("flush", "crash"), ("flush", "lost reply"), ("rewind", "crash"), ("flush", "heartbeat evicted"),
)  # fmt: skip
_TWO_PAIRS = (
    ("crash", "lease over"), ("terminate", "crash"), ("tombstone over", "lease over"), ("lost reply", "lease over"),
    ("exit", "lease over"),
)  # fmt: skip


_POOL_NEAR = ("crash", "lost reply", "lease over", "exit", "cancel", "terminate", "outdated")
_POOL_PAIRS = (
    ("crash", "outdated"), ("lease over", "outdated"), ("crash", "lease over"), ("abandoned request", "crash"),
    ("flush", "crash"), ("flush", "lease over"), ("cancel", "lost reply"),
)  # fmt: skip


def _with_a_pool() -> list[Configuration]:
    plain = [fault for fault in FAULTS if fault not in (*_WIDE, "forget host")]
    settled = WARM._replace(settled=True)
    found = [_product(ONE, quick=True, bounds=WARM), _product(TWO, quick=True, bounds=WARM)]
    found += [_product(ONE, fault, quick=fault in _POOL_NEAR, bounds=WARM) for fault in plain]
    found += [_product(ONE, "flush", quick=True, bounds=settled), _product(ONE, "rewind", bounds=settled)]
    found += [_product(ONE, fault, bounds=WARM) for fault in _WIDE]
    found += [_product(TWO, fault, bounds=WARM) for fault in ("crash", "outdated", "exit", "terminate", "flush")]
    found += [_product(CROWD, fault, bounds=WARM) for fault in ("crash", "outdated", "lease over")]
    return found + [_product(ONE, *pair, bounds=WARM) for pair in _POOL_PAIRS]


def _all() -> list[Configuration]:
    plain = [fault for fault in FAULTS if fault not in (*_WIDE, "forget host", "outdated")]
    settled = BOUNDS._replace(settled=True)
    found = [_product(ONE, quick=True), _product(TWO, quick=True)]
    found += _with_a_pool()
    found += [_product(ONE, fault, quick=True) for fault in plain]
    found += [_product(ONE, fault, quick=True, bounds=settled) for fault in ("flush", "rewind")]
    found += [_product(ONE, fault) for fault in _WIDE]
    found += [_product(ONE, "rewind", bounds=BOUNDS._replace(lag=3))]
    found += [_product(TWO, fault, quick=fault in _NEAR) for fault in (*plain, "forget host", "flush")]
    found += [_product(TWO, fault, bounds=NARROW) for fault in ("rewind", "record evicted")]
    found += [_product(CROWD, fault) for fault in plain]
    found += [_product(CROWD, fault, bounds=NARROW) for fault in _WIDE]
    found += [_product(ONE, *pair) for pair in _PAIRS]
    found += [_product(TWO, *pair, bounds=NARROW) for pair in _TWO_PAIRS]
    return found


CONFIGURATIONS = tuple(_all())
