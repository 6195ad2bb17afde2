"""The checkers of L1, L2 and L7 that ask who noticed see what they are there for, and nothing else."""

from typing import Any

from tests.faultlab.tale import Tale


def _ends(*detectors: str, lag_ms: int = 5, at: float = 10.0) -> Tale:
    """Sessions that expired one second after the other, each noticed by one of these."""
    tale = Tale().look(90.0, session="")
    for n, detector in enumerate(detectors):
        session, container, deadline = f"s{n}", f"c{n}", at + n
        tale.born(0.0, container, session=session).acquire(0.0, container, session=session, ttl=deadline)
        tale.look(deadline - 0.1, session=session, container=container, deadline=deadline)
        more: dict[str, Any] = {"session": session, "reason": "expired", "detector": detector, "lag_ms": lag_ms}
        tale.audit(deadline + 0.3, "ended", container, **more).removed(deadline + 0.1, container, session=session)
    return tale


def test_ends_that_only_the_janitor_notices_are_seen_in_peace() -> None:
    """L1: without a deadline detector the net finds all of them within seconds, which is no proof of anything."""
    assert [found.check for found in _ends(*["janitor"] * 6).judged("L1 detectors")] == ["L1"]
    assert _ends(*["deadline"] * 5, "janitor", "event").judged("L1 detectors") == []
    assert _ends(*["janitor"] * 3).judged("L1 detectors") == []
    assert _ends(*["janitor"] * 6).fault(9.0, 20.0).judged("L1 detectors") == []


def test_ends_that_are_noticed_late_are_seen_in_peace() -> None:
    """L1: in the middle by more than a third of the janitor's period; a single late one is the machine's."""
    assert "late" in _ends(*["deadline"] * 6, lag_ms=1500).judged("L1 detectors")[0].text
    assert _ends(*["deadline"] * 6, lag_ms=400).judged("L1 detectors") == []


def test_ends_while_notifications_are_lost_are_noticed_at_their_deadline() -> None:
    """L2, R15: the janitor, or nobody for seconds, is not enough."""

    def lost(*detectors: str, lag_ms: int = 5) -> Tale:
        return _ends(*detectors, lag_ms=lag_ms).fault(9.0, 20.0, "quiet", "deaf")

    assert [found.check for found in lost(*["janitor"] * 6).judged("L2")] == ["L2"]
    assert [found.check for found in lost(*["deadline"] * 6, lag_ms=1500).judged("L2")] == ["L2"]
    assert lost(*["deadline"] * 6).judged("L2") == []
    assert _ends(*["janitor"] * 6).fault(9.0, 20.0, "quiet").judged("L2") == []


def _deleted(detector: str, *, after: float) -> Tale:
    """Six sessions whose clients delete the key, the container going so much later."""
    tale = Tale().look(90.0, session="")
    for n in range(6):
        session, container, t = f"s{n}", f"c{n}", 10.0 + n
        tale.born(0.0, container, session=session).acquire(0.0, container, session=session)
        tale.begin("delete", t, session=session).answered("delete", t, session=session)
        tale.removed(t + after, container, session=session)
        tale.audit(t + after + 0.2, "ended", container, session=session, reason="ended_by_client", detector=detector)
    return tale


def test_a_deleted_key_is_noticed_by_who_listens() -> None:
    """L1: with notifications a DEL ends the session at once; at its deadline somebody would have noticed anyway."""
    assert _deleted("event", after=0.05).judged("L1 detectors") == []
    assert [found.check for found in _deleted("deadline", after=0.05).judged("L1 detectors")] == ["L1"]
    assert [found.check for found in _deleted("event", after=2.5).judged("L1 detectors")] == ["L1"]


def test_a_deleted_key_that_nobody_could_hear_of_or_that_was_taken_back_says_nothing() -> None:
    """L1: notifications were lost, or an acquire came in between."""
    assert _deleted("deadline", after=2.5).fault(9.0, 16.0, "quiet", "deaf").judged("L1 detectors") == []
    revived = _deleted("deadline", after=2.5)
    for n in range(6):
        revived.begin("acquire", 10.5 + n, session=f"s{n}")
    assert revived.judged("L1 detectors") == []


def test_ends_beside_stuck_containers_go_on() -> None:
    """L7, D4: the others are noticed as ever; a window in which nobody else ended shows nothing."""

    def stuck(*detectors: str, lag_ms: int = 5) -> Tale:
        return _ends(*detectors, lag_ms=lag_ms).fault(9.0, 20.0, "quiet").act(9.0, "stuck", "x", session="x")

    assert stuck(*["deadline"] * 6).judged("L7") == []
    assert [found.check for found in stuck(*["janitor"] * 6).judged("L7")] == ["L7"]
    assert [found.check for found in stuck(*["deadline"] * 6, lag_ms=2000).judged("L7")] == ["L7"]
    assert [found.check for found in stuck().judged("L7")] == ["gate"]
    assert _ends().fault(9.0, 20.0, "quiet").judged("L7") == []
