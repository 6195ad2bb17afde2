"""The other programs of the laboratory: `wave` and `edge`, small, and `recheck` of a history that fails."""

import subprocess
import sys
from pathlib import Path

from faultlab.edge import SPREAD_MS, Trial, verdict
from faultlab.history import Writer
from faultlab.wave import Wave
from tests.faultlab.tale import Tale, simple

ROOT = Path(__file__).parents[2]
LIMIT_S = 150.0


def _laboratory(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "faultlab", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def test_after_everything_but_redis_was_killed_a_new_reactor_claims_every_overdue_session() -> None:
    """P1, `wave`: how soon is for the machine to say; all are claimed, and all go."""
    done = _laboratory("wave", "--sessions", "40")
    assert "40 of 40 overdue sessions claimed" in done.stdout, done.stdout + done.stderr
    assert "40 containers gone" in done.stdout


def test_heartbeats_that_race_the_deadline_are_told_the_truth() -> None:
    """B18, `edge`: whether it was a race is for the machine to say; no answer is untrue, and nothing is left."""
    done = _laboratory("edge", "--trials", "40")
    assert "40 of 40 trials" in done.stdout, done.stdout + done.stderr
    counts = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert counts == ["0", "0", "0", "0"]


def _kept(tale: Tale, directory: Path) -> str:
    writer = Writer(directory / "history", "all")
    for entry in tale.entries:
        writer.write(entry)
    return str(directory)


def test_a_kept_history_that_breaks_a_promise_fails_again(tmp_path: Path) -> None:
    """`recheck`: exit 1, and the violation by its name."""
    done = _laboratory("recheck", _kept(simple().beat(7.5), tmp_path))
    assert done.returncode == 1, done.stderr
    assert done.stdout.rstrip().endswith("FAILED")
    assert any(line.split()[:1] == ["S6"] for line in done.stdout.splitlines())


def _trial(reply: int, claimed_ms: int | None) -> Trial:
    return Trial(session="s", sent_ms=1000.0, reply=reply, claimed_ms=claimed_ms)


def test_an_answered_heartbeat_and_a_removal_within_its_ttl_fail_the_race() -> None:
    """B18: also a session that nobody ever claimed, whatever it was told, what is left, and what was no race."""
    good = [_trial(1, 3000), _trial(0, 1003)] * 10
    assert verdict(good, 20, 0)[1]
    assert not verdict([*good, _trial(1, 2500)], 21, 0)[1]
    assert not verdict([*good, _trial(0, None)], 21, 0)[1]
    assert not verdict([*good, _trial(1, None)], 21, 0)[1]
    assert not verdict(good, 20, 1)[1]
    assert not verdict([_trial(0, 1003)] * 20, 20, 0)[1]
    assert not verdict(good, 21, 0)[1]
    assert SPREAD_MS == 5.0


def test_a_wave_is_well_only_when_all_were_claimed_in_time_and_all_ended() -> None:
    """One late claim, one that was made before the reactor was there, or one container that stays, fails it."""
    assert Wave(runtime="fake", sessions=2, claims=(1.0, 4.0), ends=(2.0, 6.0)).well
    assert not Wave(runtime="fake", sessions=2, claims=(1.0, 5.5), ends=(2.0, 6.0)).well
    assert not Wave(runtime="fake", sessions=2, claims=(-0.5, 4.0), ends=(2.0, 6.0)).well
    assert not Wave(runtime="fake", sessions=2, claims=(1.0, 4.0), ends=(2.0,)).well
