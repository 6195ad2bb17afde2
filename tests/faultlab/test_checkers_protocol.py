"""The checkers of S6 to S10, S14 and S15 see what they are there for, and nothing else."""

from faultlab.entries import Belief, Look, Usage
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
    assert Tale().born(0.0).acquire(0.0).look(0.2).judged("S7") == []


def test_a_key_that_stays_without_an_end_is_seen() -> None:
    """S8, B4, B5: for longer than the janitor needs; one that is put right in time is not."""
    times = [tenth / 10 for tenth in range(5, 120)]
    assert [found.check for found in Tale().acquire(0.0).look(*times, immortal=True).judged("S8")] == ["S8"]
    assert Tale().acquire(0.0).look(*times, deadline=10.0**6).judged("S8") != []
    assert Tale().acquire(0.0).look(*times[:40], immortal=True).look(4.6, deadline=7.0).judged("S8") == []


def _crowd(t: float, *, alive: bool, hosts: tuple[str, ...], score: float) -> Look:
    deadline = 30.0 if alive else None
    sessions = {
        f"s{n}": Belief(
            state="running",
            generation=1,
            container=f"c{n}",
            host=hosts[n % len(hosts)],
            deadline=deadline,
            score=score,
        )
        for n in range(12)
    }
    return Look(t0=t, t1=t + 0.01, run_id="r", sessions=sessions)


def _mass(*, removed_at: float, with_del: bool = False, hosts: tuple[str, ...] = ("h1",), score: float = 30.0) -> Tale:
    looks = [_crowd(t, alive=alive, hosts=hosts, score=score) for t, alive in ((1.0, True), (1.1, False))]
    tale = Tale().add(*looks)
    for n in range(12):
        tale.born(0.0, f"c{n}", session=f"s{n}")
        if with_del:
            tale.key(1.05, "del", session=f"s{n}")
    return tale.removed(removed_at, "c3", session="s3")


def test_a_removal_right_after_a_mass_death_is_seen() -> None:
    """S9, R25: 12 keys went at once, 29 s too soon and without a `del`; one container was removed 0.4 s later."""
    assert [found.session for found in _mass(removed_at=1.5).judged("S9")] == ["s3"]


def test_a_removal_after_the_grace_of_a_mass_death_or_of_keys_that_clients_deleted_is_not() -> None:
    """S9: after a grace it is judged; keys that clients deleted or revived, or whose time had come, are none."""
    assert _mass(removed_at=1.5, hosts=("h1", "h2")).judged("S9") == []
    assert _mass(removed_at=1.5, score=1.05).judged("S9") == []
    revived = _mass(removed_at=1.5)
    for n in range(2):
        revived.begin("acquire", 1.3, session=f"s{n}")
    assert revived.judged("S9") == []
    assert _mass(removed_at=8.0).judged("S9") == []
    assert _mass(removed_at=1.5, with_del=True).judged("S9") == []


def _unknown(many: int) -> Tale:
    tale = Tale()
    for n in range(many):
        tale.born(0.0, f"c{n}", session=f"s{n}").acquire(0.0, f"c{n}", session=f"s{n}")
        tale.removed(20.0 + n / 100, f"c{n}", session=f"s{n}")
    return tale.look(19.0, session="")


def test_a_mass_removal_that_redis_did_not_ask_for_is_seen() -> None:
    """S9: 11 containers without a record within a second; 10 the brake lets pass."""
    assert [found.check for found in _unknown(11).judged("S9")] == ["S9"]
    assert _unknown(10).judged("S9") == []


def test_a_removal_while_no_reactor_reaches_redis_is_seen() -> None:
    """S10: what was in hand when it began may be finished; later nothing may be removed."""
    tale = simple().fault(1.0, 9.0, "blind")
    assert [found.check for found in tale.judged("S10")] == ["S10"]
    assert simple().fault(5.0, 9.0, "blind").judged("S10") == []
    assert simple().fault(1.0, 9.0).judged("S10") == []


def test_a_removal_that_a_client_asked_for_is_allowed_while_reactors_are_blind() -> None:
    """S10: an explicit terminate, or an acquire that finds the session over, goes over the client's own link."""
    assert simple().fault(1.0, 9.0, "blind").begin("terminate", 6.9).judged("S10") == []
    assert simple().fault(1.0, 9.0, "blind").begin("acquire", 7.0).judged("S10") == []


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
