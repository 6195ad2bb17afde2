"""Requests and replies that are lost, late or invented on the way to the engine, and an engine killed in between."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from faultlab.docker_proxy import Act, Hold, Late, LoseReply, LoseRequest, Say, Truncate
from reactor.errors import ReactorError
from reactor.runtime import docker_client
from reactor.session import Session
from tests.faults.rig import CREATE, PATIENCE, REMOVE, START, Rig
from tests.waiting import wait_until

BAD = [LoseReply(), LoseRequest(), Say(500), Say(503), Say(500, applied=True), Truncate(40), Truncate(150)]


@pytest.mark.parametrize(
    "method, path", [("POST", CREATE), ("POST", START), ("DELETE", REMOVE)], ids=["create", "start", "remove"]
)
async def test_what_the_engine_did_is_found_out_when_its_answer_is_lost_or_wrong(
    rig: Rig, method: str, path: str
) -> None:
    """D8, D31: after any answer that proves nothing there is one container per session, and after its end none."""
    async with rig.both() as (_, sessions):
        for number, act in enumerate(BAD):
            rule = rig.proxy.add(act, method, path)
            session = await sessions.acquire(f"s{number}")
            assert await rig.engine.containers() == {session.container_id}
            assert await rig.runs(session)
            rig.end(f"s{number}")
            await rig.gone(session)
            assert rule.hits == 1, act
            assert rig.story(f"s{number}") == ["started", "ended ended_by_client"]
        assert await rig.engine.containers() == set()


async def test_a_create_that_lands_after_everybody_gave_up_leaves_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D9: the caller's time is over, the record is let go, then the engine makes it: a sweep removes it."""
    async with rig.both() as (reactor, sessions):
        monkeypatch.setattr(docker_client, "CALL_LIMIT", 2.0)
        late = rig.proxy.add(Late(6.0), "POST", CREATE, times=None)
        with pytest.raises(TimeoutError):
            with anyio.fail_after(1):
                await sessions.acquire("late")

        async def landed() -> bool:
            return bool(await rig.engine.containers())

        await wait_until(landed, PATIENCE)
        assert late.hits >= 1
        rig.proxy.heal()

        async def swept() -> bool:
            reactor.sweep()
            return not await rig.engine.containers()

        await wait_until(swept, PATIENCE, "no container is left")
        session = await sessions.acquire("late")
        assert await rig.engine.containers() == {session.container_id}


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("method, path", [("POST", CREATE), ("POST", START)], ids=["create", "start"])
async def test_an_engine_killed_in_the_middle_of_a_spawn_leaves_one_container_or_none(
    rig: Rig, method: str, path: str, *, applied: bool
) -> None:
    """D23: killed while it was asked, or before it could answer; the caller gets the one container, or asks again."""
    async with rig.both() as (_, sessions):
        rule = rig.proxy.add(Hold(applied), method, path)
        got: list[Session] = []

        async def acquire() -> None:
            try:
                got.append(await sessions.acquire("caught"))
            except ReactorError:
                got.append(await sessions.acquire("caught"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(acquire)
            await rule.seen.wait()
            if applied:
                await wait_until(lambda: rig.proxy.log[-1].status is not None, PATIENCE)
            rig.engine.kill()
            rule.release()
            rig.engine.start_again()
        (session,) = got
        assert await rig.runs(session)
        assert await rig.engine.containers() == {session.container_id}
        rig.end("caught")
        await rig.gone(session)


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
async def test_an_engine_killed_in_the_middle_of_a_removal_finishes_it_when_it_is_back(
    rig: Rig, *, applied: bool
) -> None:
    """D24: the end is written down once, and only when the container is gone."""
    async with rig.both() as (_, sessions):
        session = await sessions.acquire("caught")
        rule = rig.proxy.add(Hold(applied), "DELETE", REMOVE)
        rig.end("caught")
        await rule.seen.wait()
        if applied:
            await wait_until(lambda: rig.proxy.log[-1].status is not None, PATIENCE)
        rig.engine.kill()
        rule.release()
        assert rig.state("caught") == "ending"
        rig.engine.start_again()
        await rig.gone(session)
    assert rig.story("caught") == ["started", "ended ended_by_client"]


@pytest.mark.parametrize("act", [Say(409, "removal of container x is already in progress"), Say(404, "page not found")])
async def test_a_refusal_that_does_not_say_gone_is_not_taken_for_it(rig: Rig, act: Act) -> None:
    """D6: a removal in progress, and a proxy's own 404, are waited for and asked again until the engine has none."""
    async with rig.both() as (_, sessions):
        session = await sessions.acquire("stays")
        rule = rig.proxy.add(act, "DELETE", REMOVE, times=2)
        rig.end("stays")
        await rig.gone(session)
        assert rule.hits == 2
        assert len(rig.removals(session)) == 1


async def test_a_removal_by_hand_at_the_same_moment_is_one_removal(rig: Rig) -> None:
    """D6: an operator's `docker rm -f` and ours meet: 409 is waited for, and nobody reports an error."""
    async with rig.both() as (_, sessions):
        several = [await sessions.acquire(f"met{number}") for number in range(4)]
        async with anyio.create_task_group() as tasks:
            for session in several:
                rig.end(session.session_id)
                tasks.start_soon(rig.engine.by_hand, "DELETE", session.container_id or "", "?force=1")
        for session in several:
            await rig.gone(session)
            assert len(rig.removals(session)) <= 1
            assert len([word for word in rig.story(session.session_id) if word.startswith("ended")]) == 1


async def test_a_start_that_fails_leaves_nothing_and_says_why(rig: Rig) -> None:
    """D12, D14: the container that could not start is removed, the lock is let go; the next caller may try at once."""
    async with rig.both() as (_, sessions):
        rule = rig.proxy.add(Say(400, "OCI runtime create failed: exec: no such file"), "POST", START, times=1)
        with pytest.raises(ReactorError, match="no such file"):
            await sessions.acquire("broken")
        assert rule.hits == 1
        assert await rig.engine.containers() == set()
        session = await sessions.acquire("broken", ttl=timedelta(minutes=1))
        assert await rig.runs(session)
