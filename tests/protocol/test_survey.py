"""What a reconcile reads: only what is in doubt is kept, and the plan is that of everything."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.plan import View, brake, plan
from reactor.registry import Record
from reactor.registry.verdicts import Mode
from reactor.registry.walk import Content, Step, walk
from reactor.runtime.protocol import Container, ContainerState
from reactor.session import ContainerId, Deployment, HostName, SessionId, State, Token
from reactor.survey import Sightings
from tests.protocol.actor import HOST, S1
from tests.protocol.scene import Scene
from tests.protocol.views import BEFORE, DB, LIMIT, NOW_MS, OLD, OLDER, YOUNG, container, record

IDS = [SessionId(name) for name in ("a", "b", "c")]
BOXES = [ContainerId(f"box{n}") for n in range(5)]
some_id = st.sampled_from(IDS)
generation = st.sampled_from([OLD, OLD, OLD, OLDER, YOUNG])
token = st.sampled_from([Token("mine"), Token("mine"), Token("other")])


@st.composite
def containers(draw: st.DrawFn) -> list[Container]:
    """Draw a list of an engine: sessions without a container, with one, and with several."""
    ids = draw(st.lists(st.sampled_from(BOXES), unique=True, max_size=5))
    states = st.sampled_from([ContainerState.RUNNING, ContainerState.RUNNING, *ContainerState])
    made = (
        container(
            draw(generation), token=draw(token), db=draw(st.sampled_from([DB, DB, BEFORE])), state=draw(states),
            session=draw(some_id), deployment=Deployment(draw(st.sampled_from(["d", "d", "d", "another"]))),
        )
        for _ in ids
    )  # fmt: skip
    return [replace(one, container_id=box) for one, box in zip(made, ids, strict=True)]


@st.composite
def records(draw: st.DrawFn) -> dict[SessionId, Record]:
    """Draw what Redis believes."""
    found: dict[SessionId, Record] = {}
    for session_id in draw(st.lists(some_id, unique=True)):
        more: dict[str, Any] = {"session_id": session_id, "host": HostName(draw(st.sampled_from(["h1", "h1", "h2"])))}
        state = draw(st.sampled_from([State.RUNNING, State.RUNNING, State.RUNNING, *State]))
        if state is State.RUNNING:
            more["container_id"] = draw(st.sampled_from(BOXES))
            if draw(st.integers(0, 5)) == 0:
                more |= draw(st.sampled_from([{"heartbeat_left": None}, {"immortal": True}, {"end_requested": True}]))
        if draw(st.integers(0, 5)) == 0:
            more["has_ttl"] = state is not State.ENDED
        found[session_id] = record(state, draw(generation), token=draw(token), **more)
    return found


def told(found: Record, *, due: bool) -> Step:
    """Return what a walk says of a record."""
    session_id, step = found.session_id, Step()
    if found.host != "h1" or (found.state is State.ENDED and found.has_ttl):
        step.elsewhere.append(session_id)
    elif (
        found.state is State.RUNNING
        and not (found.has_ttl or found.end_requested or found.immortal or found.heartbeat_left is None)
        and due
    ):
        assert found.container_id is not None
        step.content.append(Content(session_id, found.generation, found.token, found.container_id))
    else:
        step.doubtful.append(session_id)
    return step


@given(listed=containers(), believed=records(), due=st.frozensets(some_id), twice=st.booleans())
def test_the_plan_of_what_is_kept_is_the_plan_of_everything(
    listed: list[Container], believed: dict[SessionId, Record], due: frozenset[SessionId], *, twice: bool
) -> None:
    """Nothing that would be found is let go of, whatever is believed and whatever runs; SCAN may tell a thing twice."""
    sightings = Sightings(listed, Deployment("d"))
    for _ in range(1 + twice):
        for found in believed.values():
            sightings.doubtful.update(
                SessionId(name) for name in sightings.take(told(found, due=found.session_id in due))
            )
    kept, read = sightings.left(), {i: believed.get(i) for i in sightings.to_read()}

    def view(containers: list[Container], records: Any, settled: int = 0) -> View:
        there = {c.container_id: c for c in listed}
        return View(
            host=HostName("h1"), deployment=Deployment("d"), spawn_limit=LIMIT, containers=containers, settled=settled,
            records=records, due=due, db=DB, now_ms=NOW_MS, inspected={box: there.get(box) for box in BOXES},
        )  # fmt: skip

    full = view(listed, {i: believed.get(i) for i in IDS})
    lean = view(kept, read, sightings.settled)
    assert plan(lean) == plan(full)
    assert brake(plan(lean), lean) == brake(plan(full), full)
    assert len(kept) + sightings.settled == len(listed)


def test_what_agrees_is_not_kept() -> None:
    """Memory grows with the drift, not with the sessions."""
    listed = [replace(container(session=SessionId(f"s{n}")), container_id=ContainerId(f"c{n}")) for n in range(1000)]
    sightings = Sightings(listed, Deployment("d"))
    content = [Content(f"s{n}", OLD, Token("mine"), ContainerId(f"c{n}")) for n in range(999)]

    assert sightings.take(Step(content=content)) == []
    assert [c.container_id for c in sightings.left()] == ["c999"]
    assert sightings.to_read() == ["s999"]


async def _walked(scene: Scene, step: int) -> dict[str, set[str]]:
    actor = await scene.actor()
    found: dict[str, set[str]] = {"content": set(), "doubtful": set(), "elsewhere": set(), "strays": set()}
    async for part in walk(actor.registry, step):
        found["content"].update(told.name for told in part.content)
        for name in ("doubtful", "elsewhere", "strays"):
            found[name].update(getattr(part, name))
    return found


@pytest.mark.parametrize("step", [1, 500])
async def test_a_walk_names_whatever_is_not_certainly_in_order(scene: Scene, step: int) -> None:
    """Each kind of doubt once; what is in order is told with what a container has to bear."""
    actor = await scene.actor()
    names = ("fine", "grace", "persisted", "long", "over", "vanishing", "unlisted", "asked", "schema")
    for name in names:
        await actor.spawn(SessionId(name))
    for name in ("gone", "ended"):
        await actor.spawn(SessionId(name))
        await actor.terminate(SessionId(name))
    keys, redis = scene.keys, scene.redis
    record_of = {name: keys.record(SessionId(name)) for name in (*names, "ended", "gone")}
    beat_of = {name: keys.heartbeat(SessionId(name)) for name in names}
    redis.pexpire(beat_of["grace"], 10**8)
    redis.hset(record_of["grace"], "grace_until", "1")
    redis.persist(beat_of["persisted"])
    redis.pexpire(beat_of["long"], 10**8)
    redis.delete(beat_of["over"])
    redis.expire(record_of["vanishing"], 1000)
    redis.zrem(keys.due(HOST), "unlisted")
    redis.hset(record_of["asked"], "end_requested", "1")
    redis.hset(record_of["schema"], "schema", "9")
    redis.persist(record_of["ended"])
    redis.set(keys.record(SessionId("string")), "x")
    redis.set(keys.heartbeat(SessionId("stray")), "1")
    redis.set(keys.record(SessionId("stray")).replace("stray", "no id!"), "x")
    await actor.reserve(Token("t"), SessionId("starting"))
    await (await scene.actor(host="elsewhere")).spawn(SessionId("other"))

    found = await _walked(scene, step)
    redis.flushdb()  # the scene would not let go of keys like these
    assert found == {
        "content": {"fine", "grace"},
        "doubtful": {
            "persisted", "long", "over", "vanishing", "unlisted", "asked", "schema", "ended", "string", "starting",
        },
        "elsewhere": {"gone", "other"},
        "strays": {"stray"},
    }  # fmt: skip


async def test_a_walk_touches_nothing(scene: Scene) -> None:
    """Not even a key whose time is over."""
    actor = await scene.actor()
    await actor.spawn()
    before = scene.record(), scene.redis.pexpiretime(scene.keys.heartbeat(S1)), scene.score()
    await _walked(scene, 10)

    assert (scene.record(), scene.redis.pexpiretime(scene.keys.heartbeat(S1)), scene.score()) == before
    assert await actor.examine(Mode.LOOK, Token("t")) is not None
