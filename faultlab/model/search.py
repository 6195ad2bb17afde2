"""The search: every reachable state, breadth first, and whether each goal stays within reach.

What this is: exploration with shortest traces, and backward reachability. What it is not: any knowledge of sessions;
it takes the moves, the judgement and the goals as functions. The invariant: a state is visited once, in the order of
its distance, so a trace that is shown is a shortest one.
"""

from __future__ import annotations

import gc
import time
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable

S = TypeVar("S", bound="Hashable")
BOUND = "bound"
"""The kind of a move beyond the bounds: the state it starts from counts as fine in every goal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal(Generic[S]):
    """A liveness property: from each state that it asks about, moves of these kinds can lead to one that it wants."""

    name: str
    wants: Callable[[S], bool]
    asks: Callable[[S], bool]
    allowed: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[S]):
    """What a search found. `broken` is the name of a property, '' for none; `trace` leads there."""

    states: int
    edges: int
    closed: bool
    seconds: float
    """Of the processor."""
    broken: str = ""
    trace: list[tuple[str, S]] = field(default_factory=list[Any])


class Search(Generic[S]):
    """One exploration from one state."""

    def __init__(
        self,
        first: S,
        moves: Callable[[S], Iterable[tuple[str, str, S]]],
        broken: Callable[[S, tuple[str, str, S]], str],
        goals: Collection[Goal[S]] = (),
    ) -> None:
        """Take where to begin and what to judge by; nothing is looked at yet."""
        self._moves, self._broken, self._goals = moves, broken, goals
        self._order = [first]
        self._parents = array("i", [-1])
        self._kinds: dict[str, int] = {}
        self._sources, self._targets, self._edge_kinds = array("i"), array("i"), bytearray()
        self._beyond: set[int] = set()

    def run(self, *, limit: int) -> Found[S]:
        """Explore until a property is broken, everything was seen, or `limit` states were."""
        began = time.process_time()
        gc.disable()  # millions of tuples, none of them in a cycle
        try:
            name, trace, closed = self._explore(limit)
            if closed:
                name, trace = self._judge_goals()
        finally:
            gc.enable()
        return Found(
            states=len(self._order),
            edges=len(self._sources),
            closed=closed,
            seconds=time.process_time() - began,
            broken=name,
            trace=trace,
        )

    def _explore(self, limit: int) -> tuple[str, list[tuple[str, S]], bool]:
        order, parents = self._order, self._parents
        known = {order[0]: 0}
        at = 0
        while at < len(order):
            if len(order) > limit:
                return "", [], False
            state = order[at]
            for move in self._moves(state):
                label, kind, after = move
                if kind == BOUND:
                    self._beyond.add(at)
                    continue
                if name := self._broken(state, move):
                    return name, [*self._trace(at), (label, after)], False
                number = known.setdefault(after, len(order))
                if number == len(order):
                    order.append(after)
                    parents.append(at)
                self._sources.append(at)
                self._targets.append(number)
                self._edge_kinds.append(self._kinds.setdefault(kind, len(self._kinds)))
            at += 1
        return "", [], True

    def _trace(self, number: int) -> list[tuple[str, S]]:
        """Return the moves that led to a state, found again from its ancestors."""
        steps: list[tuple[str, S]] = []
        while number:
            before = self._parents[number]
            state = self._order[number]
            label = next(label for label, _, after in self._moves(self._order[before]) if after == state)
            steps.append((label, state))
            number = before
        return steps[::-1]

    def _judge_goals(self) -> tuple[str, list[tuple[str, S]]]:
        for goal in self._goals:
            stuck = self._first_stuck(goal)
            if stuck is not None:
                return goal.name, self._trace(stuck)
        return "", []

    def _first_stuck(self, goal: Goal[S]) -> int | None:
        """Return the nearest state from which the goal cannot be reached, by walking back from the goal."""
        allowed = {number for kind, number in self._kinds.items() if kind in goal.allowed}
        count = len(self._order)
        heads = array("i", [-1]) * count
        rest = array("i", [-1]) * len(self._sources)
        for edge, kind in enumerate(self._edge_kinds):
            if kind in allowed:
                rest[edge] = heads[self._targets[edge]]
                heads[self._targets[edge]] = edge
        fine = bytearray(count)
        walk = [n for n, state in enumerate(self._order) if n in self._beyond or goal.wants(state)]
        for number in walk:
            fine[number] = 1
        while walk:
            edge = heads[walk.pop()]
            while edge >= 0:
                source = self._sources[edge]
                if not fine[source]:
                    fine[source] = 1
                    walk.append(source)
                edge = rest[edge]
        return next((n for n in range(count) if not fine[n] and goal.asks(self._order[n])), None)
