"""A sidecar that is killed with -9 in the middle of an outage or a quarantine: the next one goes on where it was.

It is not about what counts as evidence (tests/test_quarantine.py).
It keeps this: nothing that the killed one knew is needed, but what it had written down.
"""

import signal

import pytest

from tests.journey.sidecar import World, sidecar
from tests.waiting import block_until

pytestmark = pytest.mark.timeout(240)
WAIT = 90.0


def _now_ms(world: World) -> int:
    seconds, micros = world.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def test_an_outage_in_whose_middle_the_reactor_was_killed_costs_no_session_its_container(world: World) -> None:
    """R11 with P1: Redis refuses every heartbeat beyond the deadline; who was there before the outage saw it begin."""
    with sidecar(world.user) as first:
        world.user("acquire", "a", "--ttl", "6s")
        before = world.running()
        world.client.config_set("min-replicas-to-write", 1)
        deadline = _now_ms(world) + world.client.pttl("mcp:session:a:heartbeat")
        block_until(lambda: "NOREPLICAS" in first.log, WAIT, "the reactor is refused too")
        first.signal(signal.SIGKILL)
        first.ended()
    block_until(lambda: _now_ms(world) > deadline, WAIT, "the deadline is over")
    world.client.config_set("min-replicas-to-write", 0)
    with sidecar(world.user):
        block_until(lambda: world.beat("a", 6), WAIT, "the client is told that its session lives")
        doubts = [event for event in world.events() if event["event"] == "quarantine"]
        assert [str(event["reason"]).partition(":")[0] for event in doubts] == ["outage"]
        assert world.running() == before


def test_a_quarantine_in_whose_middle_the_reactor_was_killed_gives_each_session_its_one_grace(world: World) -> None:
    """R4 with P1: the database id is lost; the second reactor neither forgets the quarantine nor begins another."""
    with sidecar(world.user) as first:
        world.user("acquire", "a", "--ttl", "10s")
        world.client.hdel("mcp:meta", "db")
        block_until(lambda: "action=quarantine" in first.log, WAIT, "the loss was noticed")
        first.signal(signal.SIGKILL)
        first.ended()
    world.client.delete("mcp:session:a:heartbeat")  # as if it had gone with the loss: nobody hears of it
    with sidecar(world.user):
        block_until(lambda: world.client.hget("mcp:session:a", "graces") == b"1", WAIT, "the session got its grace")
        assert len(world.running()) == 1
        block_until(lambda: not world.everything(), WAIT, "the abandoned session was removed after its one grace")
    assert [event["event"] for event in world.events() if event["event"] == "quarantine"] == ["quarantine"]
