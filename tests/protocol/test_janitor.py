"""A reconcile as a whole: a plan that is carried out, a second one that finds nothing, and the brake."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reactor.errors import Unavailable
from reactor.plan import Action, Kind
from reactor.reconcile import BrakeEngaged
from reactor.registry.verdicts import Mode
from reactor.session import ContainerId, Deployment, SessionId, State, Token
from tests.protocol.actor import HOST, S1
from tests.protocol.scene import Scene

A = Token("a")
IDS = [SessionId(f"s{n}") for n in range(20)]


def _everything(scene: Scene) -> dict[str, Any]:
    return {name: (scene.redis.dump(name), scene.redis.pexpiretime(name)) for name in scene.redis.scan_iter()}


async def test_a_reconcile_that_finds_nothing_writes_nothing(scene: Scene) -> None:
    """Not even a score."""
    actor = await scene.actor()
    for session_id in IDS[:3]:
        await actor.acquire(session_id)
    await actor.terminate(IDS[0])
    before = _everything(scene)

    assert await actor.reconcile() == []
    assert _everything(scene) == before


async def test_a_plan_changes_nothing(scene: Scene) -> None:
    """However much it finds."""
    actor = await scene.actor()
    await actor.acquire()
    await actor.acquire(IDS[0])
    scene.end_by_hand()
    scene.redis.delete(scene.keys.record(IDS[0]))
    before, held = _everything(scene), dict(scene.engine.held)

    assert len(await actor.janitor.plan()) == 2
    assert _everything(scene) == before
    assert scene.engine.held == held


DRIFT = {
    "expired": (Action.END, Kind.EXPIRED),
    "lost": (Action.END, Kind.LOST),
    "dead": (Action.END, Kind.DEAD),
    "orphan": (Action.REMOVE, Kind.ORPHAN),
    "stuck spawn": (Action.END, Kind.STUCK),
    "stuck end": (Action.END, Kind.STUCK),
    "not in the index": (Action.REPAIR, Kind.STUCK),
    "a record that would vanish": (Action.REPAIR, Kind.STUCK),
    "an immortal heartbeat": (Action.REPAIR, Kind.IMMORTAL),
    "an immortal tombstone": (Action.REPAIR, Kind.IMMORTAL),
    "a stray heartbeat": (Action.REMOVE, Kind.ORPHAN),
    "stale": (Action.REMOVE, Kind.STALE_GENERATION),
}


async def _drift(scene: Scene, what: str) -> None:
    actor = await scene.actor()
    record, heartbeat = scene.keys.record(S1), scene.keys.heartbeat(S1)
    match what:
        case "stuck spawn":
            await actor.create(A, await actor.reserved(A))
            scene.pass_lease()
            return
        case "an immortal tombstone" | "a stray heartbeat":
            await actor.spawn()
            await actor.terminate()
        case "stuck end":
            await actor.spawn()
            await actor.claimed(A, mode=Mode.END)
            scene.pass_lease()
        case _:
            _, _, container = await actor.spawn()
            _by_hand(scene, what, container)
            return
    if what == "an immortal tombstone":
        scene.redis.persist(record)
    elif what == "a stray heartbeat":
        scene.redis.delete(record)
        scene.redis.set(heartbeat, "1", ex=100)


def _by_hand(scene: Scene, what: str, container: ContainerId) -> None:
    record, heartbeat, redis = scene.keys.record(S1), scene.keys.heartbeat(S1), scene.redis
    newer = {"state": "starting", "lease_until": scene.now_ms() + 60_000, "token": "x", "generation": 2**52}
    done: dict[str, Callable[[], object]] = {
        "expired": scene.end_by_hand,
        "lost": lambda: scene.engine.vanish(container),
        "dead": lambda: scene.engine.die(container),
        "orphan": lambda: redis.delete(record, heartbeat),
        "not in the index": lambda: redis.zrem(scene.keys.due(HOST), S1),
        "a record that would vanish": lambda: redis.expire(record, 1000),
        "an immortal heartbeat": lambda: redis.persist(heartbeat),
        "stale": lambda: (redis.hset(record, mapping=newer), redis.delete(heartbeat)),
    }
    done[what]()


@pytest.mark.parametrize("what", DRIFT)
async def test_each_drift_is_repaired_and_then_gone(scene: Scene, what: str) -> None:
    """One line, done; the next plan is empty."""
    await _drift(scene, what)
    actor = await scene.actor()

    outcomes = await actor.reconcile()

    assert [(line.action, line.kind, outcome) for line, outcome in outcomes] == [(*DRIFT[what], "done")]
    assert await actor.janitor.plan() == []
    lives = what in ("not in the index", "a record that would vanish", "an immortal heartbeat")
    assert len(scene.engine.held) == int(lives)
    assert scene.has_key() is lives


async def test_nothing_foreign_is_touched(scene: Scene) -> None:
    """Another deployment's container is shown; another prefix's and one without labels are not even seen."""
    actor = await scene.actor()
    generation = (await actor.reserved(A)).generation
    spec = actor.spec(A, generation, actor.registry.evidence.db)
    theirs = actor.spec(A, generation, spec.labels.db, deployment=Deployment("e"))
    elsewhere = replace(theirs, name="x", labels=replace(spec.labels, prefix="x"))
    unlabelled = scene.engine.put(replace(theirs, name="y"))
    others = [unlabelled, scene.engine.put(theirs), scene.engine.put(elsewhere)]
    scene.engine.held[unlabelled].container = replace(scene.engine.held[unlabelled].container, labels=None)
    await actor.registry.abort(S1, A, "")

    outcomes = await actor.reconcile(force=True)

    assert [(line.action, line.kind) for line, _ in outcomes] == [(Action.IGNORE, Kind.FOREIGN)]
    assert list(scene.engine.held) == others


async def test_the_brake_holds_a_mass_removal_that_redis_did_not_ask_for(scene: Scene) -> None:
    """Nothing is touched and the audit stream says so; `force` carries it out."""
    actor = await scene.actor()
    for session_id in IDS:
        await actor.acquire(session_id)
    for session_id in IDS[:11]:
        scene.redis.delete(scene.keys.record(session_id), scene.keys.heartbeat(session_id))

    with pytest.raises(BrakeEngaged) as held:
        await actor.reconcile()
    assert held.value.exit_code == 75
    assert len(scene.engine.held) == 20
    assert len(scene.events("brake")) == 1

    await actor.reconcile(force=True)
    assert len(scene.engine.held) == 9


async def test_the_brake_lets_what_expired_go(scene: Scene) -> None:
    """Redis asked for it, however many they are."""
    actor = await scene.actor()
    for session_id in IDS:
        await actor.acquire(session_id)
        scene.overdue(session_id)

    assert {outcome for _, outcome in await actor.reconcile()} == {"done"}
    assert scene.engine.held == {}


async def test_what_cannot_be_read_whole_is_not_judged(scene: Scene) -> None:
    """A list that the engine does not give is not an empty list."""
    actor = await scene.actor()
    await actor.acquire()
    actor.runtime.fail("containers", Unavailable("timed out"))

    with pytest.raises(Unavailable):
        await actor.reconcile()
    assert scene.state() == State.RUNNING


async def test_one_line_that_fails_does_not_stop_the_others(scene: Scene) -> None:
    """Its outcome says why; the next run finds it again."""
    actor = await scene.actor()
    gone: list[ContainerId] = []
    for session_id in IDS[:3]:
        _, _, container = await actor.spawn(session_id)
        scene.redis.delete(scene.keys.record(session_id), scene.keys.heartbeat(session_id))
        gone.append(container)
    actor.runtime.fail("inspect", Unavailable("timed out"))

    outcomes = [outcome for _, outcome in await actor.reconcile()]

    assert sorted(outcomes) == ["done", "done", "timed out"]
    assert [outcome for _, outcome in await actor.reconcile()] == ["done"]
    assert scene.engine.held == {}
