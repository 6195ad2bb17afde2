"""The contract of the runtimes, played on the simulated engine: what a flow meets there it meets from the real ones."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from tests.runtime import test_contract
from tests.sim.engines import SimBench, sim_kit


def _claims() -> Iterator[Any]:
    for name, claim in vars(test_contract).items():
        if not name.startswith("test_"):
            continue
        marks: list[pytest.Mark] = getattr(claim, "pytestmark", [])
        cases = [mark.args for mark in marks if mark.name == "parametrize"] or [("", [None])]
        for argument, values in cases:
            for value in values:
                yield pytest.param(claim, {argument: value} if argument else {}, id=f"{name[5:]}-{value}")


@pytest.mark.parametrize("claim, arguments", list(_claims()))
def test_the_simulated_engine_keeps_the_contract_of_the_runtimes(claim: Any, arguments: dict[str, Any]) -> None:
    """What every runtime promises is promised by the product's Docker runtime on the simulated engine as well."""
    assert inspect.iscoroutinefunction(claim)
    sim = SimBench()
    sim.play(claim(sim_kit(sim), **arguments))
