"""Whose containers these are: two deployments on one prefix, and who may say so after a data loss."""

import pytest

from reactor.errors import ConfigError
from reactor.registry.ownership import Owner, agree
from reactor.session import Deployment
from tests.protocol.actor import Actor
from tests.protocol.scene import Scene

NOBODY, A_SAID, B_SAID = Deployment(""), Deployment("a"), Deployment("b")


def _as(actor: Actor, deployment: str) -> Actor:
    actor.registry.evidence._owner = Owner(Deployment(deployment))  # pyright: ignore[reportPrivateUsage]
    return actor


async def test_another_deployments_redis_is_refused(scene: Scene) -> None:
    """With both names and the way out; nothing is written."""
    await scene.actor()
    before = scene.redis.hgetall(scene.keys.meta)
    stranger = _as(scene.stranger(), "other")

    with pytest.raises(ConfigError, match="belongs to deployment 'test', not 'other'") as refused:
        await stranger.registry.evidence.witness()

    assert refused.value.exit_code == 78
    assert scene.redis.hgetall(scene.keys.meta) == before


@pytest.mark.parametrize(
    "ours, written, lost, stands",
    [
        (Owner(NOBODY), Owner(NOBODY), False, Owner(NOBODY)),
        (Owner(A_SAID), Owner(NOBODY), True, Owner(A_SAID)),
        (Owner(NOBODY), Owner(B_SAID, guessed=True), False, Owner(B_SAID, guessed=True)),
        (Owner(A_SAID), Owner(A_SAID, guessed=True), False, Owner(A_SAID)),
        (Owner(A_SAID, guessed=True), Owner(A_SAID), True, Owner(A_SAID)),
        (Owner(A_SAID), Owner(B_SAID, guessed=True), True, Owner(A_SAID)),
        (Owner(A_SAID, guessed=True), Owner(B_SAID, guessed=True), True, Owner(A_SAID, guessed=True)),
        (Owner(A_SAID), Owner(B_SAID, guessed=True), False, None),
        (Owner(A_SAID), Owner(B_SAID), True, None),
        (Owner(A_SAID, guessed=True), Owner(B_SAID), True, None),
    ],
)
def test_d33_a_name_that_somebody_said_never_gives_way_to_one_that_was_made_up(
    ours: Owner, written: Owner, *, lost: bool, stands: Owner | None
) -> None:
    """Whoever comes first after a data loss may not know better; two that were said are a mistake of a person."""
    assert agree(ours, written, lost=lost) == stands


async def test_d33_after_a_data_loss_a_stranger_without_a_name_takes_no_containers_away(scene: Scene) -> None:
    """He asks before the reactor has noticed, and writes a name made of his own spelling of the address."""
    actor = await scene.actor()
    session = await actor.acquire()
    scene.flush()
    stranger = _as(scene.stranger(), "")
    await stranger.registry.evidence.witness()
    guess = scene.redis.hget(scene.keys.meta, "deployment")
    assert guess not in ("test", None)
    assert scene.redis.hget(scene.keys.meta, "guessed") == "1"

    assert (await actor.acquire()).container_id == session.container_id
    assert scene.redis.hget(scene.keys.meta, "deployment") == "test"
    assert scene.redis.hget(scene.keys.meta, "guessed") is None
    with pytest.raises(ConfigError, match=f"belongs to deployment 'test', not '{guess}'"):
        await stranger.registry.evidence.witness()
    assert scene.running() == [session.container_id]
