"""The protocol model: its search is right, the product's rules hold in it, and no broken rule escapes it.

Nothing here needs a server. It keeps this: what the model claims of the quick configurations is claimed by a test.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faultlab.model.configurations import CONFIGURATIONS, LIMIT, Configuration, run
from faultlab.model.invariants import SAFETY
from faultlab.model.moves import FAULTS
from faultlab.model.report import trace_lines
from faultlab.model.rules import Rules
from faultlab.model.search import BOUND, Found, Goal, Search
from faultlab.model.variants import VARIANTS

pytestmark = pytest.mark.timeout(600)  # searches take seconds of the processor, and longer on a loaded machine
ROOT = Path(__file__).parents[2]
QUICK = [c for c in CONFIGURATIONS if c.quick]
HASTY = [v for v in VARIANTS if v.quick]


@pytest.mark.parametrize("configuration", QUICK, ids=lambda c: c.name)
def test_the_rules_of_the_product_hold(configuration: Configuration) -> None:
    """S1, S1L, S2, S5-S9 and L1-L4 hold in every interleaving of each quick configuration, and it closes."""
    found = run(configuration)
    assert found.broken == "", "\n".join(trace_lines(configuration.first, found))
    assert found.closed


@pytest.mark.parametrize("variant", HASTY, ids=lambda v: v.name)
def test_a_broken_rule_is_found(variant: Configuration) -> None:
    """V1-V17 and the host variants: without the rule, the named property breaks; the checker is not blind."""
    found = run(variant)
    assert found.broken == variant.expects
    assert variant.expects in SAFETY or variant.expects == "S1F" or found.closed
    assert len(trace_lines(variant.first, found)) == len(found.trace) + 1


def test_every_rule_has_a_variant_that_breaks_without_it() -> None:
    """A rule that nothing needs would be noise: each field of `Rules` is turned in at least one variant."""
    turned = {
        name
        for v in VARIANTS
        for name in Rules.__dataclass_fields__
        if getattr(v.rules, name) != getattr(Rules(), name)
    }
    assert turned == set(Rules.__dataclass_fields__)


def test_every_fault_is_met_on_one_host_and_on_two() -> None:
    """The full list leaves no fault out where there is a second host; forgetting one needs two."""
    one = {fault for c in CONFIGURATIONS if len(c.hosts) == 1 for fault in c.faults}
    two = {fault for c in CONFIGURATIONS if len(c.hosts) > 1 for fault in c.faults}
    assert one == set(FAULTS) - {"forget host"}
    assert two == set(FAULTS)


def test_a_search_that_reached_its_limit_has_not_closed() -> None:
    """Nothing is claimed of what was not seen."""
    found = run(CONFIGURATIONS[0], limit=100)
    assert (found.closed, found.broken) == (False, "")
    assert run(CONFIGURATIONS[0], limit=LIMIT).closed


# ---------------------------------------------------------------------- the search itself, on a toy


def _toy(*goals: Goal[int], edges: dict[int, list[tuple[str, str, int]]], bad: int = -1) -> Found[int]:
    def broken(_: int, move: tuple[str, str, int]) -> str:
        return "B" if move[2] == bad else ""

    return Search(0, lambda n: edges.get(n, []), broken, goals).run(limit=100)


def _wants(*numbers: int, allowed: tuple[str, ...] = ("step",), asked: int | None = None) -> Goal[int]:
    asks: Callable[[int], bool] = lambda n: asked is None or n == asked  # noqa: E731 (its type)
    return Goal(name="G", wants=lambda n: n in numbers, asks=asks, allowed=allowed)


def test_the_search_shows_a_shortest_trace() -> None:
    """Two ways lead to the broken state; the shorter one is shown, with its labels."""
    edges = {0: [("long", "step", 1), ("short", "step", 3)], 1: [("", "step", 2)], 2: [("", "step", 4)]}
    edges[3] = [("end", "step", 4)]
    found = _toy(edges=edges, bad=4)
    assert found.broken == "B"
    assert found.trace == [("short", 3), ("end", 4)]


def test_the_search_sees_each_state_once_and_each_move() -> None:
    """A diamond with a loop back has four states and five moves."""
    edges = {0: [("", "step", 1), ("", "step", 2)], 1: [("", "step", 3)], 2: [("", "step", 3)], 3: [("", "step", 0)]}
    found = _toy(edges=edges)
    assert (found.states, found.edges, found.closed, found.broken) == (4, 5, True, "")


def test_a_goal_out_of_reach_is_found_at_the_nearest_state() -> None:
    """From 2 nothing leads to 1: liveness is broken there, and the trace ends there."""
    edges = {0: [("", "step", 1), ("trap", "step", 2)], 2: [("", "step", 2)]}
    found = _toy(_wants(1), edges=edges)
    assert (found.broken, found.trace) == ("G", [("trap", 2)])


def test_a_goal_may_be_reached_by_allowed_moves_only() -> None:
    """The way to 1 is a fault, which liveness may not count on."""
    edges = {0: [("", "fault", 1)]}
    assert _toy(_wants(1), edges=edges).broken == "G"
    assert _toy(_wants(1, allowed=("fault",)), edges=edges).broken == ""


def test_a_goal_says_nothing_of_states_that_it_does_not_ask_about() -> None:
    """State 2 is stuck, but only 0 was asked about."""
    edges = {0: [("", "step", 1), ("", "step", 2)]}
    assert _toy(_wants(1, asked=0), edges=edges).broken == ""
    assert _toy(_wants(1, asked=2), edges=edges).broken == "G"


def test_a_state_at_the_bounds_counts_as_fine() -> None:
    """What lies beyond the bounds is not judged, neither are the states that lead there."""
    edges = {0: [("", "step", 1)], 1: [("", BOUND, 1)]}
    found = _toy(_wants(), edges=edges)
    assert (found.broken, found.closed, found.states) == ("", True, 2)


# ---------------------------------------------------------------------- the command


def _command(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "faultlab.model", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


def test_the_command_prints_a_table() -> None:
    """One row each: states, edges, closed, result; exit 0 where everything came out as it must."""
    done = _command("--configuration", "one host: no fault", "--variant", "V14 ", "--trace")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "holds" in done.stdout
    assert "found: S1" in done.stdout
    assert "janitor: removes it" in done.stdout


def test_the_command_fails_when_a_configuration_does_not_close() -> None:
    """Exit 1: what was not looked at may be broken."""
    done = _command("--configuration", "one host: no fault", "--limit", "50")
    assert done.returncode == 1
    assert "NOT CLOSED" in done.stdout


def test_the_command_names_what_it_does_not_know() -> None:
    """Exit 2 for a name that nothing has."""
    done = _command("--configuration", "three hosts")
    assert done.returncode == 2
    assert "--list" in done.stderr
