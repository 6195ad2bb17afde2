"""The engine is stopped, killed or frozen, or its host reboots, while the sidecar runs: nothing is lost or leaks."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from reactor import SessionManager
from reactor.errors import ReactorError
from reactor.runtime import docker_client
from tests.faults.rig import PATIENCE, Rig
from tests.waiting import wait_until

SHORT = timedelta(seconds=2)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_an_engine_that_comes_back_finds_its_living_sessions_and_the_overdue_go(
    rig: Rig, how: signal.Signals
) -> None:
    """D1, D23: the living keep their container; a deadline that passed meanwhile is made good; once."""
    async with rig.both() as (reactor, sessions):
        living = await sessions.acquire("living")
        overdue = await sessions.acquire("overdue", ttl=SHORT)
        deleted = await sessions.acquire("deleted")
        rig.engine.kill(how)
        await wait_until(lambda: not reactor.engine_watch.stands, PATIENCE)
        assert reactor.readiness()["ready"] is False
        rig.end("deleted")
        await wait_until(lambda: rig.state("overdue") == rig.state("deleted") == "ending", PATIENCE)
        assert not rig.beat("overdue")
        assert rig.beat("living")
        rig.engine.start_again()
        await rig.gone(overdue)
        await rig.gone(deleted)
        await wait_until(lambda: reactor.readiness()["ready"] is True, PATIENCE)
        assert (await sessions.acquire("living")).container_id == living.container_id
        assert await rig.runs(living)
        assert await rig.engine.containers() == {living.container_id}
    for session in (overdue, deleted):
        assert len(rig.removals(session)) == 1
        assert [word for word in rig.story(session.session_id) if word != "started"] == [
            "ended expired" if session is overdue else "ended ended_by_client"
        ]


async def test_after_a_reboot_of_the_host_no_session_is_left_without_its_container(rig: Rig) -> None:
    """P8: all containers have exited, Redis lives: the clients hear 0, and the next acquire makes a new one."""
    async with rig.both() as (_, sessions):
        before = await sessions.acquire("before")
        other = await sessions.acquire("other")
        rig.engine.reboot()
        rig.engine.start_again()
        await rig.gone(before)
        await rig.gone(other)
        assert not rig.beat("before")
        again = await sessions.acquire("before")
        assert again.container_id != before.container_id
        assert await rig.engine.containers() == {again.container_id}
    assert rig.story("other") == ["started", "ended container_exited"]
    assert rig.story("before") == ["started", "ended container_exited", "started"]


async def test_a_frozen_engine_costs_time_and_nothing_else(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """D2: calls end by their own limit, Redis' side goes on, and after the thaw all that ended meanwhile goes once."""
    async with rig.both() as (reactor, sessions):
        monkeypatch.setattr(docker_client, "CALL_LIMIT", 2.0)
        living = await sessions.acquire("living")
        overdue = await sessions.acquire("overdue", ttl=SHORT)
        rig.engine.freeze("dockerd")
        await wait_until(lambda: reactor.readiness()["ready"] is False, PATIENCE, "a frozen engine is noticed")
        await wait_until(lambda: rig.state("overdue") == "ending", PATIENCE)
        await wait_until(lambda: not rig.beat("overdue"), PATIENCE)
        assert rig.beat("living")
        rig.engine.thaw()
        await rig.gone(overdue)
        await wait_until(lambda: reactor.readiness()["ready"] is True, PATIENCE)
        assert (await sessions.acquire("living")).container_id == living.container_id
        assert await rig.engine.containers() == {living.container_id}
    assert rig.story("overdue") == ["started", "ended expired"]


async def test_a_frozen_containerd_whose_engine_still_pings_is_survived(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: create and inspect answer, start and remove hang and take effect later: no session has two, none is left."""
    hasty = replace(rig.settings, acquire_timeout=timedelta(seconds=3))
    async with rig.both() as (_, sessions), SessionManager(hasty) as impatient:
        monkeypatch.setattr(docker_client, "CALL_LIMIT", 2.0)
        living = await sessions.acquire("living")
        ending = await sessions.acquire("ending")
        rig.engine.freeze("containerd")
        assert (await rig.engine.ask("GET", "/_ping"))[0] == 200
        rig.end("ending")
        await wait_until(lambda: rig.state("ending") == "ending", PATIENCE)
        with pytest.raises(ReactorError):
            await impatient.acquire("new")
        assert rig.beat("living")
        rig.engine.thaw()
        await rig.gone(ending)
        new = await sessions.acquire("new")
        await wait_until(lambda: rig.state("new") == "running", PATIENCE)

        async def settled() -> bool:
            return await rig.engine.containers() == {living.container_id, new.container_id}

        await wait_until(settled, PATIENCE)
        assert await rig.runs(living)
        assert await rig.runs(new)
    assert rig.story("ending") == ["started", "ended ended_by_client"]
