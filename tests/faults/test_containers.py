"""Containers that will not go, that go by themselves, and that somebody else lays hands on."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest

from faultlab.docker_proxy import Hold, Rule, Say
from reactor import supervisor, teardown, working
from reactor.errors import AcquireTimeout, SpawnFailed
from reactor.keys import container_name
from reactor.runtime import docker_client
from reactor.session import Deployment, Session, SessionId
from reactor.templates import Template
from tests.faults.rig import PATIENCE, Rig
from tests.waiting import wait_until

DEAF = ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")


async def test_a_container_that_cannot_be_removed_is_dead_for_its_session_and_goes_when_it_is_healed(
    rig: Rig,
) -> None:
    """D4, D5: the engine answers 500 and its list goes on to say running; others go, and the name is waited for."""
    async with rig.both() as (reactor, sessions):
        stuck, other = await sessions.acquire("stuck"), await sessions.acquire("other")
        rig.engine.protect(stuck.container_id or "", on=True)
        rig.end("stuck")
        await wait_until(lambda: any(r.status == 500 for r in rig.proxy.log), PATIENCE, "the engine refuses")
        assert not rig.beat("stuck")
        rig.end("other")
        await rig.gone(other)
        assert rig.state("stuck") == "ending"
        reactor.sweep()
        hasty = replace(rig.settings, acquire_timeout=timedelta(seconds=1))
        async with type(sessions)(hasty) as impatient:
            with pytest.raises(AcquireTimeout):
                await impatient.acquire("stuck")
        assert await rig.engine.containers() == {stuck.container_id}
        rig.engine.protect(stuck.container_id or "", on=False)
        await rig.gone(stuck)
        again = await sessions.acquire("stuck")
        assert await rig.engine.containers() == {again.container_id}
    assert rig.story("stuck") == ["started", "ended ended_by_client", "started"]


async def test_containers_that_are_stuck_for_ever_leave_hands_for_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """L7: more removals that fail, then hang, than there are hands; what ends meanwhile goes while they all hang."""
    monkeypatch.setattr(supervisor, "HANDS", 6)
    monkeypatch.setattr(working, "AGAIN_HANDS", 2)
    monkeypatch.setattr(teardown, "ENGINE_LIMIT", timedelta(seconds=1))
    monkeypatch.setattr(docker_client, "CALL_LIMIT", 600.0)
    async with rig.both() as (reactor, sessions):
        stuck = [await sessions.acquire(f"stuck{number}") for number in range(8)]
        paths = [f"/containers/{session.container_id}" for session in stuck]
        rig.proxy.rules = [Rule(Say(500, "driver failed to remove"), "DELETE", path, None) for path in paths]
        for session in stuck:
            rig.end(session.session_id)

        def all_failed() -> bool:
            said = [record for record in caplog.records if record.msg.startswith("the teardown is repeated")]
            return {vars(record)["session"] for record in said} == {session.session_id for session in stuck}

        await wait_until(all_failed, PATIENCE)
        rig.proxy.rules = hanging = [Rule(Hold(), "DELETE", path, None) for path in paths]
        later = reactor.worker.later  # two hang, and the others found the hands for such taken
        await wait_until(lambda: sum(rule.hits for rule in hanging) + len(later) >= len(stuck), PATIENCE)
        for number in range(3):
            quick = await sessions.acquire(f"quick{number}")
            rig.end(quick.session_id)
            await rig.gone(quick)
        assert {rig.state(session.session_id) for session in stuck} == {"ending"}
        rig.proxy.heal()
        for session in stuck:
            await rig.gone(session)
    assert {tuple(rig.story(session.session_id)) for session in stuck} == {("started", "ended ended_by_client")}


@pytest.mark.parametrize("paused", [False, True], ids=["deaf", "paused"])
async def test_a_container_that_ignores_the_stop_signal_or_is_paused_goes_after_its_grace(
    rig: Rig, *, paused: bool
) -> None:
    """D18, D19: SIGTERM, the grace, then SIGKILL; a paused one cannot hear and goes too."""
    template = Template(name="default", image=rig.engine.image, command=DEAF, ttl=timedelta(minutes=5))
    stubborn = replace(rig.settings, stop_grace=timedelta(seconds=1), templates={"default": template})
    rig = replace(rig, settings=stubborn)
    async with rig.both() as (_, sessions):
        session = await sessions.acquire("deaf")
        if paused:
            assert await rig.engine.by_hand("POST", session.container_id or "", "/pause") == 204
        rig.end("deaf")
        await rig.gone(session)
    kills = [one for one in rig.proxy.log if one.path.endswith("/kill")]
    assert [one.query for one in kills] == ["signal=SIGTERM"]
    assert len(rig.removals(session)) == 1


@pytest.mark.parametrize("how", ["exits", "shim", "rm", "prune"])
async def test_a_container_that_is_no_more_ends_its_session(rig: Rig, how: str) -> None:
    """D21, D22, D27, D29: whoever ended it, the client's next EXPIRE says 0 and the next acquire makes a new one."""
    async with rig.both() as (_, sessions):
        session = await sessions.acquire("mortal")
        container_id = session.container_id or ""
        match how:
            case "shim":
                rig.engine.shim(container_id).send_signal(signal.SIGKILL)
            case "rm":
                await rig.engine.by_hand("DELETE", container_id, "?force=1")
            case _:
                await rig.engine.by_hand("POST", container_id, "/kill?signal=KILL")
        if how == "prune":
            await rig.engine.ask("POST", "/containers/prune")
        await rig.gone(session)
        assert not rig.beat("mortal")
        again = await sessions.acquire("mortal")
        assert again.created
        assert await rig.engine.containers() == {again.container_id}
    assert rig.story("mortal") == ["started", "ended container_exited", "started"]


async def test_a_restart_by_hand_keeps_the_session(rig: Rig) -> None:
    """D28: `docker restart` is no end: the same container, the same generation, the heartbeat goes on."""
    async with rig.both() as (reactor, sessions):
        session = await sessions.acquire("kept")
        looked = len([one for one in rig.proxy.log if one.method == "DELETE"])
        assert await rig.engine.by_hand("POST", session.container_id or "", "/restart?t=0") == 204
        ended = await sessions.acquire("witness")
        rig.end("witness")
        await rig.gone(ended)
        died = await sessions.acquire("later")
        await rig.engine.by_hand("POST", died.container_id or "", "/kill?signal=KILL")
        await rig.gone(died)  # its death came after the restart, and has been judged
        assert rig.beat("kept")
        again = await sessions.acquire("kept")
        assert (again.container_id, again.created) == (session.container_id, False)
        assert await rig.runs(session)
        assert looked == 0
        assert (await rig.record(reactor, "kept")).generation == session.generation
    assert rig.story("kept") == ["started"]


async def test_a_name_held_by_a_stranger_is_an_error_and_the_stranger_stays(rig: Rig) -> None:
    """D10: never touched, whatever it is called."""
    name = container_name("mcp", Deployment(rig.settings.deployment or ""), SessionId("taken"))
    command = ["docker", "--host", rig.engine.host, "create", "--name", name, rig.engine.image]
    stranger = (await asyncio.to_thread(subprocess.check_output, command)).decode().strip()
    async with rig.both() as (reactor, sessions):
        with pytest.raises(SpawnFailed):
            await sessions.acquire("taken")
        reactor.sweep()
        other: Session = await sessions.acquire("other")
        assert await rig.engine.containers() == {stranger, other.container_id}
