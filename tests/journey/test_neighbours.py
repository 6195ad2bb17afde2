"""What is not ours survives everything that we do."""

import pytest

from tests.journey.sidecar import World, sidecar
from tests.waiting import wait_until


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"session-reactor.prefix2": "mcp"},
        {"session-reactor.prefix": "other"},
        {"session-reactor.prefix": "mcp", "session-reactor.deployment": "somebody-else"},
        {"session-reactor.prefix": "mcp", "session-reactor.deployment": "DEPLOYMENT", "session-reactor.session": "*"},
    ],
    ids=["without labels", "similar label", "other prefix", "other deployment", "our labels, forged"],
)
async def test_a_container_that_is_not_ours_survives(world: World, idle_image: str, labels: dict[str, str]) -> None:
    """Reconcile, expiry and terminate leave a stranger as it is, whatever its labels resemble."""
    words = [
        word
        for name, value in labels.items()
        for word in ("--label", f"{name}={value.replace('DEPLOYMENT', world.deployment)}")
    ]
    stranger = world.engine.run("run", "--detach", *words, idle_image, "sleep", "300").splitlines()[-1]
    try:
        with sidecar(world.user):
            acquired = world.user("acquire", "mine", "--ttl", "2s", "--json").json
            await wait_until(lambda: acquired["container_id"] not in world.everything(), 20)
            assert world.user("reconcile", "--force").code == 0
            assert world.engine.inspect(stranger)["State"]["Running"] is True
    finally:
        world.engine.remove(stranger)


async def test_two_deployments_on_one_engine_leave_each_other_alone(world: World) -> None:
    """The same id in two deployments gets a container in each, and the end of one is not the end of the other."""
    user = world.user
    other = {"REDIS_URL": f"{user.environment['REDIS_URL']}/1", "REACTOR_DEPLOYMENT": f"{world.deployment}-b"}
    theirs = user("acquire", "shared", "--ttl", "1h", "--json", **other).json
    try:
        with sidecar(user):
            ours = user("acquire", "shared", "--ttl", "2s", "--json").json
            assert ours["container_id"] != theirs["container_id"]
            await wait_until(lambda: not world.everything(), 20)
            assert user("reconcile", "--force").code == 0
            assert world.engine.inspect(str(theirs["container_id"]))["State"]["Running"] is True
    finally:
        assert user("terminate", "shared", **other).code == 0
