"""A history survives being written, cut off and read again."""

from pathlib import Path

import pytest

from faultlab.checks import judge
from faultlab.entries import Call, Fault, Mark
from faultlab.history import History, Writer
from faultlab.report import table
from tests.faultlab.tale import simple


def test_what_is_written_is_read_back_in_the_order_of_time(tmp_path: Path) -> None:
    """Two processes write two files; asked by class, their entries come as one sequence."""
    Writer(tmp_path, "a").write(Mark(t=2.0, name="later"))
    Writer(tmp_path, "b").write(Mark(t=1.0, name="sooner"))
    assert [mark.name for mark in History.read(tmp_path).of(Mark)] == ["sooner", "later"]


def test_a_process_that_is_killed_in_the_middle_of_a_line_costs_only_that_line(tmp_path: Path) -> None:
    """A client that is killed: what it had said before counts."""
    writer = Writer(tmp_path, "a")
    writer.write(Mark(t=1.0, name="whole"))
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"kind":"mark","t":2.0,"na')
    assert [mark.name for mark in History.read(tmp_path).of(Mark)] == ["whole"]


def test_a_line_in_the_middle_that_is_none_of_ours_is_an_error(tmp_path: Path) -> None:
    """A history that cannot be read whole is not judged."""
    (tmp_path / "a.jsonl").write_bytes(b'{"kind":"nonsense"}\n{"kind":"mark","t":2.0,"name":"x"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:1"):
        History.read(tmp_path)


def test_the_same_history_is_judged_the_same_again(tmp_path: Path) -> None:
    """`recheck` says word for word what the run said."""
    tale = simple().fault(1.0, 2.0, "loses", "blind").beat(7.5)
    writer = Writer(tmp_path, "all")
    for entry in tale.entries:
        writer.write(entry)
    told = table(*judge(History(tuple(tale.entries))))
    assert table(*judge(History.read(tmp_path))) == told
    assert "S6" in told


def test_only_an_answer_without_error_and_other_than_0_is_ok() -> None:
    """What `ok` means to every checker."""

    def call(**more: object) -> Call:
        return Call(client="a", session="s", op="heartbeat", n=0, t_call=0.0, t_ret=0.1, **more)  # type: ignore[arg-type]

    assert call(reply=1).ok
    assert not call(reply=0).ok
    assert not call(error="TimeoutError").ok


def test_flags_of_a_fault_are_kept(tmp_path: Path) -> None:
    """A history needs no table of faults to be judged: what each one means stands in it."""
    Writer(tmp_path, "a").write(Fault(n=1, name="x", phase="start", t=0.0, flags=("loses",)))
    (fault,) = History.read(tmp_path).of(Fault)
    assert fault.flags == ("loses",)
