"""The laboratory itself: a short real run, its schedule, and what it leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faultlab.__main__ import main
from faultlab.edge import SPREAD_MS, Trial, verdict
from faultlab.faults.catalogue import CATALOGUE, kinds
from faultlab.run import schedule
from faultlab.wave import Wave
from tests.waiting import block_until

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 400.0


def _laboratory(*words: str) -> list[str]:
    return [sys.executable, "-m", "faultlab", *words]


@pytest.mark.timeout(RUN_TIMEOUT_S + 20)
def test_a_short_run_passes_and_is_judged_the_same_again(tmp_path: Path) -> None:
    """R4: FLUSHALL under real clients: every invariant holds, and `recheck` says word for word the same."""
    kept = tmp_path / "kept"
    words = ("run", "--seed", "1", "--minutes", "1", "--runtime", "process", "--only", "redis_flushed")
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


def _trial(reply: int, claimed_ms: int | None) -> Trial:
    return Trial(session="s", sent_ms=1000.0, reply=reply, claimed_ms=claimed_ms)


def test_an_answered_heartbeat_and_a_removal_within_its_ttl_fail_the_race() -> None:
    """B18: also a session that was said to be over and that nobody claimed, and trials that were no race."""
    good = [_trial(1, 3000), _trial(0, 1003)] * 10
    assert verdict(good, 20)[1]
    assert not verdict([*good, _trial(1, 2500)], 21)[1]
    assert not verdict([*good, _trial(0, None)], 21)[1]
    assert not verdict([_trial(0, 1003)] * 20, 20)[1]
    assert not verdict(good, 21)[1]
    assert SPREAD_MS == 5.0


def test_a_wave_is_well_only_when_all_were_claimed_in_time_and_all_ended() -> None:
    """One late claim, or one container that stays, fails it."""
    assert Wave(runtime="fake", sessions=2, claims=(1.0, 4.0), ends=(2.0, 6.0)).well
    assert not Wave(runtime="fake", sessions=2, claims=(1.0, 5.5), ends=(2.0, 6.0)).well
    assert not Wave(runtime="fake", sessions=2, claims=(1.0, 4.0), ends=(2.0,)).well
