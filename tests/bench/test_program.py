"""`python -m bench` as a program: what it prints, how it ends, and that it leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.__main__ import NAMES, find
from bench.machine import REFUSED, CannotRun, require
from tests.waiting import block_until

pytestmark = pytest.mark.slow  # the newest Python is enough

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A short directory for all that the program writes; what is left in it is what it left behind."""
    with tempfile.TemporaryDirectory(prefix="srbt.") as name:
        yield Path(name)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "bench", *words]


def _processes(scratch: Path) -> list[int]:
    """Return the processes that work in, or were given, this directory."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            given = f"TMPDIR={scratch}".encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if given:
            found.append(int(process.name))
    return found


def _nothing_left(scratch: Path) -> bool:
    return not list(scratch.iterdir()) and not _processes(scratch)


def _measured(scratch: Path, *words: str, limit: float) -> dict[str, dict[str, object]]:
    report = scratch / "report.json"
    done = subprocess.run(
        _command(*words, "--quick", "--json", str(report)),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    content = json.loads(report.read_text())
    report.unlink()
    assert content["quick"] is True
    assert content["machine"]["cores"] >= 1
    for name, lines in content["benches"].items():
        assert f"{name}: " in done.stdout
        assert all(line["title"] in done.stdout for line in lines)
        assert all(line["unit"] is not None and len(line["runs"]) == 1 for line in lines)
    block_until(lambda: _nothing_left(scratch), 20, "all processes and files of the bench are gone")
    return content["benches"]


def test_a_bench_prints_a_table_writes_json_and_leaves_nothing(scratch: Path) -> None:
    """Each line stands in both; targets are judged there, never here."""
    benches = _measured(scratch, "restart", limit=200)
    assert list(benches) == ["restart"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_leaves_nothing(scratch: Path, ending: signal.Signals) -> None:
    """It ends its servers and children first, and says so."""
    with subprocess.Popen(
        _command("drain", "--quick"),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "sessions are written" not in (line := process.stderr.readline()):
            assert line, "the bench ended before it was interrupted"
        process.send_signal(ending)
        assert process.stderr.read().rstrip().endswith("interrupted; everything was ended")
        assert process.wait(60) == 130
    block_until(lambda: _nothing_left(scratch), 20, "all processes and files of the bench are gone")


def test_what_is_missing_is_said_in_one_line(scratch: Path) -> None:
    """Before anything is started, with the fix."""
    nowhere = {**os.environ, "PATH": "/nowhere", "TMPDIR": str(scratch)}
    done = subprocess.run(
        _command("restart"), cwd=ROOT, env=nowhere, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 69
    assert done.stderr == "bench: redis-server is not on PATH (on Debian: apt-get install redis-server)\n"
    assert done.stdout == ""


def test_an_engine_of_our_own_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Docker bench says so, with the exit code of a refused permission."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CannotRun, match="root") as refused:
        require((), root=True)
    assert refused.value.code == REFUSED == 77


def test_each_bench_answers_to_its_name() -> None:
    """The names of the command line are those in the table and in JSON."""
    assert [find(name).name for name in NAMES] == [name.replace("_", "-") for name in NAMES]
