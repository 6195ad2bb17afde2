"""Calls that are made at the same time travel together, and each is answered as if it had gone alone."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import pytest

from reactor.errors import ForeignData, ReactorError, Unavailable
from reactor.registry.courier import Courier
from reactor.registry.parcels import MOST, Parcel
from reactor.registry.scripts import Script
from reactor.registry.verdicts import Gone, Live, Mode, Spawn
from reactor.session import SessionId, State, Token
from tests.protocol.actor import Actor
from tests.protocol.scene import Scene
from tests.waiting import wait_until

MANY = [SessionId(f"m-{n:03}") for n in range(120)]


async def _all(actor: Actor, ids: Sequence[SessionId]) -> dict[SessionId, Any]:
    """Reserve all of them at once."""
    found: dict[SessionId, Any] = {}

    async def one(session_id: SessionId) -> None:
        try:
            found[session_id] = await actor.reserve(Token(f"t-{session_id}"), session_id)
        except ReactorError as error:
            found[session_id] = error

    async with anyio.create_task_group() as tasks:
        for session_id in ids:
            tasks.start_soon(one, session_id)
    return found


def _scripts_run(scene: Scene) -> int:
    stats: Any = scene.redis.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


async def test_what_is_asked_at_the_same_time_is_a_few_scripts_and_each_has_its_own_answer(scene: Scene) -> None:
    """120 spawns granted, each with a generation of its own, in no more EVALSHAs than a handful."""
    actor = await scene.actor()
    await actor.reserve(Token("first"))
    before = _scripts_run(scene)
    found = await _all(actor, MANY)
    assert _scripts_run(scene) - before <= 2 + len(MANY) / MOST + 1
    assert all(isinstance(answer, Spawn) for answer in found.values())
    assert {i: scene.record(i)["token"] for i in MANY} == {i: f"t-{i}" for i in MANY}
    assert {int(scene.record(i)["generation"]) for i in MANY} == {answer.generation for answer in found.values()}


async def test_a_record_that_is_not_ours_is_refused_alone(scene: Scene) -> None:
    """Among many: one of another schema, one key of another type; the others are answered."""
    actor = await scene.actor()
    scene.redis.hset(scene.keys.record(MANY[3]), "schema", "99")
    scene.redis.set(scene.keys.record(MANY[7]), "no hash")
    found = await _all(actor, MANY[:20])
    assert {i for i, answer in found.items() if isinstance(answer, ForeignData)} == {MANY[3], MANY[7]}
    assert "schema 99" in str(found[MANY[3]])
    assert "another type" in str(found[MANY[7]])
    assert sum(isinstance(answer, Spawn) for answer in found.values()) == 18
    assert scene.redis.getdel(scene.keys.record(MANY[7])) == "no hash"


async def test_one_claim_of_many_at_the_same_instant_and_the_others_hear_that_it_is_busy(scene: Scene) -> None:
    """In one script as in many: what the first call wrote is what the second one reads."""
    actor = await scene.actor()
    await actor.acquire()
    await scene.run_out()
    words: list[str] = []

    async def claim(number: int) -> None:
        words.append(type(await actor.examine(Mode.CLAIM, Token(f"c{number}"))).__name__)

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(claim, number)
    assert sorted(words) == ["Busy"] * 11 + ["Claimed"]


async def test_a_doubt_stops_all_that_travel_and_they_are_asked_again(scene: Scene) -> None:
    """Redis lost its data while they were asked: no verdict is given on the missing records before a witness."""
    actor = await scene.actor()
    first = await actor.acquire()
    scene.flush()
    found = await _all(actor, [first.session_id, *MANY[:5]])
    assert all(isinstance(answer, Spawn) for answer in found.values())
    assert {answer.db for answer in found.values()} == {scene.redis.hget(scene.keys.meta, "db")}
    assert actor.registry.evidence.db == scene.redis.hget(scene.keys.meta, "db")


async def test_a_script_that_redis_does_not_know_is_sent_again_whole(scene: Scene) -> None:
    """SCRIPT FLUSH, or another server: every call that travelled gets its answer, none has effect twice."""
    actor = await scene.actor()
    await actor.acquire()
    scene.redis.script_flush()
    found = await _all(actor, MANY[:8])
    assert all(isinstance(answer, Spawn) for answer in found.values())
    assert isinstance(await actor.reserve(Token("again")), Live)
    assert [scene.state(i) for i in MANY[:8]] == [State.STARTING.value] * 8


class Road:
    """Where a courier goes: what is sent waits until it is let through."""

    def __init__(self) -> None:
        """Begin closed."""
        self.journeys: list[list[str]] = []
        self.open = anyio.Event()

    async def send(self, parcels: Sequence[Parcel]) -> list[Any]:
        """Note the journey; answer with the keys, once it is open."""
        keys = [parcel.keys[0] for parcel in parcels]
        self.journeys.append(keys)
        await self.open.wait()
        return [Gone() if key == "gone" else Unavailable("no") if key == "refused" else key for key in keys]


def _parcel(key: str) -> Parcel:
    return Parcel(Script.RENEW, [key], list[str | int])


async def test_none_waits_for_what_is_stuck() -> None:
    """The first one hangs; those that come later leave together all the same, and are answered in their order."""
    road, answers = Road(), list[Any]()
    courier = Courier(road.send)

    async def ask(key: str) -> None:
        answers.append(await courier.bring(_parcel(key)))

    async with anyio.create_task_group() as tasks:
        for key in ("a", "b", "c"):
            tasks.start_soon(ask, key)
        await wait_until(lambda: len(road.journeys) == 2)
        assert road.journeys == [["a"], ["b", "c"]]
        assert answers == []
        road.open.set()
    assert sorted(answers) == ["a", "b", "c"]


async def test_who_is_cancelled_takes_nobody_along() -> None:
    """One of three that wait gives up before they leave, one while they are under way: the third is answered."""
    road, answers = Road(), list[Any]()
    courier = Courier(road.send)
    patience = {key: anyio.CancelScope() for key in ("stuck", "never sent", "sent in vain", "kept")}

    async def ask(key: str) -> None:
        with patience[key]:
            answers.append(await courier.bring(_parcel(key)))

    async with anyio.create_task_group() as tasks:
        for key in patience:
            tasks.start_soon(ask, key)
        patience["never sent"].cancel()
        await wait_until(lambda: len(road.journeys) == 2)
        patience["sent in vain"].cancel()
        road.open.set()
    assert road.journeys == [["stuck"], ["sent in vain", "kept"]]
    assert sorted(answers) == ["kept", "stuck"]


async def test_an_error_is_the_error_of_the_call_that_met_it() -> None:
    """A refusal among answers is raised where it belongs."""
    road = Road()
    road.open.set()
    courier = Courier(road.send)
    found: list[Any] = []

    async def ask(key: str) -> None:
        try:
            found.append(await courier.bring(_parcel(key)))
        except Unavailable as error:
            found.append((key, str(error)))

    async with anyio.create_task_group() as tasks:
        for key in ("one", "refused", "two"):
            tasks.start_soon(ask, key)
    assert sorted(map(str, found)) == ["('refused', 'no')", "one", "two"]


async def test_a_closed_courier_leaves_nobody_waiting() -> None:
    """Who still waits hears that it is unknown what became of his call."""
    road = Road()
    courier = Courier(road.send)
    found: list[str] = []

    async def ask(key: str) -> None:
        with pytest.raises(Unavailable):
            await courier.bring(_parcel(key))
        found.append(key)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(courier.bring, _parcel("stuck")))
        tasks.start_soon(ask, "b")
        tasks.start_soon(ask, "c")
        await wait_until(lambda: len(road.journeys) == 2)
        await courier.aclose()
        await wait_until(lambda: sorted(found) == ["b", "c"])
        road.open.set()
