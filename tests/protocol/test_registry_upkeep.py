"""The index, the repairs, and what is left alone because it is not ours to read."""

from datetime import timedelta

import pytest

from reactor.errors import ForeignData, SessionNotFound
from reactor.plan import Action, Kind
from reactor.registry.verdicts import Alive, Mode
from reactor.session import Address, Detector, Endpoint, Generation, SessionId, Token
from tests.protocol.actor import HOST, S1
from tests.protocol.scene import Scene
from tests.waiting import wait_until

A, B = Token("a"), Token("b")


async def test_next_due_says_what_to_look_at_or_how_long_to_wait(scene: Scene) -> None:
    """Nothing waits; one waits for later; several are due, at most so many at a time."""
    actor = await scene.actor()
    assert await actor.registry.next_due(10) == ([], None)

    due = scene.keys.due(HOST)
    scene.redis.zadd(due, {"later": scene.now_ms() + 60_000})
    ids, wait = await actor.registry.next_due(10)
    assert ids == []
    assert wait is not None
    assert timedelta(seconds=50) < wait <= timedelta(seconds=60)

    scene.redis.zadd(due, {"a": 1, "b": 2, "c": 3})
    assert await actor.registry.next_due(2) == (["a", "b"], None)
    asked = [SessionId(name) for name in ("a", "later", "nobody")]
    assert await actor.registry.due_among(asked) == {"a", "later"}


async def test_a_key_that_is_still_there_in_its_last_millisecond_is_alive(scene: Scene) -> None:
    """The score lies one millisecond behind the deadline, so a due session is really over."""
    actor = await scene.actor()
    await actor.spawn(ttl=timedelta(milliseconds=30))
    score = scene.score() or 0
    await wait_until(lambda: scene.now_ms() >= score, what="it is due")

    assert not isinstance(await actor.examine(Mode.CLAIM, A), Alive)


async def test_postpone_moves_a_failed_look_and_brings_nothing_back(scene: Scene) -> None:
    """A due item never spins; one that left the index stays out."""
    actor = await scene.actor()
    scene.redis.zadd(scene.keys.due(HOST), {S1: 1})
    await actor.registry.postpone(S1, timedelta(seconds=30))
    assert (scene.score() or 0) > scene.now_ms() + 20_000

    scene.redis.zrem(scene.keys.due(HOST), S1)
    await actor.registry.postpone(S1, timedelta(seconds=30))
    assert scene.score() is None


async def test_hasten_brings_far_scores_near_and_spreads_them(scene: Scene) -> None:
    """Part by part, until none lies further ahead."""
    actor = await scene.actor()
    far = scene.now_ms() + 900_000
    scene.redis.zadd(scene.keys.due(HOST), {f"s{n}": far for n in range(10)} | {"near": 5})

    assert await actor.registry.hasten(timedelta(seconds=30), limit=8) == 8
    assert await actor.registry.hasten(timedelta(seconds=30), limit=8) == 2
    assert await actor.registry.hasten(timedelta(seconds=30), limit=8) == 0

    scores = [score for _, score in scene.redis.zrange(scene.keys.due(HOST), 0, -1, withscores=True)]
    assert max(scores) <= scene.now_ms() + 30_000
    assert len(set(scores)) > 5
    assert scene.score(SessionId("near")) == 5


async def test_drop_stray_removes_a_heartbeat_without_a_record_only(scene: Scene) -> None:
    """With a record it is a client's."""
    actor = await scene.actor()
    await actor.spawn()
    await actor.registry.drop_stray(S1)
    assert scene.has_key()

    scene.redis.delete(scene.keys.record(S1))
    await actor.registry.drop_stray(S1)
    assert not scene.has_key()


async def test_readdress_is_about_the_container_that_the_record_names(scene: Scene) -> None:
    """A restart by hand changed its ports; another container's address is not written."""
    actor = await scene.actor()
    granted = await actor.reserved(A)
    container_id = await actor.create(A, granted)
    await actor.runtime.start(container_id)
    ports = {"80/tcp": Endpoint(host="127.0.0.1", port=1), "81/tcp": Endpoint(host="127.0.0.1", port=2)}
    old = Address(ip="10.0.0.2", ports=ports)
    await actor.registry.save(S1, A, container_id=container_id, db=granted.db, address=old)
    container = await actor.runtime.inspect(container_id)
    assert container is not None

    await actor.registry.readdress(S1, container)
    assert (await actor.registry.get(S1)).address == container.address

    scene.redis.hset(scene.keys.record(S1), "container_id", "another")
    before = scene.record()
    await actor.registry.readdress(S1, container)
    assert scene.record() == before


async def test_mend_gives_each_record_the_end_that_it_should_have(scene: Scene) -> None:
    """None while it lives, a tombstone's when it ended."""
    actor = await scene.actor()
    await actor.spawn()
    scene.redis.expire(scene.keys.record(S1), 100)
    await actor.registry.mend(S1)
    assert scene.redis.ttl(scene.keys.record(S1)) == -1

    await actor.terminate()
    scene.redis.persist(scene.keys.record(S1))
    await actor.registry.mend(S1)
    assert 3500 < scene.redis.ttl(scene.keys.record(S1)) <= 3600
    scene.redis.expire(scene.keys.record(S1), 100)
    await actor.registry.mend(S1)
    assert scene.redis.ttl(scene.keys.record(S1)) <= 100


async def test_reading_refreshes_nothing(scene: Scene) -> None:
    """Neither get nor a list of all touches a key; only a heartbeat does."""
    actor = await scene.actor()
    await actor.spawn()
    scene.redis.expire(scene.keys.heartbeat(S1), 100)
    deadline, before = scene.redis.pexpiretime(scene.keys.heartbeat(S1)), scene.record()

    await actor.registry.get(S1)
    assert [list(batch) async for batch in actor.registry.scan()] == [[S1]]
    assert scene.redis.pexpiretime(scene.keys.heartbeat(S1)) == deadline

    assert await actor.registry.heartbeat(S1) is True
    assert scene.redis.pexpiretime(scene.keys.heartbeat(S1)) > deadline
    assert scene.record() == before


async def test_get_and_heartbeat_say_that_a_session_is_over(scene: Scene) -> None:
    """Or was never there."""
    actor = await scene.actor()
    for _ in range(2):
        with pytest.raises(SessionNotFound):
            await actor.registry.get(S1)
        assert await actor.registry.heartbeat(S1) is False
        await actor.spawn()
        await actor.terminate()


def _spoil(scene: Scene, how: str) -> object:
    record = scene.keys.record(S1)
    if how == "schema":
        scene.redis.hset(record, "schema", "9")
    else:
        scene.redis.delete(record)
        scene.redis.rpush(record, "a list")
    return scene.redis.dump(record)


@pytest.mark.parametrize("how", ["schema", "type"])
async def test_a_record_that_is_not_ours_to_read_is_left_untouched_by_every_verb(scene: Scene, how: str) -> None:
    """Of a newer version, or no record at all: reported, and nothing is written."""
    scene.tidy = False
    actor = await scene.actor()
    _, granted, container_id = await actor.spawn()
    container = await actor.runtime.inspect(container_id)
    assert container is not None
    assert container.labels is not None
    untouched = _spoil(scene, how)
    registry, score = actor.registry, scene.score()

    for call in (
        lambda: actor.reserve(A),
        lambda: registry.renew(S1, A, granted.db),
        lambda: actor.save(A, granted, container_id),
        lambda: registry.abort(S1, A, "x"),
        lambda: actor.examine(Mode.CLAIM, A),
        lambda: actor.examine(Mode.END, A),
        lambda: registry.extend(S1, A),
        lambda: registry.delete(S1, A),
        lambda: registry.request_end(S1, HOST, Generation(1)),
        lambda: registry.mend(S1),
        lambda: registry.readdress(S1, container),
        lambda: registry.get(S1),
    ):
        with pytest.raises(ForeignData):
            await call()
    assert container.labels is not None
    with pytest.raises(ForeignData):
        await registry.register(container, container.labels, instead_of=None)
    with pytest.raises(ForeignData):
        await registry.adopt_orphan(container, container.labels, A, Detector.JANITOR)

    assert scene.redis.dump(scene.keys.record(S1)) == untouched
    assert scene.score() == score
    assert scene.has_key()


@pytest.mark.parametrize("how", ["schema", "type"])
async def test_one_unreadable_record_does_not_stop_the_others(scene: Scene, how: str) -> None:
    """Looks, lists and reconciles report it and go on; its container stays."""
    scene.tidy = False
    actor = await scene.actor()
    session = await actor.acquire()
    other = SessionId("s-2")
    await actor.acquire(other)
    scene.end_by_hand(other)
    _spoil(scene, how)

    looked = await actor.registry.look([S1, other])
    assert isinstance(looked[S1], ForeignData)
    outcomes = await actor.reconcile()

    assert {(line.session_id, line.action, line.kind) for line, _ in outcomes} == {
        (S1, Action.IGNORE, Kind.FOREIGN),
        (other, Action.END, Kind.EXPIRED),
    }
    assert scene.running() == [session.container_id]
    assert scene.running(other) == []


@pytest.mark.parametrize("field", ["state", "generation", "ttl_ms", "host", "token"])
async def test_a_record_with_a_missing_or_unreadable_field_is_not_guessed_at(scene: Scene, field: str) -> None:
    """It is reported by every read."""
    actor = await scene.actor()
    await actor.spawn()
    scene.redis.hdel(scene.keys.record(S1), field)
    with pytest.raises(ForeignData):
        await actor.registry.get(S1)

    if field not in ("host", "token"):
        scene.redis.hset(scene.keys.record(S1), field, "?")
        with pytest.raises(ForeignData):
            await actor.registry.get(S1)
