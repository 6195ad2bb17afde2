"""Two hosts as users have them: two engines, one Redis, a sidecar on each, and the command line on both."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.cli.command import Cli, assert_quiet, clean_up, containers, plain_environment
from tests.hosts.engines import private_engine
from tests.journey.sidecar import sidecar
from tests.services.engine import Engine
from tests.services.images import IDLE
from tests.services.redis import RedisServer
from tests.waiting import wait_until

HASTY = {"REACTOR_ACQUIRE_TIMEOUT": "2s"}


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Engine, Engine]]:
    """Two engines for all tests of this file."""
    with private_engine() as a, private_engine() as b:
        yield a, b


@pytest.fixture
def users(
    tmp_path: Path, redis_server: RedisServer, engines: tuple[Engine, Engine], deployment: str
) -> Iterator[tuple[Cli, Cli]]:
    """A user on each host, `host-a` and `host-b`, with one Redis and one deployment."""
    found: list[Cli] = []
    for name, engine in zip("ab", engines, strict=True):
        directory = tmp_path / name
        directory.mkdir()
        cli = Cli(
            directory=directory,
            environment=plain_environment(
                REDIS_URL=redis_server.url,
                DOCKER_HOST=engine.host,
                REACTOR_DEPLOYMENT=deployment,
                REACTOR_HOST=f"host-{name}",
                REACTOR_STOP_GRACE="0",
            ),
        )
        cli.write(f'[template.default]\nimage = "{IDLE}"\nmax_ttl = "1h"\n')
        found.append(cli)
    yield found[0], found[1]
    for engine in engines:
        clean_up(engine, deployment)
        clean_up(engine, f"{deployment}-b")


async def test_p5_a_session_moves_from_one_host_to_the_other(
    users: tuple[Cli, Cli], engines: tuple[Engine, Engine], deployment: str
) -> None:
    """Ended here, acquired there; a terminate from the wrong side is done by the owner; both sides agree throughout."""
    (a, b), (on_a, on_b) = users, engines
    with sidecar(a), sidecar(b):
        assert a("acquire", "moves", "--json").json["host"] == "host-a"
        assert_quiet(b("acquire", "moves"))
        assert a("terminate", "moves").code == 0
        moved = b("acquire", "moves", "--json").json
        assert (moved["host"], moved["created"]) == ("host-b", True)
        assert (containers(on_a, deployment), containers(on_b, deployment)) == ([], [moved["container_id"]])
        for user in users:
            assert user("reconcile", "--dry-run").code == 0
        assert a("terminate", "moves").code == 0
        assert containers(on_b, deployment) == []


async def test_p9_a_host_that_is_gone_is_forgotten_and_comes_back(
    users: tuple[Cli, Cli], engines: tuple[Engine, Engine], deployment: str
) -> None:
    """75 until `forget-host`, which is refused while its reactor runs; back again, it removes what it still has."""
    (a, b), (on_a, on_b) = users, engines
    with sidecar(b) as there:
        old = b("acquire", "kept", "--json").json
        refused = a("forget-host", "host-b")
        assert (refused.code, "a reactor runs on host host-b" in refused.err) == (75, True)
        there.process.kill()
    await wait_until(lambda: a("forget-host", "host-c").code == 1, what="an unknown host is a no")
    await wait_until(
        lambda: a("acquire", "kept", **HASTY).code != 0, what="the killed reactor's last word holds no more"
    )
    late = a("acquire", "kept", **HASTY)
    assert (late.code, "`reactor forget-host host-b`" in late.err) == (75, True), late
    late = a("terminate", "kept", **HASTY)
    assert (late.code, "`reactor forget-host host-b`" in late.err) == (75, True), late
    assert b("forget-host", "host-b").code == 64

    forgotten = a("forget-host", "host-b", "--json")
    assert_quiet(forgotten)
    assert forgotten.json == {"host": "host-b", "freed": 1}
    assert a("forget-host", "host-b").code == 1
    new = a("acquire", "kept", "--json").json
    assert new["generation"] > old["generation"]
    with sidecar(b):
        assert containers(on_b, deployment) == []
    assert containers(on_a, deployment) == [new["container_id"]]
    assert a("heartbeat", "kept").code == 0


async def test_p5_a_second_engine_under_the_name_is_refused_and_a_renamed_one_is_not(
    users: tuple[Cli, Cli], engines: tuple[Engine, Engine], deployment: str
) -> None:
    """78 for the one; the other goes on with its sessions, and ends them."""
    (a, b), (on_a, _) = users, engines
    with sidecar(a) as old:
        session = a("acquire", "stays", "--json").json
        refused = b("acquire", "other", REACTOR_HOST="host-a")
        assert (refused.code, "another REACTOR_HOST" in refused.err) == (78, True), refused
        refused = a("acquire", "other", REACTOR_HOST="renamed")
        assert (refused.code, "set REACTOR_HOST=host-a, or stop that reactor" in refused.err) == (78, True), refused
        old.process.kill()
    renamed = {"REACTOR_HOST": "renamed"}
    with sidecar(a, environment=renamed):
        again = a("acquire", "stays", "--json", **renamed).json
        assert (again["container_id"], again["host"], again["created"]) == (session["container_id"], "renamed", False)
        assert on_a.labels(session["container_id"])["session-reactor.host"] == "host-a"
        assert b("terminate", "stays").code == 0
        assert containers(on_a, deployment) == []


async def test_d33_two_deployments_on_one_engine_survive_each_others_data_loss(
    users: tuple[Cli, Cli], engines: tuple[Engine, Engine], deployment: str, redis_server: RedisServer
) -> None:
    """The same prefix, the same id, two databases: each keeps its own container, whatever the other loses."""
    (a, _), (on_a, _) = users, engines
    other = {"REDIS_URL": f"{redis_server.url}/1", "REACTOR_DEPLOYMENT": f"{deployment}-b"}
    ours = a("acquire", "shared", "--json").json["container_id"]
    theirs = a("acquire", "shared", "--json", **other).json["container_id"]
    assert ours != theirs
    with sidecar(a), sidecar(a, environment=other):
        for database, mine, foreign in ((1, theirs, other), (0, ours, {})):
            with redis.Redis.from_url(f"{redis_server.url}/{database}") as client:
                client.flushdb()
            again = a("acquire", "shared", "--json", **foreign).json
            assert (again["container_id"], again["created"]) == (mine, False)
            for who in (other, {}):
                assert a("reconcile", "--force", **who).code == 0
            assert sorted(on_a.containers({"session-reactor.session": "shared"}, running=True)) == sorted(
                [ours, theirs]
            )
        assert a("terminate", "shared").code == 0
        assert on_a.containers({"session-reactor.session": "shared"}) == [theirs]
