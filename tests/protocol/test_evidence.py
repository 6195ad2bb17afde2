"""What a host knows of its Redis: what a missing key proves, and what it does not after a restart or a data loss."""

from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
import pytest

from reactor.errors import ConfigError, Unavailable
from reactor.plan import Action, Kind
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Alive, Claimed, Foreign, Grace, Live, Mode
from reactor.session import HostName, SessionId, Token
from reactor.teardown import Ended
from tests.protocol.actor import HOST, S1
from tests.protocol.scene import Scene
from tests.services.redis import private_redis

A, B = Token("a"), Token("b")
S2 = SessionId("s-2")


@pytest.fixture
async def lasting() -> AsyncIterator[Scene]:
    """A stage on a Redis of its own that keeps its data over a restart."""
    with private_redis(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        async with Scene(server) as stage:
            yield stage


def _quarantine(scene: Scene, host: HostName = HOST) -> str | None:
    return scene.redis.hget(scene.keys.seen(host), "quarantine")


def _db(scene: Scene) -> str | None:
    return scene.redis.hget(scene.keys.meta, "db")


async def test_a_first_look_at_an_empty_redis_binds_it(scene: Scene) -> None:
    """Database id, deployment and layout are written once, and nothing is in doubt."""
    one = await scene.actor()
    meta = scene.redis.hgetall(scene.keys.meta)
    other = await scene.actor()

    assert (set(meta), meta["deployment"]) == ({"db", "deployment", "layout"}, "test")
    assert scene.redis.hgetall(scene.keys.meta) == meta
    assert one.registry.evidence.db == other.registry.evidence.db == meta["db"]
    assert _quarantine(scene) is None


async def test_a_redis_that_was_well_all_along_proves_an_end(scene: Scene) -> None:
    """Our own absence alone proves nothing: a new reactor acts at once."""
    await (await scene.actor()).spawn()
    await scene.run_out()

    newcomer = await scene.actor()

    assert isinstance(await newcomer.examine(Mode.CLAIM, A), Claimed)


async def test_after_a_restart_the_database_id_is_replaced_once_and_each_session_gets_one_grace(
    lasting: Scene,
) -> None:
    """A restart may have come back with older data, which would keep the id."""
    scene = lasting
    one, other = await scene.actor(), await scene.actor()
    await one.spawn()
    before = _db(scene)
    await scene.run_out()
    scene.server.restart()

    graced = await one.examine(Mode.CLAIM, A)
    after = _db(scene)

    assert isinstance(graced, Grace)
    assert scene.beat() == 1
    assert after != before
    assert (_quarantine(scene) or "").startswith("run:")
    assert isinstance(await other.examine(Mode.CLAIM, B), Alive)
    assert _db(scene) == after, "the second to see it takes the first one's id"
    await scene.run_out()
    assert isinstance(await other.examine(Mode.CLAIM, B), Claimed)


async def test_a_session_that_was_kept_over_a_restart_goes_on(lasting: Scene) -> None:
    """Record, key and container are there; its label names the database before, and nobody minds."""
    scene = lasting
    actor = await scene.actor()
    session = await actor.acquire()
    scene.server.restart()

    assert scene.beat() == 1
    assert await actor.reconcile() == []
    assert isinstance(await actor.reserve(A), Live)
    scene.end_by_hand()
    assert isinstance(await actor.tear_down(), Grace)
    scene.end_by_hand()
    assert isinstance(await actor.tear_down(), Ended)
    assert session.container_id not in scene.engine.held


async def test_no_command_runs_on_a_restarted_redis_before_it_was_looked_at(lasting: Scene) -> None:
    """R1, R28: what it holds may be older than what it had said; a session that it still shows as live too."""
    scene = lasting
    actor = await scene.actor()
    await actor.acquire()
    before = _db(scene)
    scene.server.restart()

    assert isinstance(await actor.reserve(A), Live)
    assert _db(scene) != before
    assert _quarantine(scene) == f"run:{actor.link.run_id}"


async def test_a_quarantine_is_resumed_by_the_next_process(lasting: Scene) -> None:
    """It was written together with what led to it, so a kill in between parts nothing."""
    scene = lasting
    actor = await scene.actor()
    await actor.spawn()
    await scene.run_out()
    scene.server.restart()
    await actor.registry.evidence.witness()

    newcomer = await scene.actor()

    assert isinstance(await newcomer.examine(Mode.CLAIM, A), Grace)


async def test_two_hosts_see_a_restart_each_for_itself(lasting: Scene) -> None:
    """One database id for both, a quarantine for each."""
    scene = lasting
    here, there = await scene.actor(), await scene.actor(host="h2")
    await here.spawn()
    await there.spawn(S2)
    await scene.run_out(S1)
    await scene.run_out(S2)
    scene.server.restart()

    assert isinstance(await here.examine(Mode.CLAIM, A), Grace)
    after = _db(scene)
    assert isinstance(await there.examine(Mode.CLAIM, A, S2), Grace)
    assert _db(scene) == after
    assert here.registry.evidence.db == there.registry.evidence.db == after


async def test_an_explicit_end_is_not_delayed_by_a_quarantine(lasting: Scene) -> None:
    """Whoever says `terminate` knows."""
    scene = lasting
    actor = await scene.actor()
    await actor.spawn()
    scene.server.restart()

    assert isinstance(await actor.terminate(), Ended)


@pytest.mark.parametrize("loss", ["everything", "the database id"])
async def test_a_lost_database_id_is_made_anew_and_doubted(scene: Scene, loss: str) -> None:
    """FLUSHALL, or a DEL of one key: no missing heartbeat proves anything now."""
    actor = await scene.actor()
    await actor.spawn()
    before = _db(scene)
    if loss == "everything":
        scene.flush()
    else:
        scene.end_by_hand()
        scene.redis.delete(scene.keys.meta)

    verdict = await actor.examine(Mode.CLAIM, A)

    assert _db(scene) not in (None, before)
    assert scene.redis.hget(scene.keys.meta, "deployment") == "test"
    assert isinstance(verdict, Grace) is (loss == "the database id")


async def test_a_data_loss_that_another_process_witnessed_first_is_heard_of(scene: Scene) -> None:
    """The presence tick brings the new database id: whoever compares belief with the engine is told, once."""
    reactor, acquirer = await scene.actor(), await scene.actor()
    told: list[str] = []
    evidence = reactor.registry.evidence
    evidence.on_change = lambda: told.append(evidence.db)
    scene.redis.flushall()
    await acquirer.registry.evidence.witness()

    await evidence.watch(watched_ms=1000, ahead_ms=0)
    await evidence.watch(watched_ms=1000, ahead_ms=0)

    assert told == [_db(scene)]


async def test_records_that_this_host_never_saw_are_doubted(scene: Scene) -> None:
    """`seen` is missing and there are records: nobody knows since when Redis is what it is."""
    actor = await scene.actor()
    await actor.spawn()
    scene.end_by_hand()
    scene.redis.delete(scene.keys.seen(HOST))

    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
    assert (_quarantine(scene) or "").startswith("unseen:")


async def test_a_host_without_records_has_nothing_to_doubt(scene: Scene) -> None:
    """`seen` is missing, and so are records: a new host."""
    actor = await scene.actor()
    scene.redis.delete(scene.keys.seen(HOST))

    await actor.reserved(A)

    assert _quarantine(scene) is None


async def test_after_a_data_loss_the_janitor_keeps_what_runs(scene: Scene) -> None:
    """Young ones are waited for; older ones get their record back, with a full TTL."""
    young, old = await scene.actor(), await scene.actor(limit=timedelta(seconds=-1))
    session = await young.acquire()
    scene.flush()
    await old.registry.evidence.witness()

    assert [(line.action, line.kind) for line, _ in await young.reconcile()] == [(Action.WAIT, Kind.ORPHAN)]
    assert [(line.action, line.kind) for line, _ in await old.reconcile()] == [(Action.ADOPT, Kind.ORPHAN)]
    assert scene.record()["container_id"] == session.container_id
    assert scene.beat() == 1
    assert await old.reconcile() == []


async def test_after_a_data_loss_the_janitor_removes_what_does_not_run(scene: Scene) -> None:
    """When it is older than a spawn may take."""
    actor = await scene.actor(limit=timedelta(seconds=-1))
    session = await actor.acquire()
    assert session.container_id is not None
    scene.engine.die(session.container_id)
    scene.flush()
    await actor.registry.evidence.witness()

    assert [(line.action, outcome) for line, outcome in await actor.reconcile()] == [(Action.REMOVE, "done")]
    assert scene.engine.held == {}


async def test_another_hosts_record_is_foreign(scene: Scene) -> None:
    """Neither its end nor its drift is this host's business."""
    here, there = await scene.actor(), await scene.actor(host="h2")
    await there.spawn()
    scene.end_by_hand()

    assert await here.tear_down() == Foreign(HostName("h2"))
    assert await here.janitor.plan() == []


async def test_a_host_name_belongs_to_one_engine(scene: Scene) -> None:
    """Engine ID and root directory; the same again is fine."""
    actor = await scene.actor()
    await actor.registry.evidence.bind_engine("E1", "/var/lib/docker")
    await actor.registry.evidence.bind_engine("E1", "/var/lib/docker")

    for engine_id, root in (("E2", "/var/lib/docker"), ("E1", "/elsewhere")):
        with pytest.raises(ConfigError, match="belongs to engine E1") as refused:
            await actor.registry.evidence.bind_engine(engine_id, root)
        assert refused.value.exit_code == 78


async def test_many_who_witness_at_once_agree(scene: Scene) -> None:
    """Compare-and-set: one database id."""
    actors = [scene.stranger(host=f"h{n}") for n in range(8)]

    async with anyio.create_task_group() as tasks:
        for actor in actors:
            tasks.start_soon(actor.registry.evidence.witness)

    assert {actor.registry.evidence.db for actor in actors} == {_db(scene)}


async def test_a_redis_that_keeps_changing_is_given_up(scene: Scene) -> None:
    """Somebody else writes the id all the time: said, not looped."""
    actor = scene.stranger()

    async def spoil() -> None:
        scene.redis.hset(scene.keys.meta, "db", str(scene.redis.incr("spoiled")))
        actor.link.before(Script.WITNESS, spoil)

    await spoil()
    with pytest.raises(Unavailable, match="kept changing its database id"):
        await actor.registry.evidence.witness()
    scene.flush()
