"""Evictions: a Redis that drops keys to make room proves nothing by a key that is missing, nor by a record."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from reactor.plan import Action, Kind
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Alive, Busy, Claimed, Grace, Live, Mode
from reactor.session import SessionId, Token
from reactor.teardown import Ended
from tests.protocol.actor import HOST, S1, Actor
from tests.protocol.scene import Scene
from tests.services.redis import private_redis
from tests.waiting import block_until

A, B = Token("a"), Token("b")
OLD = timedelta(seconds=-1)
"""A limit under which every container is older than a spawn may take."""


@pytest.fixture
async def tight() -> AsyncIterator[Scene]:
    """A stage on a Redis of its own, whose memory a test may make scarce."""
    with private_redis() as server:
        async with Scene(server) as stage:
            yield stage


def _evict(scene: Scene, policy: str) -> None:
    """Let Redis drop what the policy allows, then give it its memory back."""
    before = scene.redis.info("stats")["evicted_keys"]
    scene.redis.config_set("maxmemory-policy", policy)
    scene.redis.config_set("maxmemory", 1)
    block_until(lambda: scene.redis.info("stats")["evicted_keys"] > before, what="a key was evicted")
    scene.redis.config_set("maxmemory", 0)
    scene.redis.config_set("maxmemory-policy", "noeviction")


def _lose_record(scene: Scene) -> None:
    """Evict one record and nothing else of ours: a key of another application goes with it, as the count needs one."""
    scene.redis.set("other:cache", "1", ex=60)
    scene.redis.delete(scene.keys.record(S1), scene.keys.heartbeat(S1))
    scene.redis.zrem(scene.keys.due(HOST), S1)
    _evict(scene, "volatile-lru")


async def test_evicted_heartbeats_are_set_again_with_one_grace(tight: Scene) -> None:
    """R6, D6: every volatile key went at once; not one claim."""
    scene = tight
    actor = await scene.actor()
    ids = [SessionId(f"s-{number}") for number in range(5)]
    for session_id in ids:
        await actor.spawn(session_id)
    _evict(scene, "volatile-lru")
    assert not any(scene.has_key(session_id) for session_id in ids)

    verdicts = [await actor.examine(Mode.CLAIM, A, session_id) for session_id in ids]

    assert {type(verdict) for verdict in verdicts} == {Grace}
    assert all(scene.has_key(session_id) for session_id in ids)
    run_id, evicted = scene.redis.info("server")["run_id"], scene.redis.info("stats")["evicted_keys"]
    assert scene.redis.hget(scene.keys.seen(HOST), "quarantine") == f"evicted:{run_id[:8]}:{evicted}"
    assert [type(await actor.examine(Mode.CLAIM, A, session_id)) for session_id in ids] == [Alive] * 5


async def test_the_grace_of_an_eviction_ends(tight: Scene) -> None:
    """Who does not beat in it is over."""
    scene = tight
    actor = await scene.actor()
    await actor.spawn()
    _evict(scene, "volatile-lru")
    assert isinstance(await actor.tear_down(), Grace)
    scene.overdue()

    assert isinstance(await actor.tear_down(), Ended)


async def test_a_redis_that_evicts_all_the_time_is_not_asked_for_ever(tight: Scene) -> None:
    """Another key goes before each question: the answer is a grace all the same, and in the end a claim."""
    scene = tight
    actor = await scene.actor()
    await actor.spawn()

    async def evict_one() -> None:
        scene.redis.set("other:cache", "1", ex=60)
        _evict(scene, "volatile-lru")
        actor.link.before(Script.EXAMINE, evict_one)

    verdicts: list[type] = []
    for _ in range(4):
        await evict_one()
        verdicts.append(type(await actor.examine(Mode.CLAIM, A)))
        over = scene.now_ms() - 1
        fields = {"graces_at": over - 2_000_000, "grace_until": over, "deadline": over}
        scene.redis.hset(scene.keys.record(S1), mapping=fields)
        scene.end_by_hand()

    assert verdicts == [Grace, Grace, Grace, Claimed]
    assert len(scene.events("quarantine")) == 1, "said once a minute"
    scene.redis.hset(scene.keys.seen(HOST), "said_at", scene.now_ms() - 60_001)
    scene.redis.set("other:cache", "1", ex=60)
    _evict(scene, "volatile-lru")
    await actor.registry.evidence.witness()
    assert len(scene.events("quarantine")) == 2, "and once in the next"


async def test_a_container_whose_record_may_have_been_evicted_is_adopted(tight: Scene) -> None:
    """No record in the same database proves an orphan only where Redis kept everything since it was made."""
    scene = tight
    actor = await scene.actor(limit=OLD)
    session = await actor.acquire()
    _lose_record(scene)

    assert [(line.action, line.kind, outcome) for line, outcome in await actor.reconcile()] == [
        (Action.ADOPT, Kind.ORPHAN, "done")
    ]
    assert scene.record()["container_id"] == session.container_id
    assert scene.beat() == 1
    assert await actor.reconcile() == []


async def test_a_container_that_is_younger_than_the_last_eviction_is_an_orphan(tight: Scene) -> None:
    """Redis lost nothing since: removed."""
    scene = tight
    actor = await scene.actor(limit=OLD)
    _evict_other(scene)
    await actor.registry.evidence.witness()
    await actor.acquire()
    scene.redis.delete(scene.keys.record(S1), scene.keys.heartbeat(S1))
    scene.redis.zrem(scene.keys.due(HOST), S1)

    assert [(line.action, line.kind, outcome) for line, outcome in await actor.reconcile()] == [
        (Action.REMOVE, Kind.ORPHAN, "done")
    ]
    assert scene.engine.held == {}


def _evict_other(scene: Scene) -> None:
    scene.redis.set("other:cache", "1", ex=60)
    _evict(scene, "volatile-lru")


async def test_an_eviction_after_the_plan_stops_the_claim_of_an_orphan(tight: Scene) -> None:
    """The gate stands in the very step that claims it."""
    scene = tight
    actor = await scene.actor(limit=OLD)
    await actor.acquire()
    scene.redis.delete(scene.keys.record(S1), scene.keys.heartbeat(S1))
    scene.redis.zrem(scene.keys.due(HOST), S1)

    async def evict() -> None:
        _evict_other(scene)

    actor.link.before(Script.ADOPT_ORPHAN, evict)

    assert [outcome for _, outcome in await actor.reconcile()] == ["left alone: it changed meanwhile"]
    assert len(scene.running()) == 1
    assert [line.action for line, _ in await actor.reconcile()] == [Action.ADOPT]


async def test_an_acquire_finds_the_container_whose_record_was_evicted(tight: Scene) -> None:
    """It meets the name, and gets the same container back instead of removing it."""
    scene = tight
    actor = await scene.actor()
    session = await actor.acquire()
    _lose_record(scene)

    again = await actor.acquire()

    assert (again.container_id, again.generation) == (session.container_id, session.generation)
    assert isinstance(await actor.reserve(B), Live)
    assert scene.engine.removed == {}


async def test_a_dead_container_whose_record_was_evicted_makes_room(tight: Scene) -> None:
    """It does not run, so it is nobody's session: removed by ID once it is old."""
    scene = tight
    actor = await scene.actor(limit=OLD)
    session = await actor.acquire()
    assert session.container_id is not None
    scene.engine.die(session.container_id)
    _lose_record(scene)

    assert [(line.action, outcome) for line, outcome in await actor.reconcile()] == [(Action.REMOVE, "done")]
    assert scene.engine.held == {}


async def test_everything_evicted_is_a_data_loss(tight: Scene) -> None:
    """allkeys-*: records, indexes and what was seen go too; whoever runs is kept."""
    scene = tight
    actor = await scene.actor(limit=OLD)
    session = await actor.acquire()
    while scene.redis.keys("mcp:*"):
        _evict(scene, "allkeys-random")

    assert [line.action for line, _ in await actor.reconcile()] == [Action.ADOPT]
    assert (await actor.acquire()).container_id == session.container_id


async def test_a_first_start_on_a_redis_that_evicts_is_doubted(tight: Scene) -> None:
    """What it has evicted before nobody knows."""
    scene = tight
    _evict_other(scene)
    actor = await scene.actor()
    await _spawned_and_gone(scene, actor)

    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)


async def _spawned_and_gone(scene: Scene, actor: Actor) -> None:
    await actor.spawn()
    scene.end_by_hand()


async def test_a_key_that_is_evicted_as_soon_as_it_is_set_is_left_for_a_second(tight: Scene) -> None:
    """R6: Redis stays full. No hot loop, no claim, one grace."""
    scene = tight
    actor = await scene.actor()
    await actor.spawn()
    for expected in (Grace, Busy, Busy):
        _evict_other(scene)
        assert type(await actor.examine(Mode.CLAIM, A)) is expected
        _evict(scene, "volatile-lru") if scene.has_key() else None
    assert scene.record()["graces"] == "1"
