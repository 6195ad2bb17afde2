"""What is run: which hosts, which faults, how far, and what must come out.

What this is: the list of configurations under the product's rules, and how one is run. What it is not: the broken
variants (`variants.py`). The invariant: a configuration that did not close has shown nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faultlab.model.invariants import LIVENESS, ALLOWED, SAFETY, asked, broken, reached
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
LIMIT = 4_000_000
_WORDS = {ONE: "one host", CROWD: "one host, two reactors", TWO: "two hosts"}


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
    bounds: Bounds = Bounds(spawns=3, containers=4, lag=1)
    expects: str = ""
    quick: bool = False

    @property
    def first(self) -> State:
        """Return the state to begin with."""
        unknown = set(self.faults) - set(FAULTS)
        assert not unknown, unknown  # noqa: S101 (a slip in the list below)
        return initial(self.hosts, tuple(self.faults.count(fault) for fault in FAULTS))


def run(configuration: Configuration, *, limit: int = LIMIT) -> Found[State]:
    """Explore one configuration."""
    rules, bounds, checks = configuration.rules, configuration.bounds, frozenset(configuration.checks)

    def judged(before: State, move: tuple[str, str, State]) -> str:
        found = broken(before, move)
        return found if found in checks else ""

    goals = [
        Goal[State](
            name=name,
            wants=lambda s, name=name: reached(name, s),
            asks=lambda s, name=name: asked(name, s),
            allowed=ALLOWED[name],
        )
        for name in configuration.goals
    ]
    return Search(configuration.first, lambda s: moves(s, rules, bounds), judged, goals).run(limit=limit)


def _product(hosts: Hosts, *faults: str, quick: bool = False, lag: int = 1, told: bool = False) -> Configuration:
    """A configuration of the product's rules; `told`: S1F too, with losses only while no removal is on its way."""
    words = " + ".join(faults) or "no fault"
    extra = f", {lag} writes" * (lag > 1) + ", S1F" * told
    return Configuration(
        name=f"{_WORDS[hosts]}: {words}{extra}",
        hosts=hosts,
        faults=faults,
        checks=(*SAFETY, "S1F") if told else SAFETY,
        bounds=Bounds(spawns=3, containers=4, lag=lag, settled=told),
        quick=quick,
    )


_LOSSES = ("flush", "rewind", "forget host")
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


def _all() -> list[Configuration]:
    single = [fault for fault in FAULTS if fault not in _LOSSES]
    found = [_product(ONE, quick=True), _product(TWO, quick=True)]
    found += [_product(ONE, fault, quick=True) for fault in single]
    found += [_product(ONE, "flush", quick=True, told=True), _product(ONE, "rewind", quick=True, told=True)]
    found += [_product(ONE, "flush"), _product(ONE, "rewind"), _product(ONE, "rewind", lag=3)]
    near = ("crash", "lost reply", "tombstone over", "client DEL", "lease over", "cancel")
    found += [_product(TWO, fault, quick=fault in near) for fault in FAULTS]
    found += [_product(CROWD, fault) for fault in single]
    found += [_product(CROWD, "flush"), _product(CROWD, "rewind")]
    found += [_product(ONE, *pair) for pair in _PAIRS]
    found += [_product(TWO, *pair) for pair in _TWO_PAIRS]
    return found


CONFIGURATIONS = tuple(_all())
