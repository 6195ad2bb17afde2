"""The checkers of S1, S2, S3 and S5 see what they are there for, and nothing else."""

import pytest

from faultlab.checks import CHECKS
from faultlab.entries import Left, Processes, Request
from tests.faultlab.tale import TTL, Tale, simple

GATES = frozenset({"fired", "busy", "well before", "works at the end", "observed"})


@pytest.mark.parametrize("check", sorted(CHECKS.keys() - GATES))
def test_a_session_that_lives_and_expires_in_peace_breaks_nothing(check: str) -> None:
    """No checker finds fault with the plain case."""
    assert simple().judged(check) == []


def test_a_container_hit_before_the_ttl_of_an_answered_heartbeat_is_seen() -> None:
    """S1: the last heartbeat at 2 s gave it until 5 s; it was stopped at 4 s."""
    tale = Tale().born(0.0).acquire(0.0).beat(1.0, 2.0).removed(4.0)
    assert [found.check for found in tale.judged("S1")] == ["S1"]


def test_a_container_hit_before_its_first_ttl_is_seen() -> None:
    """S1: also where no client heard of it: Redis was told at 0.2 s, and it was stopped at 1 s."""
    tale = (
        Tale()
        .born(0.0)
        .acquire(0.0, error="Unavailable", container="", generation=0)
        .audit(0.2, "started")
        .removed(1.0)
    )
    assert [found.check for found in tale.judged("S1")] == ["S1"]


@pytest.mark.parametrize("op", ["delete", "terminate"])
def test_a_container_that_its_client_ended_may_go_at_once(op: str) -> None:
    """S1: a DEL or a terminate, even one whose answer was lost, explains it."""
    tale = Tale().born(0.0).acquire(0.0).beat(1.0).begin(op, 1.5).removed(1.6)
    assert tale.judged("S1") == tale.judged("S1k") == []


def test_a_container_that_an_operator_removed_is_not_held_against_us() -> None:
    """S1: `docker rm -f` by hand explains its own container, and no other."""
    tale = Tale().born(0.0).acquire(0.0).beat(1.0).act(1.5, "rm", "c1").removed(1.6)
    assert tale.judged("S1") == []
    other = Tale().born(0.0).acquire(0.0).beat(1.0).act(1.5, "rm", "c2").removed(1.6)
    assert other.judged("S1") != []


def _restarted(back: float | None = 10.3) -> Tale:
    """A restart by hand at 10 s: its client beats all the while; the container is back soon, late, or never."""
    tale = Tale().born(0.0).acquire(0.0).act(10.0, "restart", "c1").engine(10.0, "kill").engine(10.05, "die")
    tale.beat(*[float(second) for second in range(1, 60)])
    return tale if back is None else tale.engine(back, "start")


@pytest.mark.parametrize("check", ["S1", "S1k"])
def test_a_restart_by_hand_explains_the_death_that_it_causes_and_no_removal(check: str) -> None:
    """D28: the session keeps its container; a reactor that removes it, before or after it is back, is seen."""
    assert _restarted().judged(check) == []
    for removed in (11.5, 20.0, 59.0):
        assert [found.t for found in _restarted().removed(removed).judged(check)] == [removed]
    assert [found.t for found in _restarted().engine(10.2, "destroy").judged(check)] == [10.2]


def test_a_container_that_stays_dead_is_no_longer_being_restarted() -> None:
    """D28: after a second its death is believed; back in time, nothing is to be believed."""
    assert _restarted(None).engine(11.3, "destroy").judged("S1") == []
    assert _restarted(11.0).engine(11.3, "destroy").judged("S1") != []


def test_what_is_done_to_a_key_or_to_all_containers_explains_no_hit() -> None:
    """S1: only what ends this very container does."""
    for act, container in (("expire", ""), ("immortal", ""), ("pause", "c1"), ("rm", ""), ("unrecord", "c1")):
        tale = Tale().born(0.0).acquire(0.0).beat(1.0).act(1.5, act, container).removed(1.6)
        assert tale.judged("S1") != [], act


def test_a_del_that_an_acquire_took_back_explains_nothing() -> None:
    """S1: the session was revived, with the same container; from then on it lives again."""
    tale = Tale().born(0.0).acquire(0.0).begin("delete", 1.0).acquire(1.1).beat(2.0).removed(2.5)
    assert [found.check for found in tale.judged("S1")] == ["S1"]


def test_a_heartbeat_of_the_generation_before_promises_nothing_to_the_next() -> None:
    """S1: what was answered before a container was created was about another one."""
    tale = Tale().born(0.0).acquire(0.0).beat(1.0).begin("delete", 1.1).removed(1.2)
    tale.born(1.5, "c2", 2).acquire(1.4, "c2", 2).removed(1.5 + TTL, "c2", 2)
    assert tale.judged("S1") == []


def test_after_a_data_loss_only_the_weaker_form_holds() -> None:
    """S1, R2: the heartbeat before the loss is forgotten; a client that stopped may lose its container early."""
    tale = Tale().born(0.0).acquire(0.0).beat(1.0, 2.0).fault(2.5, 3.0, "loses").removed(4.0)
    assert tale.judged("S1") == []
    assert Tale().born(0.0).acquire(0.0).beat(1.0, 2.0).fault(1.0, 1.5, "loses").removed(4.0).judged("S1") != []


def test_a_client_that_keeps_heartbeating_through_an_outage_must_keep_its_container() -> None:
    """S1k: its heartbeats failed, every 0.9 s; the container was removed all the same."""
    tale = Tale().born(0.0).acquire(0.0).beat(1.0).fault(1.5, 6.0, "loses", "blind")
    tale.beat(1.9, 2.8, 3.7, 4.6, 5.5, error="ConnectionError").removed(6.0)
    assert [found.check for found in tale.judged("S1k")] == ["S1k"]


def test_a_client_that_was_told_0_and_acquires_again_must_keep_its_container() -> None:
    """S1k, R4: after FLUSHALL it acquires at once; until that is answered nothing may be removed."""
    tale = Tale().born(0.0).acquire(0.0).beat(1.0, 2.0).beat(3.0, reply=0).begin("acquire", 3.1).removed(3.4)
    assert [found.check for found in tale.judged("S1k")] == ["S1k"]
    slow = Tale().born(0.0).acquire(0.0).beat(1.0, 2.0).beat(3.0, reply=0).begin("acquire", 4.5).removed(4.6)
    assert slow.judged("S1k") == []


def test_a_command_line_that_has_to_start_first_is_not_yet_a_try() -> None:
    """S1k: a program may need seconds before it asks for anything."""
    tale = Tale().born(0.0).acquire(0.0).beat(1.0, 2.0).beat(3.0, reply=0).acquire(3.1, "c2", 2, took=4.0, command=True)
    assert tale.removed(6.0).judged("S1k") == []


def test_a_client_that_fell_silent_for_longer_than_a_third_of_the_ttl_is_not_one_that_keeps() -> None:
    """S1k: nothing between 1 and 4.5 s: it had to go."""
    tale = Tale().born(0.0).acquire(0.0).beat(1.0).beat(4.05, reply=0).begin("acquire", 4.1).removed(4.2)
    assert tale.judged("S1k") == []


def test_a_client_that_comes_back_after_the_verdict_is_not_one_that_keeps() -> None:
    """S1k, D2: its session was over before its acquire began to wait for an engine that hung."""

    def late() -> Tale:
        return Tale().born(0.0).acquire(0.0).beat(1.0, 2.0).begin("acquire", 5.1).removed(9.0)

    assert late().judged("S1k") != []
    assert late().look(5.05, 6.0, 8.0, state="ending").judged("S1k") == []
    assert late().look(5.05, 6.0, state="ending").look(8.0).judged("S1k") != []


def test_a_client_that_was_frozen_is_not_one_that_keeps() -> None:
    """S1k, P3: a call that hangs in a stopped process is no try."""
    tale = Tale().born(0.0).acquire(0.0).beat(1.0, 2.0).beat(2.9, error="TimeoutError").removed(4.0)
    assert tale.judged("S1k") != []
    assert tale.fault(2.5, 9.0, name="client_frozen", evidence="a stopped").judged("S1k") == []


def test_two_living_containers_of_a_session_are_seen_in_a_list() -> None:
    """S2a: a dead one beside a living one is none."""
    tale = Tale().listed(1.0, {"c1": ("s", 1, "running"), "c2": ("s", 2, "created")})
    assert [found.check for found in tale.judged("S2")] == ["S2"]
    assert Tale().listed(1.0, {"c1": ("s", 1, "dead"), "c2": ("s", 2, "running")}).judged("S2") == []


def test_two_containers_that_run_at_once_are_seen_in_the_events() -> None:
    """S2a, S2b: on one host always; on two hosts unless Redis lost its data between their starts."""
    tale = Tale().born(0.0).born(1.0, "c2", 2).removed(2.0)
    assert [found.check for found in tale.judged("S2")] == ["S2"]
    apart = Tale().born(0.0).born(1.0, "c2", 2, host="h2").removed(2.0)
    assert apart.judged("S2") != []
    assert apart.fault(0.5, 0.6, "loses").judged("S2") == []


def test_processes_that_the_engine_says_nothing_of_are_seen() -> None:
    """S2, 1.6: two containers with a process in two scans running, and one whose process outlives it."""

    def scan(t: float, *containers: str) -> Processes:
        return Processes(t0=t, t1=t + 0.01, containers=containers)

    def two() -> Tale:
        return Tale().born(0.0).born(1.0, "c2", 2).removed(2.0)

    assert [found.container for found in two().add(scan(1.5, "c1", "c2"), scan(1.7, "c1", "c2")).judged("S2p")] == [
        "c2"
    ]
    assert two().add(scan(1.5, "c1", "c2"), scan(1.7, "c2")).judged("S2p") == []
    assert [found.container for found in two().add(scan(9.0, "c1")).judged("S2p")] == ["c1"]


def test_a_program_that_its_killed_engine_does_not_know_of_is_the_engines() -> None:
    """D23: only where the engine was killed between the create and the word of the start."""
    scan = Processes(t0=9.0, t1=9.01, containers=("c1",))

    def lost() -> Tale:
        return Tale().engine(0.0, "create").engine(2.0, "destroy").add(scan)

    assert [found.container for found in lost().judged("S2p")] == ["c1"]
    assert lost().fault(0.5, 1.5, "dies").judged("S2p") == []
    assert lost().engine(0.2, "start").fault(0.5, 1.5, "dies").judged("S2p") != []
    assert lost().fault(7.0, 8.0, "dies").judged("S2p") != []


def test_one_generation_handed_out_as_two_containers_is_seen() -> None:
    """S2c: two generations may of course be two containers."""
    tale = Tale().acquire(0.0, "c1", 1).acquire(1.0, "c2", 1, client="b")
    assert [found.check for found in tale.judged("S2c")] == ["S2c"]
    assert Tale().acquire(0.0, "c1", 1).acquire(1.0, "c2", 2).judged("S2c") == []


def test_a_changed_neighbour_or_a_request_that_names_one_is_seen() -> None:
    """S3: both what a decoy looks like in the end, and what went over the wire."""
    assert Tale().add(Left(t=9.0, changed=("container decoy: State",))).judged("S3") != []
    assert Tale().add(Request(t=1.0, door="r", method="POST", path="/containers/decoy/stop")).judged("S3") != []
    assert Tale().add(Left(t=9.0), Request(t=1.0, door="r", method="DELETE", path="/containers/c1")).judged("S3") == []


def test_a_key_without_our_prefix_that_appears_in_redis_is_seen() -> None:
    """S3: once each; the decoys' own were there before."""
    assert Tale().look(1.0, strangers=("foreign",)).judged("S3") == []
    tale = Tale().look(1.0, 2.0, strangers=("foreign", "mcp2:session:s", "db1"))
    assert [found.text.split()[0] for found in tale.judged("S3")] == ["mcp2:session:s", "db1"]


def test_an_older_generation_that_starts_after_a_newer_one_was_handed_out_is_seen() -> None:
    """S5, V3: a spawner that slept through its lease must not start what it created."""
    tale = Tale().engine(0.0, "create").born(5.0, "c2", 2).acquire(5.0, "c2", 2).engine(6.0, "start")
    assert "S5" in [found.check for found in tale.judged("S5")]
    fine = Tale().born(0.0).removed(3.0).born(5.0, "c2", 2).acquire(5.0, "c2", 2)
    assert fine.judged("S5") == []


def test_an_older_generation_that_goes_on_running_is_seen() -> None:
    """S5: within a janitor's period it must be gone."""
    tale = Tale().born(0.0).born(5.0, "c2", 2, host="h2").acquire(5.0, "c2", 2).look(60.0, deadline=61.0)
    assert "still runs" in tale.judged("S5")[0].text
    assert tale.removed(8.0).judged("S5") == []
