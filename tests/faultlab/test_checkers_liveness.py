"""The checkers of L1 to L10, of leaks, and the gates see what they are there for, and nothing else."""

from typing import Any

from faultlab.checks import judge, tell
from faultlab.checks.liveness import expiries
from faultlab.entries import Left, Poll, Reactor
from faultlab.history import History
from faultlab.report import table
from tests.faultlab.tale import Tale, simple


def _late(gone: float | None, **belief: Any) -> Tale:
    tale = Tale().born(0.0).acquire(0.0).look(1.0, 2.0, 3.0, deadline=3.1, **belief)
    tale.look(20.0, 90.0, state="ending")
    return tale if gone is None else tale.removed(gone)


def test_a_container_that_is_late_or_stays_is_seen_while_nothing_hinders() -> None:
    """L1: gone 9 s after its deadline, or not at all."""
    assert [found.check for found in _late(12.0).judged("L1")] == ["L1"]
    assert [found.check for found in _late(None).judged("L1")] == ["L1"]
    assert _late(4.0).judged("L1") == []


def test_a_container_is_late_with_good_reason_during_a_fault_or_its_recovery() -> None:
    """L1, L2: not so during a fault that leaves deadlines alone, such as a lost subscription."""
    assert _late(12.0).fault(2.0, 8.0).judged("L1") == []
    assert _late(12.0).fault(2.0, 8.0, "quiet").judged("L1") != []


def test_a_session_that_its_client_ended_is_no_expiry() -> None:
    """L1: it went before its deadline; its lag would be nonsense."""
    story = tell(History(tuple(_late(2.5).begin("delete", 2.4).entries)))
    assert expiries(story) == []


def test_a_heartbeat_that_no_look_saw_moves_the_deadline() -> None:
    """L1: the lag counts from the deadline that the last answered heartbeat gave."""
    (one,) = expiries(tell(History(tuple(_late(9.5).beat(3.05).entries))))
    assert round(one.deadline, 2) == 6.05
    assert _late(9.5).beat(3.05).judged("L1") == []


def test_a_container_whose_end_the_engine_never_told_is_gone_when_no_list_holds_it() -> None:
    """D24: the daemon was killed in the middle of the removal; its list is believed instead."""
    tale = _late(None).listed(1.0, {"c1": ("s", 1, "running")}).listed(4.0, {})
    assert tale.judged("L1") == []
    assert tale.born(4.1, "c2", 2).judged("S15") == []
    assert tale.listed(5.0, {"c1": ("s", 1, "running")}).judged("S15") != []


def test_what_is_still_there_long_after_a_healing_is_seen() -> None:
    """L3, L6: overdue since 3 s; the fault healed at 8 s and nothing else came between."""
    assert [found.check for found in _late(None).fault(2.0, 8.0, name="reactor_killed").judged("L3")] == ["L3"]
    assert _late(20.0).fault(2.0, 8.0).judged("L3") == []
    assert _late(None).fault(2.0, 8.0).fault(20.0, 80.0).judged("L3") == []


def test_a_container_that_no_record_knows_is_seen_when_it_stays() -> None:
    """L4: nobody's for longer than the janitor needs."""
    times = [float(second) for second in range(1, 60)]
    tale = Tale().born(0.0).look(*times, session="")
    assert [found.check for found in tale.judged("L4")] == ["L4"]
    assert Tale().born(0.0).removed(9.0).look(*times, session="").judged("L4") == []
    assert Tale().born(0.0).look(*times, deadline=99.0).judged("L4") == []


def _failing(session: str = "s") -> Tale:
    """An id that is asked for every second after the healing at 2 s, in vain."""
    tale = Tale().fault(1.0, 2.0).look(90.0)
    for second in range(3, 30):
        tale.acquire(float(second), error="Unavailable", session=session)
    return tale


def test_acquires_that_go_on_failing_after_a_healing_are_seen() -> None:
    """L5: the first one that works must come within the lease of a dead spawner, for each id that is asked for."""
    assert [found.check for found in _failing().judged("L5")] == ["L5"]
    assert _failing().acquire(9.5).judged("L5") == []
    assert [found.session for found in _failing("other").acquire(9.5).judged("L5")] == ["other"]
    assert [found.session for found in _failing().acquire(1.5, took=1.0).judged("L5")] == ["s"]


def test_an_id_that_nobody_goes_on_asking_for_is_not_owed() -> None:
    """L5: its client was killed, or another fault came first."""
    assert Tale().fault(1.0, 2.0).look(90.0).acquire(3.0, error="Unavailable").judged("L5") == []
    assert _failing().fault(20.0, 21.0).judged("L5") == []


def test_an_acquire_that_never_comes_back_is_a_try() -> None:
    """L5: it hangs; its client tries again, and hangs."""
    hanging = Tale().fault(1.0, 2.0).look(90.0).begin("acquire", 3.0).begin("acquire", 20.0)
    assert [found.text.rpartition(": ")[2] for found in hanging.judged("L5")] == ["never answered"]


def test_a_dead_container_that_is_not_cleared_away_is_seen() -> None:
    """L3, D22, D25: its program ended, with the engine's word of it or without; a restart by hand brings it back."""

    def dead() -> Tale:
        return Tale().born(0.0).acquire(0.0).act(4.9, "kill", "c1").engine(5.0, "die").look(60.0, session="")

    assert [found.check for found in dead().judged("L3 dead")] == ["L3"]
    assert [found.check for found in dead().engine(30.0, "destroy").judged("L3 dead")] == ["L3"]
    assert dead().engine(9.0, "destroy").judged("L3 dead") == []
    assert dead().engine(5.5, "start").judged("L3 dead") == []
    assert dead().fault(4.0, 6.0).judged("L3 dead") == []
    assert dead().fault(4.0, 6.0, "quiet").judged("L3 dead") != []


def test_a_reactor_that_does_not_end_in_order_is_seen() -> None:
    """L10: with 0, and in time."""

    def ended(code: int, after: float) -> Tale:
        asked = Reactor(t=1.0, name="r", event="signal", pid=7)
        return Tale().add(asked, Reactor(t=1.0 + after, name="r", event="exit", pid=7, code=code))

    assert ended(0, 2.0).judged("L10") == []
    assert ended(1, 2.0).judged("L10") != []
    assert ended(0, 20.0).judged("L10") != []


def test_what_is_left_at_the_end_is_a_leak() -> None:
    """L3 at the very end: containers, processes and keys, each."""
    left = Left(t=9.0, containers=("c1",), processes=("c2",), keys=("mcp:x",))
    assert len(Tale().add(left).judged("leak")) == 3
    assert Tale().add(Left(t=9.0)).judged("leak") == []


def test_a_program_that_ended_by_itself_is_seen() -> None:
    """A reactor or client that crashes is a bug, even if another one takes its place."""
    assert [found.text for found in simple().mark(3.0, "crash", "client-1 ended with 1").judged("crash")] == [
        "client-1 ended with 1"
    ]


def test_a_fault_that_did_nothing_makes_a_run_void() -> None:
    """A run proves nothing when its fault never fired, or when there was none."""
    assert simple().fault(1.0, 2.0, fired=False).judged("fired") != []
    assert simple().judged("fired") != []
    assert simple().fault(1.0, 2.0).judged("fired") == []


def test_a_window_in_which_nothing_happened_makes_a_run_void() -> None:
    """No answered heartbeat and no expiry between 20 and 25 s; a forged event is neither."""
    assert simple().fault(20.0, 25.0).judged("busy") != []
    assert simple().fault(20.0, 25.0).key(21.0, "expired").judged("busy") != []
    assert simple().fault(2.5, 3.5).judged("busy") == []
    assert simple().fault(6.5, 7.5).judged("busy") == []


def test_a_heartbeat_that_failed_counts_only_where_none_could_be_answered() -> None:
    """R1: while Redis is down every client beats in vain; through a broken link of the reactors it does not."""
    assert simple().beat(21.0, error="ConnectionError").fault(20.0, 25.0, "blind").judged("busy") != []
    assert simple().beat(21.0, error="ConnectionError").fault(20.0, 25.0, "blind", "dark").judged("busy") == []
    assert simple().fault(20.0, 25.0, "blind", "dark").judged("busy") != []


def test_calls_that_failed_before_the_first_fault_make_a_run_void() -> None:
    """What did not work without a fault says nothing about faults."""
    assert simple().fault(5.0, 6.0).judged("well before") == []
    assert simple().beat(1.5, error="ConnectionError").fault(5.0, 6.0).judged("well before") != []


def _probed(**more: Any) -> Tale:
    tale = Tale().mark(10.0, "probe").born(10.1, "p", session="x-prober0")
    tale.acquire(10.0, "p", session="x-prober0", **more).look(11.0, deadline=14.0, container="p", session="x-prober0")
    return tale.look(30.0, session="")


def test_a_last_session_that_does_not_work_makes_a_run_void() -> None:
    """Acquire, heartbeat and expiry, all three, after the last healing."""
    assert "acquire" in Tale().mark(1.0, "probe").judged("works at the end")[0].text
    assert "heartbeat" in _probed().judged("works at the end")[0].text
    beaten = _probed().beat(11.0, session="x-prober0")
    assert "expire" in beaten.judged("works at the end")[0].text
    assert beaten.removed(14.1, "p", session="x-prober0").judged("works at the end") == []


def test_an_observer_that_slept_makes_a_run_void() -> None:
    """More than one poll in twenty, or no end at all."""
    left, good = Left(t=9.0), Poll(what="redis", done=100, lost_s=0.1, span_s=10.0)
    assert Tale().add(left, good).judged("observed") == []
    assert Tale().add(left, Poll(what="redis", done=60, lost_s=4.0, span_s=10.0)).judged("observed") != []
    assert Tale().add(left).judged("observed") != []


def test_the_table_counts_what_was_found_and_says_how_it_went() -> None:
    """The report: the zeroes, the traffic, the lag, each fault's recovery."""
    tale = simple().fault(1.0, 2.0, "quiet").engine(9.0, "destroy")
    text = table(*judge(History(tuple(tale.entries))))
    assert "wrong kills                 1" in text
    assert "heartbeats 4 (0 answered 0)" in text
    assert "p50 200 ms" in text
    assert "1 of 2 kinds of fault were not injected: other" in text
    assert text.endswith("FAILED")


def test_the_table_says_so_where_a_run_had_every_kind_of_fault() -> None:
    """What was never injected is said, also that it is nothing."""
    tale = simple().fault(1.0, 2.0, "quiet").fault(50.0, 51.0, "quiet", name="other")
    assert "every kind of fault" in table(*judge(History(tuple(tale.entries))))
