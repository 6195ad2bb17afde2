"""Two hosts with one Redis (P5): each tears down its own sessions, and the other's word is not taken for its own."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from reactor import Reactor, SessionManager, Settings
from reactor.crew import open_crew
from reactor.errors import AcquireTimeout, ConfigError
from reactor.plan import Action, Kind
from reactor.registry.verdicts import Foreign, Gone
from reactor.session import ContainerId, HostName, SessionId, State, Token
from reactor.teardown import Ended
from tests.fakes.runtime import FakeRuntime
from tests.protocol.actor import S1, Actor
from tests.protocol.scene import Scene
from tests.waiting import wait_until

H1, H2 = HostName("h1"), HostName("h2")
S2 = SessionId("s-2")
OnHost = Callable[[str], Settings]


@pytest.fixture
async def pair(scene: Scene) -> tuple[Actor, Actor]:
    """A process on each of two hosts."""
    here, there = FakeRuntime(host="h1"), FakeRuntime(host="h2")
    return await scene.actor(host=H1, engine=here), await scene.actor(host=H2, engine=there)


async def test_p5_an_id_that_ends_on_one_host_starts_on_the_other(scene: Scene, pair: tuple[Actor, Actor]) -> None:
    """One container cluster-wide; what the first host's index still says of the id is dropped, and nothing else."""
    first, second = pair
    old = await first.acquire()
    await first.terminate()
    new = await second.acquire()
    scene.redis.zadd(scene.keys.due(H1), {S1: 0})
    before = scene.record()

    assert await first.registry.look([S1]) == {S1: Foreign(H2)}
    assert scene.score(S1, H1) is None
    assert scene.record() == before
    assert scene.score(S1, H2) is not None
    assert (new.host, new.generation > old.generation) == ("h2", True)
    assert (first.runtime.running(), len(second.runtime.running())) == ([], 1)


async def test_p5_a_teardown_from_the_wrong_side_touches_nothing(scene: Scene, pair: tuple[Actor, Actor]) -> None:
    """Whatever the first host hears of an expired session of the other, it is not its own to end."""
    first, second = pair
    await second.acquire()
    await scene.run_out()
    before = scene.record()

    assert await first.tear_down() == Foreign(H2)
    assert scene.record() == before
    assert len(second.runtime.running()) == 1
    assert isinstance(await second.tear_down(), Ended)


async def test_p5_each_reconcile_repairs_its_own_host(scene: Scene, pair: tuple[Actor, Actor]) -> None:
    """Both containers were removed by hand: each side ends its own session, and sees nothing wrong with the other."""
    first, second = pair
    mine, theirs = await first.acquire(S1), await second.acquire(S2)
    assert await first.reconcile() == await second.reconcile() == []
    first.runtime.vanish(ContainerId(mine.container_id or ""))
    second.runtime.vanish(ContainerId(theirs.container_id or ""))

    for actor, session_id, other in ((first, S1, S2), (second, S2, S1)):
        state = scene.state(other)
        outcomes = [(line.session_id, line.kind, outcome) for line, outcome in await actor.reconcile()]
        assert outcomes == [(session_id, Kind.LOST, "done")]
        assert scene.state(other) == state
    assert scene.state(S1) == scene.state(S2) == State.ENDED


async def test_p5_what_an_ended_generation_left_on_the_first_host_goes_there(
    scene: Scene, pair: tuple[Actor, Actor]
) -> None:
    """Its spawner died and its create came late; the session lives on the second host, and stays there."""
    first, second = pair
    dead = await first.reserved(Token("dead"))
    scene.pass_lease()
    await first.tear_down()
    session = await second.acquire()
    late = await first.create(Token("dead"), dead)

    assert await second.reconcile() == []
    assert [(line.container_id, line.kind, outcome) for line, outcome in await first.reconcile()] == [
        (late, Kind.STALE_GENERATION, "done")
    ]
    assert first.runtime.held == {}
    assert [c.container_id for c in second.runtime.running()] == [session.container_id]


async def test_p5_a_terminate_from_the_wrong_side_is_done_by_the_owner(scene: Scene, on_host: OnHost) -> None:
    """It is marked, the owner's reactor acts, and the call returns when the container is gone."""
    here, there = FakeRuntime(host="h1"), FakeRuntime(host="h2")
    async with (
        Reactor(on_host("h2"), runtime=there),
        SessionManager(on_host("h2"), runtime=there) as owner,
        SessionManager(on_host("h1"), runtime=here) as other,
    ):
        await owner.acquire("s-1")
        await other.terminate("s-1")
        assert there.held == {}
        await other.acquire("s-2")
        with pytest.raises(AcquireTimeout):  # h1 has no reactor: it is the owner that nobody hears from
            await owner.terminate("s-2")
    (ended,) = scene.events("ended")
    assert (ended["reason"], ended["host"]) == ("terminated", "h2")


async def test_p9_an_end_asked_of_an_absent_host_is_done_when_it_is_back(scene: Scene, on_host: OnHost) -> None:
    """The caller hears 75 and that host's name; the wish stays in the record."""
    here, there = FakeRuntime(host="h1"), FakeRuntime(host="h2")
    async with SessionManager(on_host("h2"), runtime=there) as owner:
        await owner.acquire("s-1")
    hasty = replace(on_host("h1"), acquire_timeout=timedelta(milliseconds=400))
    async with SessionManager(hasty, runtime=here) as other:
        with pytest.raises(AcquireTimeout, match=r"its host h2 does not answer.*reactor forget-host h2") as late:
            await other.terminate("s-1")
        assert late.value.exit_code == 75
        assert len(there.running()) == 1
        async with Reactor(on_host("h2"), runtime=there):
            await wait_until(lambda: not there.held, what="the owner is back and ends it")
    assert scene.record()["reason"] == "terminated"


async def test_p9_a_session_of_an_absent_host_is_not_handed_out(on_host: OnHost) -> None:
    """Nobody can say whether its container runs: 75, with what to do; once its reactor watches, it is handed out."""
    here, there = FakeRuntime(host="h1"), FakeRuntime(host="h2")
    async with (
        SessionManager(on_host("h2"), runtime=there) as owner,
        SessionManager(on_host("h1"), runtime=here) as other,
    ):
        first = await owner.acquire("s-1")
        with pytest.raises(AcquireTimeout, match=r"running on host h2, which does not answer.*forget-host h2") as late:
            await other.acquire("s-1")
        assert late.value.exit_code == 75
        assert here.created[S1] == 0

        async with Reactor(on_host("h2"), runtime=there):
            again = await other.acquire("s-1")
        assert (again.container_id, again.host, again.created) == (first.container_id, "h2", False)


async def test_p5_two_engines_under_one_host_name_are_refused(scene: Scene, on_host: OnHost) -> None:
    """Exit 78 with the fix, also when a data loss took the binding away: whoever runs binds it again."""
    first, second = FakeRuntime(host="one"), FakeRuntime(host="two")
    async with SessionManager(on_host("web"), runtime=first) as sessions:
        session = await sessions.acquire("s-1")
        with pytest.raises(ConfigError, match="belongs to engine fake-one") as refused:
            async with open_crew(on_host("web"), runtime=second):
                pass
        assert refused.value.exit_code == 78

        scene.flush()
        assert (await sessions.acquire("s-1")).container_id == session.container_id
        with pytest.raises(ConfigError, match=r"another REACTOR_HOST, or `reactor forget-host web`"):
            async with open_crew(on_host("web"), runtime=second):
                pass
    assert second.held == {}


async def test_p5_whoever_comes_second_after_a_data_loss_is_refused_while_it_runs(
    scene: Scene, on_host: OnHost
) -> None:
    """The binding is gone and another engine took the name first: the next call of the first one says so."""
    first, second = FakeRuntime(host="one"), FakeRuntime(host="two")
    async with SessionManager(on_host("web"), runtime=first) as sessions:
        await sessions.acquire("s-1")
        scene.flush()
        async with open_crew(on_host("web"), runtime=second):
            for session_id in ("s-2", "s-1"):
                with pytest.raises(ConfigError, match="belongs to engine fake-two"):
                    await sessions.acquire(session_id)
    assert (first.created[S1], first.created[S2], second.created[S1]) == (1, 0, 0)
    assert len(first.running()) == 1


async def test_s2_two_hosts_that_want_one_id_at_once_get_one_container(scene: Scene, pair: tuple[Actor, Actor]) -> None:
    """The name mutex is one engine's; across engines the record is."""
    for actor in pair:
        await actor.registry.evidence.watch(watched_ms=60_000, ahead_ms=0)
    found: list[str | None] = []

    async def acquire(actor: Actor) -> None:
        found.append((await actor.acquire()).container_id)

    async with anyio.create_task_group() as tasks:
        for actor in (*pair, *pair, *pair):
            tasks.start_soon(acquire, actor)

    assert len(set(found)) == 1
    assert sum(len(actor.runtime.held) for actor in pair) == 1
    assert len(scene.events("started")) == 1


async def test_p5_a_look_at_nothing_leaves_the_other_hosts_index_alone(scene: Scene, pair: tuple[Actor, Actor]) -> None:
    """A tombstone is gone for both; only the asker's own entry goes."""
    first, second = pair
    await second.acquire()
    await second.terminate()
    for host in (H1, H2):
        scene.redis.zadd(scene.keys.due(host), {S1: 0})

    assert await first.registry.look([S1]) == {S1: Gone()}
    assert (scene.score(S1, H1), scene.score(S1, H2)) == (None, 0)
    assert [(line.action, line.kind) for line in await second.janitor.plan()] == []
    assert Action.REMOVE not in {line.action for line in await first.janitor.plan()}
