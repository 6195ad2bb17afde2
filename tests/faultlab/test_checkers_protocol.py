"""The checkers of S6 to S8, S14 and S15 see what they are there for, and nothing else."""

from typing import Any

from faultlab.entries import Usage
from tests.faultlab.tale import Tale, simple


def test_a_heartbeat_that_is_answered_after_the_claim_is_seen() -> None:
    """S6: the claim was seen at 7.05 s, and EXPIRE said 1 at 7.5 s, with no acquire in between."""
    assert [found.check for found in simple().beat(7.5).judged("S6")] == ["S6"]
    assert simple().beat(7.5, reply=0).judged("S6") == []


def test_a_heartbeat_of_the_next_generation_is_no_resurrection() -> None:
    """S6: an acquire that was under way may have made the key, even if nobody heard its answer."""
    assert simple().begin("acquire", 7.2).beat(8.0).judged("S6") == []


def test_a_container_that_is_handed_out_after_its_claim_is_seen() -> None:
    """S6: by generation; a newer one may be handed out."""
    assert [found.check for found in simple().acquire(8.0).judged("S6")] == ["S6"]
    assert simple().acquire(8.0, "c2", 2).judged("S6") == []


def test_a_claim_that_a_rewind_took_back_is_no_verdict() -> None:
    """S6, R3: Redis came back from before the claim; the session lives."""
    assert simple().fault(7.3, 7.4, "loses").beat(8.0).judged("S6") == []


def test_a_container_that_was_handed_out_and_never_ran_is_seen() -> None:
    """S7: nor one that had been dead for 3 s; less than 2 s is allowed on a watched host."""
    assert [found.check for found in Tale().acquire(0.0, "c9").judged("S7")] == ["S7"]
    dead = Tale().born(0.0).engine(1.0, "die")
    assert dead.acquire(2.5).judged("S7") == []
    assert Tale().born(0.0).engine(1.0, "die").acquire(4.0).judged("S7") != []


def test_a_container_that_was_restarted_by_hand_runs_again() -> None:
    """S7, D28: it died long ago, and was started again before it was handed out."""
    tale = Tale().born(0.0).engine(1.0, "die").engine(1.5, "start").acquire(9.0)
    assert tale.judged("S7") == []


def test_a_container_that_redis_does_not_know_right_after_is_seen() -> None:
    """S7: no record, or another container's; a newer generation may have taken its place."""
    assert Tale().born(0.0).acquire(0.0).look(0.2, session="").judged("S7") != []
    assert Tale().born(0.0).acquire(0.0).look(0.2, container="c0").judged("S7") != []
    assert Tale().born(0.0).acquire(0.0).look(0.2, container="c2", generation=2).judged("S7") == []
    assert Tale().born(0.0).acquire(0.0).look(0.2, deadline=3.0).judged("S7") == []


def _handed(**belief: Any) -> Tale:
    return Tale().born(0.0).acquire(0.0).look(0.2, **belief)


def test_a_container_whose_session_is_over_or_has_no_key_right_after_is_seen() -> None:
    """S7: a record of it that is ending or ended, or that has no heartbeat key, is not a session that lives."""
    assert "ending" in _handed(state="ending").judged("S7")[0].text
    assert "ended" in _handed(state="ended").judged("S7")[0].text
    assert "without a heartbeat key" in _handed().judged("S7")[0].text
    assert _handed(immortal=True).judged("S7") == []


def test_a_session_that_somebody_or_its_time_ended_right_after_is_not_held_against_the_answer() -> None:
    """S7: a terminate or DEL of anybody, an operator, its own death, a TTL that was over before the answer came."""
    assert _handed(state="ending").begin("terminate", 0.15, client="b").judged("S7") == []
    assert _handed().begin("delete", 0.15, client="b").judged("S7") == []
    assert _handed().act(0.15, "expire").judged("S7") == []
    assert _handed().act(0.15, "expire", session="other").judged("S7") != []
    assert _handed(state="ending").engine(0.15, "die").judged("S7") == []
    slow = Tale().born(0.0).acquire(0.0, took=4.0)
    assert slow.look(4.1).judged("S7") == []


def test_what_is_handed_out_on_a_host_that_nobody_watches_runs_at_that_very_moment() -> None:
    """S7: dead for 1.5 s is stale knowledge that only a watched host may have."""

    def dead(**seen: Any) -> Tale:
        tale = Tale().born(0.0).engine(1.0, "die").acquire(2.5)
        return tale.look(2.4, 2.7, deadline=6.0, **seen)

    assert dead(watched=()).judged("S7") != []
    assert dead(watched=("h2",)).judged("S7") != []
    assert dead(watched=("h1",)).judged("S7") == []
    assert dead().judged("S7") == []


def test_a_key_that_stays_without_an_end_is_seen() -> None:
    """S8, B4, B5: for longer than the janitor needs; one that is put right in time is not."""
    times = [tenth / 10 for tenth in range(5, 120)]
    assert [found.check for found in Tale().acquire(0.0).look(*times, immortal=True).judged("S8")] == ["S8"]
    assert Tale().acquire(0.0).look(*times, deadline=10.0**6).judged("S8") != []
    assert Tale().acquire(0.0).look(*times[:40], immortal=True).look(4.6, deadline=7.0).judged("S8") == []


def test_a_reactor_that_grows_is_seen() -> None:
    """S14: memory, files and threads, once each."""
    fine = Usage(t=1.0, name="r", rss_mb=60, fds=30, threads=9)
    fat = Usage(t=2.0, name="r", rss_mb=900, fds=30, threads=900)
    assert Tale().add(fine).judged("S14") == []
    assert len(Tale().add(fat, fat).judged("S14")) == 2


def test_a_container_that_is_created_before_the_older_one_is_gone_is_seen() -> None:
    """S15: on the same host; on another one it is S2 that asks."""
    assert [found.check for found in Tale().born(0.0).born(5.0, "c2", 2).judged("S15")] == ["S15"]
    assert Tale().born(0.0).removed(4.0).born(5.0, "c2", 2).judged("S15") == []
    assert Tale().born(0.0).born(5.0, "c2", 2, host="h2").judged("S15") == []
