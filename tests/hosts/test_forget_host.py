"""P9, a host that never returns: its ids answer 75 until it is forgotten, and then they are free.

If it returns all the same, no session runs twice.
"""

from collections.abc import Callable
from datetime import timedelta

import anyio
import pytest

from reactor import Settings
from reactor.errors import ConfigError, ForeignData, Unavailable, UsageError
from reactor.forget import forget_host
from reactor.keys import Keys
from reactor.plan import Action, Kind
from reactor.registry import HostNotFound, HostPresent, Hosts, Superseded, hosts
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Mode, Spawn
from reactor.session import Deployment, Generation, HostName, SessionId, State, Token
from tests.fakes.runtime import FakeRuntime
from tests.protocol.actor import S1, Actor, HookedLink
from tests.protocol.scene import Scene

GONE, HERE = HostName("gone"), HostName("here")
S2, S3 = SessionId("s-2"), SessionId("s-3")
A, B = Token("a"), Token("b")
MANY = [SessionId(f"m-{n}") for n in range(25)]
OnHost = Callable[[str], Settings]


@pytest.fixture
async def lost(scene: Scene) -> Actor:
    """A process of the host that goes away."""
    return await scene.actor(host=GONE, engine=FakeRuntime(host=GONE), limit=timedelta(0))


@pytest.fixture
async def here(scene: Scene) -> Actor:
    """A process of a host that stays."""
    return await scene.actor(host=HERE, engine=FakeRuntime(host=HERE), limit=timedelta(0))


async def _forget(scene: Scene, *, force: bool = False, link: HookedLink | None = None) -> int:
    async with Hosts(link or HookedLink(scene.server.url), Keys("mcp")) as known:
        return await known.forget(GONE, force=force)


@pytest.mark.parametrize("state", ["starting", "running", "running, expired", "asked to end", "ending", "not indexed"])
async def test_p9_a_forgotten_hosts_session_is_free_whatever_its_state(
    scene: Scene, lost: Actor, here: Actor, state: str
) -> None:
    """Its record is a tombstone with its end in the audit stream; the client hears 0, and its acquire is served."""
    if state == "starting":
        await lost.reserved(A)
    else:
        await lost.acquire()
    match state:
        case "running, expired":
            await scene.run_out()
        case "asked to end":
            generation = Generation(int(scene.record()["generation"]))
            assert await here.registry.request_end(S1, GONE, generation)
        case "ending":
            await lost.claimed(B, mode=Mode.END)
        case "not indexed":
            scene.redis.zrem(scene.keys.due(GONE), S1)
        case _:
            pass

    assert await _forget(scene) == 1

    (ended,) = scene.events("ended")
    assert (ended["session_id"], ended["host"], ended["reason"], ended["detector"]) == (
        "s-1", "gone", "terminated", "manual",
    )  # fmt: skip
    assert (scene.state(), scene.has_key(), scene.beat()) == (State.ENDED, False, 0)
    assert scene.redis.smembers(scene.keys.hosts) == set()
    assert scene.redis.keys("mcp:host:gone:*") == []
    session = await here.acquire(limit=3)
    assert (session.host, session.created) == ("here", True)


async def test_p9_other_hosts_and_tombstones_are_left_as_they_are(scene: Scene, lost: Actor, here: Actor) -> None:
    """Only live records of that very host end."""
    await lost.acquire(S1)
    await lost.acquire(S2)
    await lost.terminate(S2)
    await here.acquire(S3)
    scene.redis.zadd(scene.keys.due(GONE), {S3: 0})
    before = scene.record(S2), scene.record(S3), scene.redis.ttl(scene.keys.record(S2))

    assert await _forget(scene) == 1

    assert (scene.record(S2), scene.record(S3), scene.redis.ttl(scene.keys.record(S2))) == before
    assert (scene.beat(S3), scene.score(S3, HERE) is not None) == (1, True)
    assert scene.redis.smembers(scene.keys.hosts) == {HERE}


async def test_r26_a_word_from_before_the_clock_was_set_back_holds_nobody_up(
    scene: Scene, lost: Actor, here: Actor
) -> None:
    """It seems to hold for an hour; no reactor gives one for longer than some seconds."""
    await lost.acquire()
    ahead = scene.now_ms() + 3_600_000
    scene.redis.hset(scene.keys.seen(GONE), mapping={"present_until": ahead, "watched_until": ahead})

    assert not await here.registry.is_watched(GONE)
    assert await _forget(scene) == 1


async def test_p9_a_host_whose_reactor_runs_is_refused_unless_forced(scene: Scene, lost: Actor) -> None:
    """75: once its reactor is stopped, trying again is right. Nothing was changed."""
    await lost.acquire()
    await lost.registry.evidence.watch(watched_ms=60_000, ahead_ms=0)
    before = scene.record()

    with pytest.raises(HostPresent, match="a reactor runs on host gone") as refused:
        await _forget(scene)
    assert refused.value.exit_code == 75
    assert scene.record() == before

    assert await _forget(scene, force=True) == 1


async def test_p9_an_unknown_host_is_a_no(scene: Scene) -> None:
    """Exit 1, before and after; a host that is only bound is known."""
    with pytest.raises(HostNotFound, match="no host 'gone'") as refused:
        await _forget(scene)
    assert refused.value.exit_code == 1
    lost = scene.stranger(host=GONE)
    await lost.registry.evidence.witness()
    await lost.registry.evidence.bind_engine("E", "/")
    assert await _forget(scene) == 0
    with pytest.raises(HostNotFound):
        await _forget(scene)


async def test_p9_an_interrupted_forgetting_is_repeated_to_its_end(
    scene: Scene, lost: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after each of its steps, and once with a lost answer: each session ends once."""
    monkeypatch.setattr(hosts, "BATCH", 5)
    for session_id in MANY:
        await lost.acquire(session_id)
    freed = 0
    for _ in range(7):
        link = HookedLink(scene.server.url)

        async def cut_off() -> None:
            raise ForeignData("cut off")

        link.after(Script.FORGET, cut_off)
        with pytest.raises(ForeignData, match="cut off"):
            await _forget(scene, link=link)
        freed += 5
        assert len(scene.events("ended")) == min(freed, 25)
        if not scene.redis.exists(scene.keys.engine(GONE), scene.keys.seen(GONE)):
            break
    with pytest.raises(HostNotFound):
        await _forget(scene)
    assert {entry["session_id"] for entry in scene.events("ended")} == set(MANY)
    assert len(scene.events("ended")) == 25


async def test_r20_a_lost_answer_to_a_forgetting_is_asked_for_again(scene: Scene, lost: Actor) -> None:
    """It had its effect; nothing ends twice."""
    await lost.acquire()
    link = HookedLink(scene.server.url)
    link.lose(Script.FORGET)

    await _forget(scene, link=link)

    assert len(scene.events("ended")) == 1
    assert scene.redis.keys("mcp:host:gone:*") == []


async def test_p9_a_host_that_returns_in_the_middle_is_left_to_itself(
    scene: Scene, lost: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reactor says so between two steps: the rest of its sessions live on."""
    monkeypatch.setattr(hosts, "BATCH", 5)
    for session_id in MANY:
        await lost.acquire(session_id)
    link = HookedLink(scene.server.url)
    link.after(Script.FORGET, lambda: lost.registry.evidence.watch(watched_ms=60_000, ahead_ms=0))

    with pytest.raises(HostPresent):
        await _forget(scene, link=link)

    assert len(scene.events("ended")) == 5
    assert scene.redis.zcard(scene.keys.due(GONE)) == 20
    outcomes = await lost.reconcile()
    assert {(line.action, line.kind, outcome) for line, outcome in outcomes} == {
        (Action.REMOVE, Kind.STALE_GENERATION, "done")
    }
    assert len(lost.runtime.running()) == 20


async def test_p9_what_this_version_cannot_read_is_left_and_said(scene: Scene, lost: Actor) -> None:
    """The others are freed, and what is known of the host stays for the version that can."""
    await lost.acquire(S1)
    await lost.acquire(S2)
    scene.redis.hset(scene.keys.record(S2), "schema", "99")
    before = scene.record(S2)

    with pytest.raises(ForeignData, match="1 sessions of host gone were freed; left alone: s-2"):
        await _forget(scene)

    assert (scene.state(S1), scene.record(S2)) == (State.ENDED, before)
    assert scene.score(S2, GONE) is not None
    assert scene.redis.smembers(scene.keys.hosts) == {GONE}


async def test_p9_a_spawn_under_way_on_the_forgotten_host_is_undone_by_its_spawner(scene: Scene, lost: Actor) -> None:
    """It was not dead, only slow: its fence says that the record is not its own any more."""
    reserved = await lost.reserved(A)
    await lost.create(A, reserved)
    await _forget(scene, force=True)

    with pytest.raises(Superseded):
        await lost.registry.renew(S1, A, reserved.db)
    assert isinstance(await lost.reserve(B), Spawn)


async def test_p9_a_host_that_goes_on_starting_sessions_is_not_gone(scene: Scene, lost: Actor) -> None:
    """No reactor watches it, but somebody acquires there all the time: 75, and its keys stay."""
    await lost.acquire()
    link = HookedLink(scene.server.url)

    async def another() -> None:
        link.before(Script.FORGET, another)
        await lost.reserve(Token(f"t{scene.redis.incr('n')}"), SessionId(f"n-{scene.redis.get('n')}"))

    await another()
    with pytest.raises(HostPresent, match="sessions are started there all the time"):
        await _forget(scene, link=link)
    assert scene.redis.exists(scene.keys.due(GONE))
    scene.redis.delete("n")


async def test_nobody_forgets_the_host_that_they_stand_on(scene: Scene, on_host: OnHost) -> None:
    """Exit 64: its sessions can be ended in order."""
    with pytest.raises(UsageError, match="gone is this very host"):
        await forget_host(on_host("gone"), GONE, force=True)
    assert scene.redis.keys() == []


async def test_another_deployments_hosts_are_not_forgotten(scene: Scene, lost: Actor, on_host: OnHost) -> None:
    """The prefix belongs to somebody else: exit 78, before anything is read of the host."""
    await lost.acquire()
    scene.redis.hset(scene.keys.meta, "deployment", "theirs")

    with pytest.raises(ConfigError, match="belongs to deployment 'theirs', not 'test'"):
        await forget_host(on_host("here"), GONE)
    assert scene.state() == State.RUNNING


async def test_a_person_is_asked_with_the_number_and_may_say_no(scene: Scene, lost: Actor, on_host: OnHost) -> None:
    """Nothing is changed then."""
    await lost.acquire(S1)
    await lost.acquire(S2)
    asked: list[int] = []

    def no(count: int) -> bool:
        asked.append(count)
        return False

    assert await forget_host(on_host("here"), GONE, agreed=no) is None
    assert (asked, scene.state(S1), scene.state(S2)) == ([2], State.RUNNING, State.RUNNING)
    assert await forget_host(on_host("here"), GONE, agreed=lambda _: True) == 2


async def test_an_unreachable_redis_is_said(scene: Scene, on_host: OnHost) -> None:
    """Nothing else is needed, and nothing else is tried."""
    scene.server.stop()
    with anyio.fail_after(30), pytest.raises(Unavailable, match="cannot reach Redis"):
        await forget_host(on_host("here"), GONE)
    scene.server.start()
    assert Deployment("test") == on_host("here").deployment
