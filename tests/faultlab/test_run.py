"""`run` itself: a short real run, its schedule, and what it leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faultlab.__main__ import main
from faultlab.faults.catalogue import CATALOGUE, kinds
from faultlab.run import schedule
from tests.waiting import block_until

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 400.0


def _laboratory(*words: str) -> list[str]:
    return [sys.executable, "-m", "faultlab", *words]


@pytest.mark.timeout(RUN_TIMEOUT_S + 20)
def test_a_short_run_passes_and_is_judged_the_same_again(tmp_path: Path) -> None:
    """R24: Redis stands still under real clients: every invariant holds, and `recheck` says word for word the same."""
    kept = tmp_path / "kept"
    words = ("run", "--seed", "1", "--minutes", "0.5", "--runtime", "process", "--only", "redis_frozen")
    done = subprocess.run(
        _laboratory(*words, "--keep", str(kept)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "faults 1" in done.stdout
    assert "29 of 30 kinds of fault were not injected" in done.stdout
    assert f"recheck {kept}" in done.stderr
    again = subprocess.run(
        _laboratory("recheck", str(kept)), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (again.returncode, again.stdout) == (0, done.stdout)


def test_a_run_that_is_ended_by_hand_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGTERM in the middle: every process that it had started is gone, and so are their containers."""
    kept = tmp_path / "kept"
    words = ("run", "--minutes", "1", "--runtime", "process", "--keep", str(kept))
    with (tmp_path / "out").open("wb") as out:
        run = subprocess.Popen(_laboratory(*words), cwd=ROOT, stdout=out, stderr=out)
    try:
        block_until(lambda: _alive(kept, "sleep") > 3, 60, "sessions live")
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 130, (tmp_path / "out").read_text()
    finally:
        run.kill()
        run.wait()
    assert _alive(kept) == 0


def _alive(kept: Path, program: str = "") -> int:
    """How many processes have this directory in their command line or environment."""
    found = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line, environment = (path / "cmdline").read_bytes(), (path / "environ").read_bytes()
        except OSError:
            continue
        mine = str(kept).encode() in line + environment and path.name != str(os.getpid())
        found += mine and program.encode() in line and bool(line)
    return found


def test_the_same_seed_gives_the_same_schedule_and_each_fault_comes_once_before_any_comes_twice() -> None:
    """A seed can be run again, and thirty minutes hold nearly every fault."""
    steps = schedule(7, 40, "docker")
    assert steps == schedule(7, 40, "docker")
    assert steps != schedule(8, 40, "docker")
    names = [step.kind.name for step in steps]
    assert len(names) > len(CATALOGUE) / 2
    assert len(set(names[: len(CATALOGUE)])) == min(len(names), len(CATALOGUE))


@pytest.mark.parametrize("seed", range(1, 31, 7))
def test_three_runs_in_a_row_have_every_kind_of_fault(seed: int) -> None:
    """Twelve minutes each, on Docker: what is published of three runs covers the catalogue."""
    names = [step.kind.name for more in range(3) for step in schedule(seed + more, 12, "docker")]
    assert set(names) == {kind.name for kind in CATALOGUE}


def test_every_fault_has_a_name_of_its_own_and_those_of_an_engine_need_one() -> None:
    """The process runtime gets none that would need a Docker engine."""
    assert len({kind.name for kind in CATALOGUE}) == len(CATALOGUE)
    assert {kind.name for kind in CATALOGUE if kind.needs_engine}.isdisjoint(kind.name for kind in kinds("process"))


def test_private_engines_without_root_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 77, before anything is started."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["run", "--minutes", "1"]) == 77
    assert capsys.readouterr().err.count("\n") == 1
