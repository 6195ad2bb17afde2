"""A host that is renamed: its sessions go on under the new name, none is unwatched, none is owned twice."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest

from reactor import Reactor, SessionManager, Settings
from reactor.crew import open_crew
from reactor.errors import ConfigError, Unavailable
from reactor.registry import Evidence, Naming, RedisLink, Terms, naming
from reactor.registry.scripts import Script
from reactor.rename import bind
from reactor.session import Deployment, HostName, SessionId, State
from tests.fakes.runtime import FakeRuntime
from tests.protocol.actor import S1, HookedLink
from tests.protocol.scene import Scene
from tests.waiting import wait_until

OLD, NEW = HostName("old"), HostName("new")
S2, S3 = SessionId("s-2"), SessionId("s-3")
MANY = [SessionId(f"m-{n}") for n in range(12)]
OnHost = Callable[[str], Settings]


@pytest.fixture
def engine() -> FakeRuntime:
    """The one engine that bears both names."""
    return FakeRuntime(host="machine")


async def _sessions(settings: Settings, engine: FakeRuntime, *ids: str) -> None:
    async with SessionManager(settings, runtime=engine) as sessions:
        for session_id in ids:
            await sessions.acquire(session_id)


async def test_a_renamed_hosts_sessions_go_on_under_its_new_name(
    scene: Scene, on_host: OnHost, engine: FakeRuntime
) -> None:
    """The same containers, the same heartbeats; records, index and set of hosts name the new one alone."""
    await _sessions(on_host("old"), engine, "s-1", "s-2", "s-3")
    containers = set(engine.held)
    deadlines = {i: scene.redis.pexpiretime(scene.keys.heartbeat(i)) for i in (S1, S2)}
    scene.end_by_hand(S3)

    async with Reactor(on_host("new"), runtime=engine):
        await wait_until(lambda: scene.state(S3) == State.ENDED, what="what ended meanwhile is removed")
        for session_id, deadline in deadlines.items():
            assert scene.record(session_id)["host"] == "new"
            assert scene.score(session_id, NEW) == deadline + 1
            assert scene.redis.pexpiretime(scene.keys.heartbeat(session_id)) == deadline
        await scene.run_out(S2)
        await wait_until(lambda: scene.state(S2) == State.ENDED, what="the new name's reactor keeps its deadlines")
    assert len(engine.held) == 1
    assert set(engine.held) < containers
    assert scene.redis.smembers(scene.keys.hosts) == {NEW}
    assert scene.redis.keys("mcp:host:old:*") == ["mcp:host:old:engine"]
    assert [entry["reason"] for entry in scene.events("repaired")] == ["renamed from old"]


async def test_a_rename_back_takes_everything_back(scene: Scene, on_host: OnHost, engine: FakeRuntime) -> None:
    """With sessions of both names, and with none."""
    await _sessions(on_host("old"), engine, "s-1")
    await _sessions(on_host("new"), engine, "s-2")
    await _sessions(on_host("old"), engine, "s-3")

    assert {scene.record(i)["host"] for i in (S1, S2, S3)} == {"old"}
    assert scene.redis.smembers(scene.keys.hosts) == {OLD}
    assert len(engine.running()) == 3
    async with Reactor(on_host("old"), runtime=engine), SessionManager(on_host("old"), runtime=engine) as sessions:
        for session_id in ("s-1", "s-2", "s-3"):
            await sessions.terminate(session_id)
    async with open_crew(on_host("new"), runtime=engine), open_crew(on_host("new"), runtime=engine):
        assert engine.held == {}


@pytest.mark.parametrize("by", ["a reactor", "an application"])
async def test_while_a_reactor_runs_under_the_old_name_the_new_one_is_refused(
    scene: Scene, on_host: OnHost, engine: FakeRuntime, by: str
) -> None:
    """Exit 78, and what to do; the sessions stay with the reactor that watches them."""
    starting = Reactor if by == "a reactor" else SessionManager
    async with Reactor(on_host("old"), runtime=engine):
        await _sessions(on_host("old"), engine, "s-1")
        with pytest.raises(ConfigError, match="set REACTOR_HOST=old, or stop that reactor first") as refused:
            async with starting(on_host("new"), runtime=engine):
                pass
        assert refused.value.exit_code == 78
        assert scene.record()["host"] == "old"
        await scene.run_out()
        await wait_until(lambda: not engine.held, what="the old name's reactor goes on")


async def test_a_reactor_that_was_just_killed_is_waited_for(scene: Scene, on_host: OnHost, engine: FakeRuntime) -> None:
    """Its last word still holds for seconds: a restart under the new name is not refused for that."""
    await _sessions(on_host("old"), engine, "s-1")
    scene.redis.hset(scene.keys.seen(OLD), "present_until", scene.now_ms() + 1500)

    async with open_crew(on_host("new"), runtime=engine):
        assert scene.record()["host"] == "new"


async def test_who_still_goes_by_the_old_name_is_told_the_new_one(
    scene: Scene, on_host: OnHost, engine: FakeRuntime
) -> None:
    """An application that was not restarted: 78 at its next acquire, before it could make a session nobody watches."""
    async with SessionManager(on_host("old"), runtime=engine) as late:
        await late.acquire("s-1")
        async with open_crew(on_host("new"), runtime=engine):
            for session_id in ("s-1", "s-2"):
                with pytest.raises(ConfigError, match="set REACTOR_HOST=new and start again") as refused:
                    await late.acquire(session_id)
                assert refused.value.exit_code == 78
        assert scene.record(S2) == {}
    assert scene.redis.keys("mcp:host:old:*") == ["mcp:host:old:engine"]


async def test_a_reactor_that_was_stopped_over_the_renaming_ends_by_itself(
    scene: Scene, on_host: OnHost, engine: FakeRuntime
) -> None:
    """P3: it was frozen for so long that its word had passed; awake, it touches nothing and says why."""

    async def overtaken() -> None:
        async with Reactor(on_host("old"), runtime=engine):
            await _sessions(on_host("old"), engine, "s-1")
            scene.redis.hset(scene.keys.seen(OLD), "present_until", 0)
            async with open_crew(on_host("new"), runtime=engine):
                await wait_until(lambda: False, 60, what="the old name's reactor ends")

    with pytest.raises(ExceptionGroup) as ended:
        await overtaken()
    assert ended.group_contains(ConfigError, match="set REACTOR_HOST=new")
    assert len(engine.running()) == 1
    assert (scene.record()["host"], scene.beat()) == ("new", 1)


async def test_copies_of_one_machine_share_an_engine_id_and_nothing_else(scene: Scene, on_host: OnHost) -> None:
    """No container here carries a token of the other's records: both names stand, whether the other is there or not."""
    original, copy = FakeRuntime(host="machine"), FakeRuntime(host="machine")
    await _sessions(on_host("old"), original, "s-1")
    await _sessions(on_host("new"), copy, "s-2")

    assert (scene.record(S1)["host"], scene.record(S2)["host"]) == ("old", "new")
    async with Reactor(on_host("old"), runtime=original), Reactor(on_host("new"), runtime=copy):
        assert (len(original.running()), len(copy.running())) == (1, 1)
        assert scene.beat(S1) == scene.beat(S2) == 1


async def test_a_name_that_was_left_may_be_taken_by_another_engine(
    scene: Scene, on_host: OnHost, engine: FakeRuntime
) -> None:
    """A new machine gets the old one's name; the sessions stay where their containers are."""
    await _sessions(on_host("old"), engine, "s-1")
    async with open_crew(on_host("new"), runtime=engine):
        pass
    other = FakeRuntime(host="another")
    await _sessions(on_host("old"), other, "s-2")

    assert (scene.record(S1)["host"], scene.record(S2)["host"]) == ("new", "old")
    with pytest.raises(ConfigError, match="belongs to engine fake-another"):
        async with open_crew(on_host("old"), runtime=engine):
            pass
    await _sessions(on_host("new"), engine, "s-3")
    assert scene.record(S1)["host"] == "new"


async def test_r1_a_restart_of_redis_before_the_renaming_is_a_quarantine_after_it(
    scene: Scene, on_host: OnHost, engine: FakeRuntime
) -> None:
    """What the old name last saw of Redis passes on: a key that went in between is set again, for one grace."""
    await _sessions(on_host("old"), engine, "s-1")
    scene.redis.hset(scene.keys.seen(OLD), "run_id", "before")
    scene.end_by_hand()

    async with Reactor(on_host("new"), runtime=engine):
        await wait_until(scene.has_key, what="the missing key proves nothing")
    assert scene.record()["graces"] == "1"
    assert len(engine.running()) == 1


async def test_r1_a_quarantine_of_the_old_name_goes_on_under_the_new_one(
    scene: Scene, on_host: OnHost, engine: FakeRuntime
) -> None:
    """It was written down before the renaming, and its sessions have not had their grace yet."""
    await _sessions(on_host("old"), engine, "s-1")
    scene.redis.hset(scene.keys.seen(OLD), mapping={"quarantine": "run:x", "quarantine_at": scene.now_ms()})
    scene.end_by_hand()

    async with Reactor(on_host("new"), runtime=engine):
        await wait_until(scene.has_key, what="the quarantine holds")
    assert scene.record()["graced"] == "run:x"


@pytest.mark.parametrize("steps", range(7))
async def test_p1_an_interrupted_renaming_is_finished_by_the_next_start(
    scene: Scene, on_host: OnHost, engine: FakeRuntime, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after each of its steps: each session is in exactly one index, its record's own; then all have moved."""
    monkeypatch.setattr(naming, "BATCH", 5)
    await _sessions(on_host("old"), engine, *MANY)
    scene.redis.zrem(scene.keys.due(OLD), MANY[3])
    link = HookedLink(scene.server.url)
    script = Script.RENAME_HOST if steps == 0 else Script.REHOST
    left = [steps]

    async def cut_off() -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise ConfigError("cut off")
        link.after(Script.REHOST, cut_off)

    link.after(script, cut_off)
    evidence = Evidence(link, scene.keys, NEW, Deployment("test"))
    names = Naming(link, scene.keys, evidence, host=NEW, runtime="fake", terms=Terms())
    await evidence.witness()
    finished = True
    try:
        await bind(names, evidence, engine, engine.identity)
    except ConfigError:
        finished = False
    finally:
        await link.aclose()

    if not finished:
        for session_id in MANY:
            host = scene.record(session_id)["host"]
            other = NEW if host == OLD else OLD
            assert scene.score(session_id, other) is None
            assert scene.score(session_id, HostName(host)) is not None or session_id == MANY[3]
    async with open_crew(on_host("new"), runtime=engine):
        assert {scene.record(i)["host"] for i in MANY} == {"new"}
        assert scene.redis.zcard(scene.keys.due(NEW)) == 12
    assert scene.redis.smembers(scene.keys.hosts) == {NEW}
    assert len(engine.running()) == 12
    assert len(scene.events("repaired")) == 1


@pytest.mark.parametrize("script", [Script.RENAME_HOST, Script.REHOST])
async def test_r20_a_lost_answer_to_a_renaming_is_asked_for_again(
    scene: Scene, on_host: OnHost, engine: FakeRuntime, script: Script
) -> None:
    """It had its effect; everything moves once."""
    await _sessions(on_host("old"), engine, "s-1", "s-2")

    def losing(*how: Any) -> HookedLink:
        link = HookedLink(*how)
        link.lose(script)
        return link

    with patch("reactor.crew.RedisLink", losing):
        async with open_crew(on_host("new"), runtime=engine):
            assert {scene.record(i)["host"] for i in (S1, S2)} == {"new"}
    assert scene.redis.zcard(scene.keys.due(NEW)) == 2
    assert len(scene.events("repaired")) == 1


async def test_p3_a_spawn_under_way_under_the_old_name_is_not_handed_out(
    scene: Scene, on_host: OnHost, engine: FakeRuntime
) -> None:
    """Its application was not restarted: the fence says that the record is another host's, and it starts nothing."""
    await _sessions(on_host("old"), engine, "s-2")
    slow = await scene.actor(host="old", engine=engine)
    await slow.registry.evidence.bind_engine(engine.identity.engine_id, engine.identity.root)

    async def renamed() -> None:
        async with open_crew(on_host("new"), runtime=engine):
            pass

    slow.runtime.hook("create", renamed, after_effect=True)
    with pytest.raises(ConfigError, match="set REACTOR_HOST=new"):
        await slow.acquire()

    assert (engine.started[S1], engine.running(S1)) == (0, [])
    assert scene.record()["host"] == "new"
    scene.pass_lease()
    async with SessionManager(on_host("new"), runtime=engine) as sessions:
        session = await sessions.acquire("s-1")
    assert [c.container_id for c in engine.running(S1)] == [session.container_id]


async def test_a_redis_that_goes_away_in_the_middle_is_said(scene: Scene, on_host: OnHost, engine: FakeRuntime) -> None:
    """69; nothing was half done that the next start would not finish."""
    await _sessions(on_host("old"), engine, "s-1")

    class Failing(RedisLink):
        async def run(self, name: Script, keys: Any, args: Any) -> Any:
            if name is Script.REHOST:
                raise Unavailable("gone")
            return await super().run(name, keys, args)

    with patch("reactor.crew.RedisLink", Failing), pytest.raises(Unavailable):
        async with open_crew(replace(on_host("new"), acquire_timeout=timedelta(seconds=1)), runtime=engine):
            pass
    async with open_crew(on_host("new"), runtime=engine):
        assert (scene.record()["host"], scene.beat()) == ("new", 1)
