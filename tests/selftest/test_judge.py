"""The selftest's judge, names and program: pure, as tables.

It is not a test of what is judged.
It keeps this: what must not be is found, and what may be is not.
"""

import platform
import signal
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reactor.selftest.journal import read_journal
from reactor.selftest.judge import DESTROY, DIE, START, Findings, Happening, Holding, judge, percentile
from reactor.selftest.own import Found, Own, mark_of, mark_of_image, mark_of_key
from reactor.selftest.program import program_for, root_of
from reactor.selftest.report import Result
from reactor.selftest.sidecar import named
from reactor.selftest.story import FEWEST, shares
from reactor.session import ContainerId
from tests.waiting import block_until

A, B = ContainerId("a" * 64), ContainerId("b" * 64)
OWN = Own.at(0x65000000)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def _seen(kind: str, at_ms: float, container_id: ContainerId = A, session_id: str = "s") -> Happening:
    return Happening(at_ms=at_ms, engine_s=at_ms / 1000, kind=kind, container_id=container_id, session_id=session_id)


def _lived(start: float, end: float, container_id: ContainerId = A) -> list[Happening]:
    return [_seen(START, start, container_id), _seen(DIE, end, container_id), _seen(DESTROY, end + 50, container_id)]


HELD = Holding(session_id="s", container_id=A, deadline_ms=1000)


@pytest.mark.parametrize(
    "held, happenings, counts",
    [
        (HELD, [_seen(START, 0)], (0, 0, 0)),
        (HELD, _lived(0, 1000), (0, 0, 0)),
        (HELD, _lived(0, 996), (0, 0, 0)),  # within what is known of the clock
        (HELD, _lived(0, 990), (0, 1, 0)),
        (HELD, [_seen(START, 0), _seen(DESTROY, 500)], (0, 1, 0)),  # a gap in the events hides no kill
        (replace(HELD, left=True), _lived(0, 990), (0, 0, 1)),
        (replace(HELD, ended=True), _lived(0, 10), (0, 0, 0)),
        (HELD, _lived(0, 10, B), (0, 0, 0)),  # never handed out
        (HELD, [*_lived(0, 1100), *_lived(1200, 2000, B)], (0, 0, 0)),
        (HELD, [*_lived(0, 1100), *_lived(1050, 2000, B)], (1, 0, 0)),
        (HELD, [_seen(START, 0), _seen(START, 5, B, "other")], (0, 0, 0)),
    ],
)
def test_kills_before_the_deadline_and_two_at_once_are_found(
    held: Holding, happenings: list[Happening], counts: tuple[int, int, int]
) -> None:
    """S1, S2: double spawns, wrong kills (the client was alive), early kills (it had left)."""
    found = judge([held], happenings, tolerance_ms=5)
    assert (len(found.double_spawns), len(found.wrong_kills), len(found.early_kills)) == counts


def test_the_lag_runs_from_the_deadline_to_the_removal_of_sessions_that_count() -> None:
    """A session with a fault in between has a recovery time instead."""
    timed = replace(HELD, left=True, timed=True)
    assert judge([timed], _lived(0, 1010), 5).lags_ms == [60]
    assert judge([replace(HELD, left=True)], _lived(0, 1010), 5).lags_ms == []


def test_the_nearest_rank_is_one_of_the_values() -> None:
    """Nothing is made up between two of them."""
    assert [percentile([3, 1, 2], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 2, 3, 3]
    assert [percentile(list(range(1, 101)), share) for share in (0.5, 0.99)] == [50, 99]
    assert percentile([], 0.5) is None


def test_anything_found_is_a_failure_and_is_said_once() -> None:
    """A line that is counted is not repeated as a broken promise."""
    result = Result(findings=Findings(leaks=["container x is still there"]), broken=["container x is still there"])
    assert (result.verdict, len(result.failures)) == ("failed: container x is still there", 1)
    assert Result(findings=Findings()).verdict == "passed"


def _container(name: str, image: str = "", **labels: str) -> Found:
    known = {f"session-reactor.{key}": value for key, value in labels.items()}
    return Found(container_id=A, name=name, image=image, labels=known, state="running")


@pytest.mark.parametrize(
    "container, ours",
    [
        (_container(f"{OWN.prefix}-{'0' * 20}", deployment=OWN.deployment), True),
        (_container(OWN.decoy("foreign"), deployment=OWN.another), True),
        (_container(OWN.decoy("bare")), True),
        (_container(OWN.decoy("near"), OWN.image, other="x"), True),
        (_container(OWN.decoy("bare"), prefix="x"), False),
        (_container(OWN.decoy("near")), False),
        (_container(f"mcp-{'0' * 20}", deployment=OWN.deployment), False),
        (_container(f"x{OWN.prefix}-{'0' * 20}", deployment=OWN.deployment), False),
        (_container(f"{OWN.prefix}-{'0' * 20}", deployment="selftest-6500000012345678"), False),
        (_container(f"{OWN.prefix}-{'0' * 20}", deployment="shop"), False),
    ],
)
def test_a_container_is_a_selftests_only_if_its_name_and_its_labels_say_so(container: Found, ours: bool) -> None:  # noqa: FBT001
    """In doubt it is somebody else's."""
    assert mark_of(container) == (OWN.mark if ours else None)


def test_keys_and_images_are_a_selftests_only_with_the_whole_mark() -> None:
    """A near miss is somebody else's."""
    assert {mark_of_key(name) for name in (OWN.keys.meta, OWN.keys.events, OWN.alive)} == {OWN.mark}
    others = ("selftest", f"{OWN.prefix[:-1]}:a", f"{OWN.prefix}0:a", OWN.prefix, f"mcp:{OWN.prefix}:a")
    assert {mark_of_key(name) for name in others} == {None}
    assert mark_of_image(OWN.image) == OWN.mark
    images = (f"{OWN.image}0", f"x/{OWN.image}", "session-reactor-selftest:latest")
    assert {mark_of_image(tag) for tag in images} == {None}


@pytest.mark.parametrize("sessions", [FEWEST, 7, 20, 33, 1000])
def test_every_part_gets_a_session_and_none_is_left_over(sessions: int) -> None:
    """`--sessions` is what it says."""
    parts = shares(sessions)
    assert (min(parts.values()) >= 1, sum(parts.values())) == (True, sessions)


def test_a_name_is_added_to_any_redis_url() -> None:
    """What stands in it already stays."""
    assert named("redis://u:p@h:1/2", "n") == "redis://u:p@h:1/2?client_name=n"
    assert named("unix:///run/r.sock?db=1", "n") == "unix:///run/r.sock?db=1&client_name=n"
    assert named("redis://h", "") == "redis://h"


def test_the_journal_tells_what_was_made_from_what_was_asked_for(tmp_path: Path) -> None:
    """No file: nothing was asked."""
    path = tmp_path / "journal"
    assert read_journal(path) == (frozenset(), frozenset())
    path.write_text(f"made {A}\nstart {A}\nremove {B}\n")
    assert read_journal(path) == ({A}, {A, B})


@pytest.mark.parametrize("name, machine, size", [("amd64", 62, 183), ("arm64", 183, 204)])
def test_the_program_is_a_small_static_elf_file_that_writes_no_memory_it_runs(
    name: str, machine: int, size: int
) -> None:
    """Its entry is the first byte after the headers; the code's segment is not writable, the stack not executable."""
    program = program_for(name)
    assert program is not None
    assert (program[:6], len(program)) == (b"\x7fELF\x02\x01", size)
    assert struct.unpack_from("<HH", program, 16) == (2, machine)
    entry, table = struct.unpack_from("<QQ", program, 24)
    (kind, flags, offset, address), (stack, stack_flags) = (
        struct.unpack_from("<IIQQ", program, table),
        struct.unpack_from("<II", program, table + 56),
    )
    assert (kind, flags, offset, entry - address) == (1, 5, 0, table + 2 * 56)
    assert (stack, stack_flags) == (0x6474E551, 6)
    assert program_for("s390x") is None
    assert b"wait" in root_of(program)


def test_the_program_of_this_machine_waits_until_sigterm(tmp_path: Path) -> None:
    """The kernel runs it: it sleeps, goes on after a stop, and ends by the signal."""
    program = program_for(ARCHITECTURES[platform.machine()])
    assert program is not None
    path = tmp_path / "wait"
    path.write_bytes(program)
    path.chmod(0o700)
    with subprocess.Popen([path]) as process:
        state = Path(f"/proc/{process.pid}/stat")
        for stopped in (signal.SIGCONT, signal.SIGSTOP, signal.SIGCONT):
            process.send_signal(stopped)
            letter = "T" if stopped is signal.SIGSTOP else "S"
            block_until(lambda wanted=letter: state.read_text().rpartition(") ")[2][0] == wanted, 10, letter)
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
