"""The engine's event stream is cut, goes silent, or drops what it should tell: every death is found all the same."""

from __future__ import annotations

from faultlab.docker_proxy import Say
from tests.faults.rig import PATIENCE, Rig
from tests.waiting import wait_until


async def test_a_silent_stream_is_found_out_and_what_it_kept_back_is_seen(rig: Rig) -> None:
    """D25: the connection stands and says nothing; the janitor's period is not waited for."""
    async with rig.both() as (_, sessions):
        mortal, other = await sessions.acquire("mortal"), await sessions.acquire("other")
        await rig.engine.by_hand("POST", other.container_id or "", "/kill?signal=KILL")
        await rig.gone(other)  # so the start of the first one has been looked at, too
        assert rig.proxy.silence("/events") >= 1
        await rig.engine.by_hand("POST", mortal.container_id or "", "/kill?signal=KILL")
        await rig.gone(mortal)
        assert not rig.beat("mortal")
    assert rig.story("mortal") == ["started", "ended container_exited"]


async def test_a_cut_stream_is_opened_again_and_followed_by_a_reconcile(rig: Rig) -> None:
    """D25, D26: while it could not be had a container died and more was said than the engine remembers."""
    async with rig.both() as (reactor, sessions):
        mortal, living = await sessions.acquire("mortal"), await sessions.acquire("living")
        refused = rig.proxy.add(Say(500), "GET", "/events", times=None)
        assert rig.proxy.cut("/events") >= 1
        await wait_until(lambda: not reactor.engine_watch.stands, PATIENCE)
        await rig.engine.by_hand("POST", mortal.container_id or "", "/kill?signal=KILL")
        for number in range(300):  # the engine keeps the last 256
            await rig.engine.by_hand("POST", living.container_id or "", f"/rename?name=churn{number}")
        assert refused.hits >= 1
        rig.proxy.heal()
        await rig.gone(mortal)
        assert rig.beat("living")
        assert await rig.engine.containers() == {living.container_id}


async def test_an_engine_that_does_not_prove_its_stream_is_not_called_watched(rig: Rig) -> None:
    """While nobody can say that deaths are heard, an acquire looks for itself."""
    async with rig.both() as (reactor, sessions):
        mortal = await sessions.acquire("mortal")
        await wait_until(lambda: rig.watched, PATIENCE)
        rig.proxy.add(Say(500), "GET", "/events", times=None)
        await wait_until(lambda: not reactor.engine_watch.stands, PATIENCE, "the proof failed")
        assert reactor.readiness()["ready"] is False
        await wait_until(lambda: not rig.watched, PATIENCE)
        await rig.engine.by_hand("POST", mortal.container_id or "", "/kill?signal=KILL")
        again = await sessions.acquire("mortal")
        assert again.container_id != mortal.container_id
        assert await rig.runs(again)
