"""The simulation: the same seed is the same history, and the product's flows withstand what it does to them."""

import os
import subprocess
import sys

import pytest

from faultlab.sim.__main__ import main
from faultlab.sim.edge import run_edge
from faultlab.sim.flows import FLOWS
from faultlab.sim.observer import Observer
from faultlab.sim.ports import CALL_FAULTS, Fault
from faultlab.sim.soak import run_epoch
from faultlab.sim.stage import Spoil
from faultlab.sim.sweep import run_one, sweep_flow

pytestmark = pytest.mark.slow  # the newest Python is enough

SLICE = 151
"""Each n-th run of the sweep; a prime, so that the faults take turns at the calls."""


@pytest.mark.parametrize("name", ["acquire_together", "redis_fails_over", "drains"])
def test_a_seed_gives_the_same_digest_twice(name: str) -> None:
    """Every call, every change and every answer of a world comes from its seed."""
    assert run_one(name, 5, Spoil())[1].digest == run_one(name, 5, Spoil())[1].digest


def test_a_soak_gives_the_same_digest_twice() -> None:
    """With random clients and random faults as well."""
    assert run_epoch(7, 0.02).digest == run_epoch(7, 0.02).digest


def test_a_seed_gives_the_same_digest_in_every_process() -> None:
    """Neither the order in which Python hashes, nor anything else of a process, has a part in a history."""
    program = (
        "from faultlab.sim.soak import run_epoch; from faultlab.sim.sweep import run_one; "
        "from faultlab.sim.stage import Spoil; "
        "print(run_epoch(7, 0.005).digest, run_one('acquire_together', 5, Spoil())[1].digest)"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, check=True, text=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert told[0] == told[1]
    assert len(told[0].split()) == 2


def test_a_run_that_fails_says_so_to_whoever_started_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`one` and `recheck` end with 1 as long as what they play again still fails, and with its history."""
    assert main(["one", "acquire_new"]) == 0
    assert main(["recheck", "7", "--hours", "0.005"]) == 0

    def answered(observer: Observer, *_: object) -> None:
        observer.wrong("S7", "made up")

    monkeypatch.setattr(Observer, "answered", answered)
    assert main(["one", "acquire_new"]) == 1
    assert main(["recheck", "7", "--hours", "0.005"]) == 1
    assert capsys.readouterr().out.count("VIOLATION S7 made up") >= 2


def test_two_seeds_give_two_histories() -> None:
    """The digest tells worlds apart."""
    assert run_one("expires", 1, Spoil())[1].digest != run_one("expires", 2, Spoil())[1].digest


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_withstands_a_slice_of_the_sweep(name: str) -> None:
    """P1: crash, stall, lost and late answers, lost and repeated events; all: `python -m faultlab.sim sweep`."""
    tally = sweep_flow(name, 1, every=SLICE, first=sorted(FLOWS).index(name))
    assert [str(run) for run in tally.failed] == []
    assert tally.calls > 0


def test_every_kind_of_fault_fires() -> None:
    """A fault that never happened would prove nothing."""
    fired = {fault: run_one("expires", 1, Spoil(fault, 1))[0].ports.fired for fault in Fault if fault is not Fault.NONE}
    assert all(fired.values()), fired
    assert len(fired) == len(CALL_FAULTS) + 2


def test_heartbeats_that_race_the_deadline_are_told_the_truth() -> None:
    """Within 5 ms of the deadline: never both EXPIRE = 1 after the verdict and a removal."""
    result = run_edge(2000, seed=2)
    assert result.wrong == ()
    assert result.trials >= 2000
    assert min(result.alive, result.over) > 400, "both ends of the race were met"


@pytest.mark.parametrize("seed", [11])
def test_a_short_soak_settles_after_every_fault(seed: int) -> None:
    """Clients of many kinds, random faults; each time belief and engines agree again."""
    result = run_epoch(seed, 0.1)
    assert result.wrong == ()
    assert result.counts["rounds"] > 0
    assert result.counts["removals"] > 0
