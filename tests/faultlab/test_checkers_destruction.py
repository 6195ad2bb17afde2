"""The checkers of S9 and S10 see what they are there for, and nothing else."""

from faultlab.entries import Belief, Look
from tests.faultlab.tale import Tale, simple

MANY = 12


def _crowd(t: float, *, alive: bool, hosts: tuple[str, ...], score: float = 30.0, dead: int = MANY) -> Look:
    sessions = {
        f"s{n}": Belief(
            state="running",
            generation=1,
            container=f"c{n}",
            host=hosts[n % len(hosts)],
            deadline=30.0 if alive or n >= dead else None,
            score=score,
        )
        for n in range(MANY)
    }
    return Look(t0=t, t1=t + 0.01, run_id="r", sessions=sessions)


def _mass(*, with_del: bool = False, hosts: tuple[str, ...] = ("h1",), score: float = 30.0, dead: int = MANY) -> Tale:
    """Twelve sessions of 3 s; the keys of most go between 1.0 and 1.1 s."""
    tale = Tale().add(_crowd(1.0, alive=True, hosts=hosts, score=score))
    tale.add(*[_crowd(t, alive=False, hosts=hosts, score=score, dead=dead) for t in (1.1, 2.4, 2.6)])
    for n in range(MANY):
        tale.born(0.0, f"c{n}", session=f"s{n}", host=hosts[n % len(hosts)]).acquire(0.0, f"c{n}", session=f"s{n}")
        if with_del:
            tale.key(1.05, "del", session=f"s{n}")
    return tale


def test_a_removal_before_the_grace_of_a_mass_death_is_seen() -> None:
    """S9, R25: 12 keys went at once, 29 s too soon and without a `del`; two thirds of 3 s is what each has left."""
    for removed_at in (1.5, 2.8):
        assert [found.session for found in _mass().removed(removed_at, "c3", session="s3").judged("S9")] == ["s3"]
    assert _mass().removed(3.2, "c3", session="s3").judged("S9") == []


def test_a_mass_death_spares_those_of_its_host_whose_key_goes_later() -> None:
    """S9: the eleventh key made it one; the twelfth session had its key when that was known, and gets the grace too."""
    assert [found.session for found in _mass(dead=11).removed(2.8, "c11", session="s11").judged("S9")] == ["s11"]
    assert _mass(dead=11).removed(1.5, "c11", session="s11").judged("S9") == []
    assert _mass(dead=10).removed(1.5, "c3", session="s3").judged("S9") == []


def test_nothing_that_the_laboratory_did_to_a_key_excuses_a_removal_after_a_mass_death() -> None:
    """S9, S1: the deed is written down, and explains no hit."""
    tale = _mass().act(1.0, "expire", session="s3").removed(1.5, "c3", session="s3")
    assert [found.check for found in tale.judged("S9")] == ["S9"]
    assert [found.check for found in tale.judged("S1")] == ["S1"]


def test_keys_that_clients_deleted_or_revived_or_whose_time_had_come_are_no_mass_death() -> None:
    """S9: nor are those of two hosts together."""
    assert _mass(hosts=("h1", "h2")).removed(1.5, "c3", session="s3").judged("S9") == []
    assert _mass(score=1.05).removed(1.5, "c3", session="s3").judged("S9") == []
    assert _mass(with_del=True).removed(1.5, "c3", session="s3").judged("S9") == []
    revived = _mass().removed(1.5, "c3", session="s3")
    for n in range(2):
        revived.begin("acquire", 1.3, session=f"s{n}")
    assert revived.judged("S9") == []


def test_a_session_that_its_client_ends_after_a_mass_death_may_go() -> None:
    """S9: a terminate is never delayed."""
    tale = _mass().begin("terminate", 1.4, session="s3").removed(1.5, "c3", session="s3")
    assert tale.judged("S9") == []


def _unknown(many: int, *, apart: float = 0.01, reason: str = "") -> Tale:
    tale = Tale()
    for n in range(many):
        tale.born(0.0, f"c{n}", session=f"s{n}").acquire(0.0, f"c{n}", session=f"s{n}")
        tale.removed(20.0 + n * apart, f"c{n}", session=f"s{n}")
    if not reason:
        return tale.look(19.0, session="")
    ending = Belief(state="ending", generation=1, host="h1", reason=reason)
    return tale.add(Look(t0=19.9, t1=19.91, run_id="r", sessions={f"s{n}": ending for n in range(many)}))


def test_a_mass_removal_that_redis_did_not_ask_for_is_seen() -> None:
    """S9: 11 containers without a record within a round of the janitor; 10 the brake lets pass."""
    assert [found.check for found in _unknown(11).judged("S9")] == ["S9"]
    assert [found.check for found in _unknown(11, apart=0.2).judged("S9")] == ["S9"]
    assert _unknown(10).judged("S9") == []
    assert _unknown(11, apart=1.0).judged("S9") == []


def test_a_record_that_the_remover_itself_wrote_asks_for_nothing() -> None:
    """S9: an orphan is claimed before it is removed; a session that expired was asked for by Redis."""
    assert _unknown(11, reason="orphan").judged("S9") != []
    assert _unknown(11, reason="expired").judged("S9") == []


def _cut(many: int = 11, *, braked: bool = True, forced: bool = True) -> Tale:
    """So many records are deleted at 5 s; the brake is told of at 8 s, a human confirms at 30 s."""
    tale = Tale().fault(4.0, 35.0, name="records_deleted").look(60.0, session="")
    for n in range(many):
        tale.born(0.0, f"c{n}", session=f"s{n}").acquire(0.0, f"c{n}", session=f"s{n}", ttl=120.0)
        tale.act(5.0, "unrecord", f"c{n}", session=f"s{n}")
        if forced:
            tale.act(30.0, "force", f"c{n}", session=f"s{n}")
    return tale.audit(8.0, "brake", "", session="") if braked else tale


def _gone(tale: Tale, many: int = 11) -> Tale:
    for n in range(many):
        tale.removed(31.0, f"c{n}", session=f"s{n}")
    return tale


def test_one_container_that_goes_while_the_brake_should_hold_is_seen() -> None:
    """S9: of eleven without a record; ten are no matter for the brake."""
    assert _gone(_cut()).judged("S9") == []
    early = _cut().removed(9.0, "c3", session="s3")
    assert [found.session for found in early.judged("S9") if found.t == 9.0] == ["s3"]
    assert _cut(10).removed(9.0, "c3", session="s3").judged("S9") == []


def test_a_brake_that_nobody_is_told_of_is_seen() -> None:
    """S9: 25 s without a brake in the audit stream."""
    assert "no brake was told of" in _gone(_cut(braked=False)).judged("S9")[0].text


def test_what_a_forced_reconcile_leaves_is_seen() -> None:
    """S9: a human has confirmed it, so all of it goes; S1 lets it go, and only then."""
    assert {found.text for found in _cut().judged("S9")} == {"still there after a forced reconcile"}
    assert _gone(_cut()).judged("S1") == []
    assert _gone(_cut(forced=False)).judged("S1") != []


def test_a_removal_while_no_reactor_reaches_redis_is_seen() -> None:
    """S10: what was in hand when it began is finished at once; later nothing may be removed."""
    tale = simple().fault(1.0, 9.0, "blind")
    assert [found.check for found in tale.judged("S10")] == ["S10"]
    assert [found.check for found in simple().fault(5.5, 9.0, "blind").judged("S10")] == ["S10"]
    assert simple().fault(6.5, 9.0, "blind").judged("S10") == []
    assert simple().fault(1.0, 9.0).judged("S10") == []


def test_a_removal_that_a_client_asked_for_is_allowed_while_only_reactors_are_blind() -> None:
    """S10: an explicit terminate, or an acquire that finds the session over, goes over the client's own link."""
    for op, t in (("terminate", 6.9), ("acquire", 7.0)):
        assert simple().fault(1.0, 9.0, "blind").begin(op, t).judged("S10") == []
        assert simple().fault(1.0, 9.0, "blind", "dark").begin(op, t).judged("S10") != []


def test_an_end_that_was_asked_for_before_redis_went_dark_is_carried_out() -> None:
    """S10: the client was served before; its container may go whenever the engine gets to it."""
    assert simple().begin("terminate", 4.5).fault(5.0, 9.0, "blind", "dark").judged("S10") == []
