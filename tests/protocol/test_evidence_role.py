"""Another server, or the same one with another history: what stands in it may be older than what was seen."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import redis

from reactor.errors import Unavailable
from reactor.plan import Action
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Claimed, Grace, Mode, Spawn
from reactor.session import Token
from tests.protocol.actor import HOST, S1, HookedLink
from tests.protocol.scene import Scene
from tests.services.redis import RedisServer, private_redis
from tests.waiting import wait_until

A, B = Token("a"), Token("b")


@pytest.fixture
async def own() -> AsyncIterator[Scene]:
    """A stage on a Redis of its own."""
    with private_redis() as server:
        async with Scene(server) as stage:
            yield stage


def _db(scene: Scene) -> str:
    return scene.redis.hget(scene.keys.meta, "db")


def _quarantine(scene: Scene) -> str:
    return scene.redis.hget(scene.keys.seen(HOST), "quarantine") or ""


def _fail_over_and_back(scene: Scene) -> None:
    """Demote and promote it: the run id stays, the replication history does not."""
    scene.redis.replicaof("127.0.0.1", 1)
    scene.redis.replicaof("NO", "ONE")


async def test_a_server_that_was_a_replica_meanwhile_is_doubted_in_the_very_step_of_the_claim(own: Scene) -> None:
    """R9, R28: its run id is the same, so only its replication history tells; the gate stands in the script."""
    scene = own
    actor = await scene.actor()
    await actor.spawn()
    before = _db(scene)
    scene.end_by_hand()
    _fail_over_and_back(scene)

    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
    replid = scene.redis.info("replication")["master_replid"]
    assert _quarantine(scene) == f"role:{replid[:8]}"
    assert _db(scene) != before, "it may have been rewound: everything older counts as another database"


async def test_a_database_that_comes_back_is_older_than_what_was_there_meanwhile(own: Scene) -> None:
    """R5: SWAPDB and back, or an address that leads elsewhere and back: what it had seen comes back too."""
    scene = own
    actor = await scene.actor()
    await actor.spawn()
    before = _db(scene)
    scene.redis.swapdb(0, 1)
    await actor.registry.evidence.witness()
    assert _db(scene) != before
    scene.redis.swapdb(0, 1)
    scene.overdue()

    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
    assert _db(scene) != before
    assert _quarantine(scene) == f"db:{_db(scene)}"


async def test_a_dump_that_was_restored_is_older_than_the_last_look(own: Scene) -> None:
    """R3: the same process, the same history, the same database id; only the number of the last look fell."""
    scene = own
    actor, other = await scene.actor(), await scene.actor()
    await actor.spawn()
    before = _db(scene)
    await actor.registry.evidence.watch(watched_ms=5000, ahead_ms=0)
    names = [scene.keys.meta, scene.keys.seen(HOST), scene.keys.record(S1), scene.keys.due(HOST)]
    with redis.Redis.from_url(scene.server.url) as client:
        raw: Any = client
        kept = {name: raw.dump(name) for name in names}
        for one in (actor, other):
            await one.registry.evidence.watch(watched_ms=5000, ahead_ms=0)
        for name, value in kept.items():
            raw.restore(name, 0, value, replace=True)
    await actor.registry.evidence.watch(watched_ms=5000, ahead_ms=0)

    assert _db(scene) != before
    scene.overdue()
    assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
    found = _db(scene), _quarantine(scene)
    await other.registry.evidence.watch(watched_ms=5000, ahead_ms=0)
    assert (_db(scene), _quarantine(scene)) == found, "one loss is found once"


async def test_a_replica_gives_no_verdict(own: Scene) -> None:
    """R9, A15: its PTTL says -2 while the key lives elsewhere."""
    scene = own
    actor = await scene.actor()
    await actor.spawn()
    scene.redis.replicaof("127.0.0.1", 1)

    with pytest.raises(Unavailable):
        await actor.examine(Mode.CLAIM, A)
    with pytest.raises(Unavailable, match="not a primary"):
        await actor.registry.evidence.witness()
    scene.redis.replicaof("NO", "ONE")
    assert scene.beat() == 1


async def test_the_tick_finds_a_changed_history(own: Scene) -> None:
    """Nobody has to end first: belief and engine are compared again within two seconds."""
    scene = own
    actor = await scene.actor()
    told: list[str] = []
    actor.registry.evidence.on_change = lambda: told.append("again")
    _fail_over_and_back(scene)

    await actor.registry.evidence.watch(watched_ms=1000, ahead_ms=0)

    assert told == ["again"]
    assert _quarantine(scene).startswith("role:")


async def test_a_record_that_a_failover_lost_does_not_make_an_orphan(own: Scene) -> None:
    """R28: the commit was acknowledged, never replicated, and is gone; the container is kept and registered."""
    scene = own
    actor = await scene.actor(limit=timedelta(seconds=-1))
    session = await actor.acquire()

    async def lose() -> None:
        scene.redis.delete(scene.keys.record(S1), scene.keys.heartbeat(S1))
        scene.redis.zrem(scene.keys.due(HOST), S1)
        _fail_over_and_back(scene)

    await lose()

    assert [(line.action, outcome) for line, outcome in await actor.reconcile()] == [(Action.ADOPT, "done")]
    assert scene.record()["container_id"] == session.container_id


@pytest.mark.parametrize("when", ["before the reserve", "between reserve and create"])
async def test_an_acquire_finds_the_container_whose_record_a_failover_lost(own: Scene, when: str) -> None:
    """R28: it meets the name; what Redis is at that moment decides, not what it was at the reserve."""
    scene = own
    actor = await scene.actor()
    session = await actor.acquire()
    scene.redis.delete(scene.keys.record(S1), scene.keys.heartbeat(S1))
    scene.redis.zrem(scene.keys.due(HOST), S1)
    if when == "before the reserve":
        _fail_over_and_back(scene)
    else:

        async def fail_over() -> None:
            _fail_over_and_back(scene)

        actor.link.after(Script.RESERVE, fail_over)

    assert (await actor.acquire()).container_id == session.container_id
    assert scene.engine.removed == {}


async def test_a_first_replica_costs_a_grace_and_nothing_else(own: Scene) -> None:
    """Redis takes a new history when its first replica comes: doubted once, as nobody can tell the two apart."""
    scene = own
    actor = await scene.actor()
    await actor.spawn()
    with private_redis() as other, redis.Redis.from_url(other.url) as replica:
        replica.replicaof("127.0.0.1", scene.server.port)
        await wait_until(lambda: scene.redis.info("replication")["connected_slaves"] == 1, 30, "the replica is there")
        scene.end_by_hand()
        assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
        scene.end_by_hand()
        assert isinstance(await actor.examine(Mode.CLAIM, A), Claimed)


async def test_the_same_address_that_leads_to_another_server_is_doubted() -> None:
    """The run id names the process behind any address: that is what "the address changed" means here."""
    with private_redis(options={"appendonly": "yes", "appendfsync": "always"}) as first:
        async with Scene(first) as scene:
            actor = await scene.actor()
            await actor.spawn()
            scene.end_by_hand()
            first.stop()
            other = RedisServer(options=first.options, directory=first.directory, port=first.port)
            try:
                other.start()
                assert isinstance(await actor.examine(Mode.CLAIM, A), Grace)
                assert _quarantine(scene).startswith("run:")
            finally:
                other.stop()


async def test_another_address_that_leads_to_the_same_server_is_not_doubted(own: Scene) -> None:
    """A name, a socket, a port forwarded: the data are the same ones."""
    scene = own
    await (await scene.actor()).spawn()
    newcomer = scene.stranger(link=HookedLink(scene.server.socket_url))
    await newcomer.registry.evidence.witness()
    scene.end_by_hand()

    assert isinstance(await newcomer.examine(Mode.CLAIM, A), Claimed)
    assert _quarantine(scene) == ""


async def test_a_reserve_under_a_changed_history_is_asked_again(own: Scene) -> None:
    """Its labels name the database that stands from now on."""
    scene = own
    actor = await scene.actor()
    before = _db(scene)
    _fail_over_and_back(scene)

    granted = await actor.reserve(B)

    assert isinstance(granted, Spawn)
    assert granted.db == _db(scene) != before
