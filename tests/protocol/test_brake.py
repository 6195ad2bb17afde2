"""The brake (S9): a mass removal that Redis did not ask for waits for a person, everything else goes on."""

from dataclasses import replace
from datetime import timedelta

import pytest

from reactor import Reactor
from reactor.plan import Action, Kind, PlanLine, View, brake
from reactor.reconcile import BrakeEngaged
from reactor.registry.verdicts import Mode
from reactor.runtime.protocol import Container
from reactor.session import ContainerId, DatabaseId, Deployment, HostName, SessionId, Token
from reactor.teardown import Ended
from tests.protocol.actor import S1, Actor
from tests.protocol.scene import Scene
from tests.protocol.views import container
from tests.services.redis import private_redis
from tests.waiting import wait_until

IDS = [SessionId(f"s{n}") for n in range(40)]
NONE = timedelta(0)


def _line(action: Action, kind: Kind, *, container_id: str | None = "c", asked: bool = False) -> PlanLine:
    named = None if container_id is None else ContainerId(container_id)
    return PlanLine(action=action, kind=kind, session_id=S1, reason="", container_id=named, asked=asked)


def _view(containers: int) -> View:
    return View(
        host=HostName("h1"), deployment=Deployment("d"), spawn_limit=NONE, containers=[container()] * containers,
        records={}, due=frozenset(), db=DatabaseId("db"), now_ms=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "line, counts",
    [
        (_line(Action.REMOVE, Kind.ORPHAN), True),
        (_line(Action.REMOVE, Kind.DUPLICATE), True),
        (_line(Action.REMOVE, Kind.STALE_GENERATION), True),
        (_line(Action.END, Kind.LOST), True),
        (_line(Action.REMOVE, Kind.STALE_GENERATION, asked=True), False),
        (_line(Action.REMOVE, Kind.ORPHAN, container_id=None), False),
        (_line(Action.END, Kind.EXPIRED), False),
        (_line(Action.END, Kind.STUCK), False),
        (_line(Action.END, Kind.DEAD), False),
        (_line(Action.REPAIR, Kind.IMMORTAL), False),
        (_line(Action.ADOPT, Kind.ORPHAN), False),
        (_line(Action.WAIT, Kind.ORPHAN), False),
        (_line(Action.IGNORE, Kind.FOREIGN), False),
    ],
    ids=lambda value: f"{value.action}-{value.kind}" if isinstance(value, PlanLine) else None,
)
def test_s9_the_brake_counts_what_redis_did_not_ask_for(line: PlanLine, *, counts: bool) -> None:
    """Orphan, lost, duplicate, stale; a session that ended, by whatever detector, is never braked."""
    assert bool(brake([line] * 11, _view(20))) is counts


@pytest.mark.parametrize(
    "containers, removals, held",
    [
        (0, 10, False),
        (0, 11, True),
        (20, 10, False),
        (20, 11, True),
        (100, 30, False),
        (100, 31, True),
        (400, 120, False),
    ],
)
def test_s9_the_brake_holds_more_than_ten_and_more_than_thirty_percent(
    containers: int, removals: int, *, held: bool
) -> None:
    """Of the host's own containers; the line says how many of which kind, and how to go on."""
    said = brake([_line(Action.REMOVE, Kind.ORPHAN)] * removals, _view(containers))

    assert bool(said) is held
    assert not held or f"{removals} containers ({removals} orphan)" in said
    assert not held or "reactor reconcile --force" in said


def test_s9_anothers_containers_do_not_raise_the_limit() -> None:
    """A busy neighbour on the same engine is no reason to remove more of ours."""
    crowd = replace(_view(0), containers=[container(deployment=Deployment("e"))] * 100)
    assert brake([_line(Action.REMOVE, Kind.ORPHAN)] * 11, crowd)


async def _filled(scene: Scene, count: int = 20) -> Actor:
    actor = await scene.actor(limit=NONE)
    for session_id in IDS[:count]:
        await actor.acquire(session_id)
    return actor


def _lose_records(scene: Scene, *ids: SessionId) -> None:
    for session_id in ids:
        scene.redis.delete(scene.keys.record(session_id), scene.keys.heartbeat(session_id))


async def test_s9_half_the_records_deleted_by_hand(scene: Scene) -> None:
    """Every container is kept; what Redis asked for in the same run is done, before the brake is said."""
    actor = await _filled(scene)
    _lose_records(scene, *IDS[:11])
    await actor.claimed(Token("dead"), IDS[12], mode=Mode.END)
    scene.pass_lease(IDS[12])
    scene.redis.persist(scene.keys.heartbeat(IDS[13]))
    done: list[tuple[Action, Kind]] = []

    async def run() -> None:
        async for line, _ in actor.janitor.run():
            done.append((line.action, line.kind))

    with pytest.raises(BrakeEngaged, match=r"11 containers \(11 orphan\) would be removed.* of 20") as braked:
        await run()

    assert braked.value.exit_code == 75
    assert sorted(done) == [(Action.END, Kind.STUCK), (Action.REPAIR, Kind.IMMORTAL)]
    assert len(scene.engine.held) == 19
    assert scene.beat(IDS[14]) == 1
    (entry,) = scene.events("brake")
    assert entry["reason"] == str(braked.value)

    outcomes = await actor.reconcile(force=True)
    assert {(line.kind, outcome) for line, outcome in outcomes} == {(Kind.ORPHAN, "done")}
    assert len(scene.engine.held) == 8


async def test_d35_a_list_of_the_engine_that_lacks_containers_ends_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that is missing is inspected by its ID first, and it is there."""
    actor = await _filled(scene)
    listed = await actor.runtime.containers(prefix="mcp")

    async def partial(**_: object) -> list[Container]:
        return listed[:5]

    monkeypatch.setattr(actor.runtime, "containers", partial)

    assert await actor.reconcile() == []
    assert len(scene.engine.running()) == 20


async def test_s9_an_engine_that_lost_its_containers_is_braked(scene: Scene) -> None:
    """An engine with another data root: twenty sessions lost at once, and none is ended before a person looked."""
    actor = await _filled(scene)
    kept = dict(scene.engine.held)
    scene.engine.held.clear()

    with pytest.raises(BrakeEngaged, match=r"20 containers \(20 lost\)"):
        await actor.reconcile()
    assert scene.beat(IDS[0]) == 1

    scene.engine.held.update(kept)
    assert await actor.reconcile() == []
    assert len(scene.events("ended")) == 0


async def test_r3_an_old_redis_restored_removes_nothing() -> None:
    """A backup from before thirty of the forty sessions: they are registered again, and nobody is braked."""
    with private_redis() as server:
        async with Scene(server) as scene:
            actor = await _filled(scene, 10)
            scene.redis.save()
            for session_id in IDS[10:]:
                await actor.acquire(session_id)
            server.kill()
            server.start()

            outcomes = await actor.reconcile()

            assert [(line.action, outcome) for line, outcome in outcomes] == [(Action.ADOPT, "done")] * 30
            assert len(scene.engine.running()) == 40
            assert all(scene.beat(session_id) for session_id in IDS)


async def test_s9_four_hundred_orphans_are_kept_until_a_person_acts(scene: Scene) -> None:
    """Then they go, each with its own end in the audit stream."""
    actor = await scene.actor(limit=NONE)
    granted = await actor.reserved(Token("t"))
    await actor.registry.abort(S1, Token("t"), "")
    for number in range(400):
        session_id = SessionId(f"o-{number}")
        scene.engine.put(actor.spec(Token(f"t{number}"), granted.generation, granted.db, session_id))

    with pytest.raises(BrakeEngaged, match=r"400 containers \(400 orphan\)"):
        await actor.reconcile()
    assert len(scene.engine.running()) == 400

    outcomes = await actor.reconcile(force=True)
    assert {outcome for _, outcome in outcomes} == {"done"}
    assert scene.engine.held == {}
    assert len(scene.events("ended")) == 400


async def test_s9_a_braked_janitor_says_so_once_and_goes_on_when_a_person_acted(scene: Scene) -> None:
    """One entry however often it runs; sessions that end meanwhile end; then `--force` elsewhere sets it free."""
    actor = await _filled(scene)
    _lose_records(scene, *IDS[:11])
    janitor = actor.janitor
    for _ in range(3):
        with pytest.raises(BrakeEngaged):
            _ = [pair async for pair in janitor.run()]
    assert len(scene.events("brake")) == 1

    assert isinstance(await actor.terminate(IDS[15]), Ended)
    await actor.reconcile(force=True)
    assert [pair async for pair in janitor.run()] == []

    _lose_records(scene, *IDS[11:15])
    scene.redis.delete(*(scene.keys.record(i) for i in IDS[16:20]))
    assert len([pair async for pair in janitor.run()]) == 8
    assert scene.engine.held == {}
    assert not any(scene.has_key(session_id) for session_id in IDS)


async def test_s9_what_is_kept_keeps_its_heartbeat_key(scene: Scene) -> None:
    """Records deleted by hand, keys not: no client is told that its session is over while a person looks."""
    actor = await _filled(scene)
    scene.redis.delete(*(scene.keys.record(session_id) for session_id in IDS[:12]))

    with pytest.raises(BrakeEngaged, match=r"12 containers \(12 orphan\)"):
        await actor.reconcile()
    assert {scene.beat(session_id) for session_id in IDS[:20]} == {1}
    assert len(scene.engine.running()) == 20


async def test_s9_a_person_agrees_to_what_was_shown_and_to_nothing_else(scene: Scene) -> None:
    """What turned up after the question was asked is kept, and asked about again."""
    actor = await _filled(scene, 40)
    _lose_records(scene, *IDS[:13])
    janitor = actor.janitor
    with pytest.raises(BrakeEngaged) as braked:
        _ = [pair async for pair in janitor.run()]
    _lose_records(scene, *IDS[13:27])

    with pytest.raises(BrakeEngaged, match="27 orphan") as again:
        _ = [pair async for pair in janitor.run(agreed=braked.value.held)]
    assert {line.session_id for line in again.value.held} == set(IDS[13:27])
    assert len(scene.engine.running()) == 27


async def test_d12_a_dead_container_from_before_a_loss_takes_its_stray_key_along(scene: Scene) -> None:
    """Nothing is left for the next run."""
    actor = await _filled(scene, 1)
    scene.engine.die(scene.running(IDS[0])[0])
    scene.redis.delete(scene.keys.record(IDS[0]))
    scene.redis.hset(scene.keys.meta, "db", "another")

    assert [(line.kind, outcome) for line, outcome in await actor.reconcile()] == [(Kind.ORPHAN, "done")]
    assert (scene.engine.held, scene.has_key(IDS[0])) == ({}, False)


async def test_s9_a_braked_reactor_is_not_ready_until_a_person_acted(scene: Scene) -> None:
    """`/readyz` shows the line with the way on; nothing is removed meanwhile."""
    actor = await _filled(scene)
    _lose_records(scene, *IDS[:11])
    settings = actor.crew.settings
    mine = replace(
        settings, redis_url=scene.server.url, listen=None, host=HostName("h1"), deployment=Deployment("test")
    )
    async with Reactor(mine, runtime=scene.engine) as reactor:
        shown = reactor.readiness()
        assert shown["ready"] is False
        assert "reactor reconcile --force" in str(shown["troubles"])
        assert len(scene.engine.held) == 20
        await actor.reconcile(force=True)
        reactor.sweep()
        await wait_until(lambda: "janitor" not in reactor.troubles, what="it is free again")
    assert len(scene.engine.held) == 9
