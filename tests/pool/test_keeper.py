"""The pool is kept: filled, replaced when it is dead or outdated, drained where that is wanted, and left alone else."""

from collections.abc import Iterator

import pytest

from reactor import Janitor, Reactor, SessionManager, Settings
from reactor.crew import open_crew
from reactor.plan import Action
from reactor.pool import PoolKeeper
from reactor.session import new_token
from tests.pool.house import KEYS, House
from tests.waiting import wait_until


async def lines(house: House, settings: Settings) -> list[tuple[str, str]]:
    """What a reconcile would do now about this house's containers; the engine has others."""
    there = house.everything()
    async with Janitor.from_settings(settings) as janitor:
        plan = await janitor.plan()
    return [(line.action.value, str(line.container_id)) for line in plan if line.container_id in there]


async def carried_out(house: House, settings: Settings) -> list[str]:
    """What came of what a reconcile did to this house's containers."""
    there = house.everything()
    async with Janitor.from_settings(settings) as janitor:
        return [outcome async for line, outcome in janitor.run() if line.container_id in there]


async def test_a_changed_template_replaces_what_waits(house: House) -> None:
    """A reactor that reads another environment in the file keeps none of the old containers."""
    async with Reactor(house.template(pool=2)):
        before = await house.filled(2)
    async with Reactor(house.template(pool=2, more='environment = { MODE = "b" }')):
        await wait_until(lambda: not before & house.everything(), 60, "the old ones are gone")
        after = await house.filled(2)
    assert all("MODE=b" in house.engine.inspect(each)["Config"]["Env"] for each in after)


@pytest.fixture
def tag(house: House) -> Iterator[str]:
    """A tag of its own for the idle image; gone afterwards."""
    name = f"{house.deployment}:1"
    house.engine.run("tag", house.image, name)
    yield name
    house.engine.remove(*house.everything())
    house.engine.run("rmi", "--force", name)


async def test_a_changed_image_replaces_what_waits(house: House, tag: str) -> None:
    """The same name stands for another image now: an acquire would make another container."""
    async with Reactor(house.template(pool=1, image=tag)) as reactor:
        (before,) = await house.filled(1)
        house.engine.run("commit", "--change", "LABEL changed=yes", before, tag)
        reactor.pool.look_soon()
        await wait_until(lambda: before not in house.everything(), 60, "the old one is gone")
        (after,) = await house.filled(1)
    assert house.engine.labels(after)["changed"] == "yes"


async def test_a_dead_one_is_replaced_and_never_handed_out(house: House) -> None:
    """The engine tells of its death; whoever takes it before that gets another one."""
    settings = house.template(pool=1)
    async with Reactor(settings):
        (before,) = await house.filled(1)
        house.engine.run("kill", before)
        await wait_until(lambda: before not in house.everything(), 60, "the dead one is gone")
        (after,) = await house.filled(1)
    house.engine.run("kill", after)
    async with SessionManager(settings) as sessions:
        session = await sessions.acquire("next")
        assert session.container_id != after
        assert house.everything() == {session.container_id}


async def test_a_session_whose_container_from_the_pool_dies_is_ended(house: House) -> None:
    """Its labels name no session, and yet the reactor knows whose it was."""
    settings = house.template(pool=1)
    async with Reactor(settings), SessionManager(settings) as sessions:
        await house.filled(1)
        session = await sessions.acquire("mortal")
        house.engine.run("kill", str(session.container_id))
        await wait_until(lambda: house.record("mortal").get("state") == "ended", 30, "it is over")
        assert house.record("mortal")["reason"] == "container_exited"
        assert house.record("mortal")["detector"] == "engine"


@pytest.mark.parametrize("drains", [True, False])
async def test_a_reactor_that_stops_drains_its_pool_if_it_is_told_to(house: House, *, drains: bool) -> None:
    """Else what waits goes on waiting for the next reactor, which takes it over as it is."""
    settings = house.template(pool=2, more=f"pool_drain = {str(drains).lower()}")
    async with Reactor(settings):
        before = await house.filled(2)
    assert house.everything() == (set() if drains else before)
    if not drains:
        async with Reactor(settings):
            assert await house.filled(2) == before


async def test_a_template_without_a_pool_keeps_none(house: House) -> None:
    """What waited goes when nobody asks for a pool any more."""
    async with Reactor(house.template(pool=1)):
        await house.filled(1)
    async with Reactor(house.template(pool=0)):
        await wait_until(lambda: not house.everything(), 60, "it is gone")
    assert house.client.hgetall(KEYS.pool(house.host, "default")) == {}


async def test_a_reconcile_leaves_alone_what_waits_and_what_is_in_the_making(house: House) -> None:
    """Neither the ready one nor the one whose maker has not listed it yet is drift."""
    settings = house.template(pool=2)
    async with open_crew(settings) as crew:
        keeper = PoolKeeper(crew, settings.pooled, settings.acquire_timeout)
        assert await keeper.make_one(settings.templates["default"])
        template, token = settings.templates["default"], new_token()
        slot = await crew.registry.slot("default", token, 2, settings.acquire_timeout)
        assert slot is not None
        unlisted = await keeper.started(template, keeper.member(template, token, slot), slot, [])
        assert await lines(house, settings) == []

        house.client.hset(KEYS.pool(house.host, "default"), token, "making 1")
        assert await lines(house, settings) == [("remove", unlisted)]
        assert await carried_out(house, settings) == ["done"]
        assert house.everything() == house.ready()
        assert await lines(house, settings) == []


async def test_what_no_list_names_is_removed_when_it_is_old(house: House) -> None:
    """Young, it may be on its way into a list that was lost; it is waited for then."""
    settings = house.template(pool=1)
    async with open_crew(settings) as crew:
        keeper = PoolKeeper(crew, settings.pooled, settings.acquire_timeout)
        assert await keeper.make_one(settings.templates["default"])
    (container,) = house.ready()
    house.client.delete(KEYS.pool(house.host, "default"))
    assert await lines(house, settings) == [(Action.WAIT, container)]
    environment = {**house.user.environment, "REACTOR_ACQUIRE_TIMEOUT": "10ms"}
    hasty = Settings.load(env=environment, cwd=house.user.directory)
    assert await lines(house, hasty) == [(Action.REMOVE, container)]
    assert await carried_out(house, hasty) == ["done"]
    assert house.everything() == set()


async def test_another_deployments_pool_is_never_touched(house: House) -> None:
    """Same engine, same prefix, another name: it is shown as foreign, whatever Redis says of it."""
    theirs = house.template(pool=1)
    async with open_crew(theirs) as crew:
        keeper = PoolKeeper(crew, theirs.pooled, theirs.acquire_timeout)
        assert await keeper.make_one(theirs.templates["default"])
    (container,) = house.ready()
    house.client.flushall()
    environment = {**house.user.environment, "REACTOR_DEPLOYMENT": "other", "REACTOR_ACQUIRE_TIMEOUT": "10ms"}
    ours = Settings.load(env=environment, cwd=house.user.directory)
    assert await lines(house, ours) == [(Action.IGNORE, container)]
    assert await carried_out(house, ours) == ["ignore"]
    assert house.everything() == {container}
