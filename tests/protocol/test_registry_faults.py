"""Redis at its worst: full, forgetful of scripts, mute at the wrong moment, started again, gone."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from reactor.errors import OutOfMemory, PermissionRefused, Unavailable
from reactor.registry import RedisLink
from reactor.registry.scripts import Script, load_script
from reactor.registry.server import parse_server
from reactor.registry.verdicts import Alive, Claimed, Live, Mode, Spawn
from reactor.session import Detector, SessionId, State, Token
from reactor.teardown import Ended
from tests.protocol.actor import S1
from tests.protocol.scene import Scene
from tests.services.redis import private_redis

A, B = Token("a"), Token("b")
S2 = SessionId("s-2")


@pytest.fixture
async def full_scene() -> AsyncIterator[Scene]:
    """A stage on a Redis of its own, whose memory a test fills."""
    with private_redis() as server:
        async with Scene(server) as stage:
            yield stage


async def test_a_full_redis_starts_nothing_and_keeps_and_ends_everything(full_scene: Scene) -> None:
    """EXPIRE and every script of a teardown work; a reserve is refused and leaves no trace."""
    scene = full_scene
    actor = await scene.actor()
    await actor.spawn()
    await actor.spawn(SessionId("s-3"))
    await actor.reserved(A, SessionId("s-4"))
    scene.redis.config_set("maxmemory-policy", "noeviction")
    scene.redis.config_set("maxmemory", "1mb")

    with pytest.raises(OutOfMemory):
        await actor.acquire(S2)
    assert scene.record(S2) == {}
    assert scene.engine.created[S2] == 0

    assert scene.beat() == 1
    assert isinstance(await actor.examine(Mode.CLAIM, B), Alive)
    scene.end_by_hand()
    assert isinstance(await actor.tear_down(), Ended)
    assert isinstance(await actor.terminate(SessionId("s-3")), Ended)
    await actor.registry.abort(SessionId("s-4"), A, "SpawnFailed: x")
    await actor.reconcile()
    assert scene.engine.held == {}


@pytest.mark.parametrize("script", Script)
def test_every_script_says_whether_it_may_run_in_a_full_redis(script: Script) -> None:
    """Only what makes sessions or containers, or moves them to another name, may be refused for lack of memory."""
    refusable = {Script.RESERVE, Script.COMMIT, Script.REGISTER, Script.RENAME_HOST, Script.TAKE, Script.SLOT}
    first = load_script(script).body.split("\n", 1)[0]
    assert ("allow-oom" in first or "no-writes" in first) is (script not in refusable)


async def test_a_redis_that_forgot_the_scripts_is_told_them_again(scene: Scene) -> None:
    """SCRIPT FLUSH costs nobody anything, alone or in a pipeline."""
    actor = await scene.actor()
    scene.redis.script_flush()
    await actor.spawn()
    scene.redis.script_flush()

    assert isinstance((await actor.registry.look([S1]))[S1], Alive)
    scene.redis.script_flush()
    assert isinstance(await actor.terminate(), Ended)


@pytest.mark.parametrize("script", [Script.RESERVE, Script.RENEW, Script.COMMIT])
async def test_a_lost_answer_on_the_way_in_is_asked_for_again(scene: Scene, script: Script) -> None:
    """The verb had its effect; the caller gets the one container all the same."""
    actor = await scene.actor()
    actor.link.lose(script)

    session = await actor.acquire()

    assert session.created is True
    assert scene.engine.created[S1] == 1
    assert scene.running() == [session.container_id]
    assert len(scene.events("started")) == 1


@pytest.mark.parametrize("script", [Script.EXAMINE, Script.EXTEND, Script.FINISH])
async def test_a_lost_answer_on_the_way_out_is_asked_for_again(scene: Scene, script: Script) -> None:
    """One claim, one removal, one tombstone."""
    actor = await scene.actor()
    await actor.acquire()
    scene.end_by_hand()
    actor.link.lose(script)

    assert isinstance(await actor.tear_down(), Ended)
    assert scene.engine.removed[S1] == 1
    assert len(scene.events("ended")) == 1


async def test_a_lost_answer_to_an_abort_or_an_adoption_is_asked_for_again(scene: Scene) -> None:
    """The same for what repairs."""
    actor = await scene.actor()
    await actor.reserved(A)
    actor.link.lose(Script.ABORT)
    await actor.registry.abort(S1, A, "SpawnFailed: x")
    assert len(scene.events("failed")) == 1

    _, _, container_id = await actor.spawn()
    scene.redis.delete(scene.keys.record(S1))
    container = await actor.runtime.inspect(container_id)
    assert container is not None
    assert container.labels is not None
    actor.link.lose(Script.ADOPT_ORPHAN)
    claim = await actor.registry.adopt_orphan(container, container.labels, B, Detector.JANITOR)
    assert isinstance(claim, Claimed)


async def test_a_lost_answer_to_a_registration_is_asked_for_again(scene: Scene) -> None:
    """One entry in the audit stream, one record."""
    actor = await scene.actor()
    session = await actor.acquire()
    scene.flush()
    actor.link.lose(Script.REGISTER)

    again = await actor.acquire()

    assert again.container_id == session.container_id
    assert len(scene.events("adopted")) == 1


async def test_a_reserve_that_was_lost_and_then_superseded_is_not_taken_for_granted(scene: Scene) -> None:
    """Its repetition says that another one spawns."""
    actor, other = await scene.actor(spawn_lease=timedelta(milliseconds=1)), await scene.actor()

    async def meanwhile() -> None:
        await scene.lease_over()
        await other.reserved(B)
        message = "the answer was lost"
        raise Unavailable(message)

    actor.link.after(Script.RESERVE, meanwhile)

    assert not isinstance(await actor.reserve(A), Spawn | Live)
    assert scene.record()["token"] == B


async def test_a_restart_of_redis_is_lived_through(full_scene: Scene) -> None:
    """Without its data: the session is registered again, under the client's feet."""
    scene = full_scene
    actor = await scene.actor()
    session = await actor.acquire()

    scene.server.restart()
    again = await actor.acquire()

    assert again.container_id == session.container_id
    assert scene.state() == State.RUNNING
    assert scene.events("adopted")[0]["container_id"] == session.container_id


async def test_an_unreachable_redis_is_said_to_be_so(full_scene: Scene) -> None:
    """With its address and what to look at, after a few seconds of trying."""
    scene = full_scene
    actor = await scene.actor()
    await actor.spawn()
    scene.server.stop()

    with pytest.raises(Unavailable, match=r"cannot reach Redis at 127\.0\.0\.1:\d+: .*; is it running"):
        await actor.registry.get(S1)
    assert len(scene.running()) == 1
    scene.server.start()


async def test_a_wrong_password_is_said_to_be_so() -> None:
    """Exit code 77, and no repetition."""
    with private_redis(password="right") as server:  # noqa: S106 (a private server's)
        link = RedisLink(server.url.replace("right", "wrong"))
        with pytest.raises(PermissionRefused, match="refused the password"):
            await link.look()
        await link.aclose()


@pytest.mark.parametrize(
    "info, complaint",
    [
        ("redis_version:6.2.0\nrun_id:x\nrole:master", "too old; use Redis 7.0 or later"),
        ("redis_version:7.2.4\nvalkey_version:7.0.9\nrun_id:x\nrole:master", "too old; use Valkey 7.2 or later"),
        ("redis_version:7.4.0\nrun_id:x\nrole:slave", "is a slave, not a primary"),
        ("redis_version:7.4.0\nrun_id:x\nrole:master\nredis_mode:cluster", "a Redis Cluster is not supported"),
        ("hello:world", "does not answer INFO like Redis"),
    ],
)
def test_a_server_that_cannot_carry_sessions_is_refused(info: str, complaint: str) -> None:
    """With one line that says what to do."""
    with pytest.raises(Unavailable, match=complaint) as refused:
        parse_server(info).check()
    assert refused.value.exit_code == 69


def test_a_server_that_can_carry_sessions_is_taken() -> None:
    """The oldest that will do, and one far ahead."""
    for info in ("redis_version:7.0.0", "redis_version:7.2.4\nvalkey_version:7.2.0", "redis_version:10.0.0"):
        parse_server(f"{info}\nrun_id:x\nrole:master\nredis_mode:standalone").check()
