"""`reactor run`: how it starts, hears, works beside others, and ends."""

import http.client
import json
import signal
import socket
from contextlib import closing

from tests.cli.command import Cli
from tests.journey.sidecar import World, sidecar
from tests.services.redis import private_redis
from tests.waiting import wait_until

STUBBORN = """
[template.default]
image = "{image}"
command = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
"""


def test_it_refuses_to_start_without_redis_in_one_line(lonely: Cli) -> None:
    """Fail fast and clearly: exit 69, one line that names the address."""
    done = lonely("run")
    assert (done.code, done.out) == (69, "")
    (line,) = done.err.splitlines()
    assert "cannot reach Redis" in line
    assert "nowhere.redis" in line


async def test_with_wait_it_starts_once_redis_is_there(world: World) -> None:
    """`--wait` keeps trying: Redis may come up after its sidecar."""
    with private_redis() as late:
        late.stop()
        with sidecar(world.user, "--wait", "60s", wait=False, environment={"REDIS_URL": late.url}) as reactor:
            assert reactor.process.poll() is None
            late.start()
            await wait_until(lambda: "action=ready" in reactor.log, 30)


async def test_sigterm_drains_what_is_in_hand_and_exits_zero(world: World, idle_image: str) -> None:
    """A container that takes its stop grace to go is gone, and recorded, when the process has ended."""
    user = world.user
    user.write(STUBBORN.format(image=idle_image))
    with sidecar(user, environment={"REACTOR_STOP_GRACE": "3s"}) as reactor:
        acquired = user("acquire", "stubborn", "--json").json
        world.client.delete(str(acquired["heartbeat_key"]))
        await wait_until(lambda: user("ls", "--json").lines[0]["state"] == "ending", 10)
        reactor.signal(signal.SIGTERM)
        assert reactor.ended() == 0, reactor.log
        assert world.everything() == set()
        assert [entry["event"] for entry in world.events("stubborn")] == ["started", "ended"]


async def test_a_second_signal_quits_at_once(world: World, idle_image: str) -> None:
    """Whoever asks twice does not wait for a stop grace; the claim's lease hands the rest on."""
    user = world.user
    user.write(STUBBORN.format(image=idle_image))
    with sidecar(user, environment={"REACTOR_STOP_GRACE": "60s"}) as reactor:
        acquired = user("acquire", "stubborn", "--json").json
        world.client.delete(str(acquired["heartbeat_key"]))
        await wait_until(lambda: user("ls", "--json").lines[0]["state"] == "ending", 10)
        reactor.signal(signal.SIGTERM)
        await wait_until(lambda: "action=draining" in reactor.log)
        reactor.signal(signal.SIGTERM)
        assert reactor.ended(15) == 128 + signal.SIGTERM


async def test_sigusr1_reconciles_now(world: World) -> None:
    """An orphan is found at the signal, with the periodic reconcile switched off."""
    user = world.user
    with sidecar(user, environment={"REACTOR_JANITOR_EVERY": "0"}) as reactor:
        acquired = user("acquire", "orphan", "--json").json
        world.client.delete("mcp:session:orphan")
        world.client.delete(str(acquired["heartbeat_key"]))
        world.client.zrem(f"mcp:host:{acquired['host']}:due", "orphan")
        assert world.running() == {str(acquired["container_id"])}
        reactor.signal(signal.SIGUSR1)
        await wait_until(lambda: not world.everything(), 20)
        (ended,) = [entry for entry in world.events("orphan") if entry["event"] == "ended"]
        assert (ended["reason"], ended["detector"]) == ("orphan", "janitor")


async def test_without_notifications_deadlines_are_kept_and_it_says_so(world: World) -> None:
    """Deadline only: nothing but an early DEL is later; the log and `doctor` name the setting."""
    world.client.config_set("notify-keyspace-events", "")
    user = world.user
    with sidecar(user) as reactor:
        await wait_until(lambda: "notify-keyspace-events KExge" in reactor.log, 20)
        user("acquire", "quiet", "--ttl", "2s")
        await wait_until(lambda: not world.everything() and not world.listed(), 20)
        (ended,) = [entry for entry in world.events("quiet") if entry["event"] == "ended"]
        assert (ended["reason"], ended["detector"]) == ("expired", "deadline")
    checks = {line["name"]: line for line in user("doctor", "--json").lines}
    assert checks["notifications"]["status"] == "warn"


async def test_two_reactors_share_the_work_and_end_each_session_once(world: World) -> None:
    """Any number may run beside each other: one `ended` entry and one removal for each session."""
    user = world.user
    with sidecar(user), sidecar(user):
        ids = [f"pair-{number}" for number in range(6)]
        for session_id in ids:
            assert user("acquire", session_id, "--ttl", "2s").code == 0
        await wait_until(lambda: not world.everything() and not world.listed(), 30)
    ended = [entry["session_id"] for entry in world.events() if entry["event"] == "ended"]
    assert sorted(str(session_id) for session_id in ended) == ids


async def test_a_session_of_another_host_is_left_to_its_own_reactor(world: World) -> None:
    """The record says which host; a reactor of another one takes it out of nothing but its own index."""
    user = world.user
    assert user("acquire", "far", "--ttl", "2s").code == 0
    elsewhere = {"REACTOR_RUNTIME": "process", "REACTOR_HOST": "elsewhere", "REACTOR_CONFIG": "/dev/null"}
    with sidecar(user, environment=elsewhere) as reactor:
        await wait_until(lambda: not world.hearts(), 10)
        reactor.signal(signal.SIGUSR1)
        await wait_until(lambda: reactor.log.count("reconcile done") > 1, 20)
        assert len(world.everything()) == 1
        assert set(world.listed()) == {"far"}
    with sidecar(user):
        await wait_until(lambda: not world.everything(), 20)


def test_a_second_engine_under_the_same_host_name_is_refused(world: World) -> None:
    """Two engines under one name would end each other's sessions: exit 78, with the fix."""
    user = world.user
    assert user("acquire", "first").code == 0
    done = user("run", REACTOR_RUNTIME="process", REACTOR_CONFIG="/dev/null")
    assert done.code == 78, done
    assert "REACTOR_HOST" in done.err


async def test_it_survives_redis_going_away_and_coming_back(world: World) -> None:
    """With an append-only file: nothing is removed while Redis is down or just back, and the living live on."""
    user = world.user
    with private_redis(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        mine = {"REDIS_URL": server.url}
        with sidecar(user, environment=mine) as reactor:
            acquired = user("acquire", "steady", "--ttl", "12s", "--json", **mine).json
            server.kill()
            server.start()
            assert user("heartbeat", "steady", **mine).code == 0
            assert world.running() == {acquired["container_id"]}
            await wait_until(lambda: not world.everything(), 60)
            assert reactor.process.poll() is None, reactor.log
            events = user("events", "--json", **mine).lines
            assert "quarantine" in [entry["event"] for entry in events]


def test_a_health_address_in_use_is_refused_with_its_setting(world: World) -> None:
    """Two sidecars on one machine need two addresses: exit 78, one line with the setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = world.user("run", REACTOR_LISTEN=f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.code == 78
    assert [line for line in done.err.splitlines() if line.startswith("reactor:")] == done.err.splitlines()[-1:]
    assert "REACTOR_LISTEN" in done.err


async def test_livez_and_readyz_answer_while_it_runs(world: World) -> None:
    """Ready once the engine is watched; alive whatever Redis does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with sidecar(world.user, environment={"REACTOR_LISTEN": f"127.0.0.1:{port}"}):

        def says(path: str) -> tuple[int, bytes]:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as link:
                link.request("GET", path)
                with link.getresponse() as answer:
                    return answer.status, answer.read()

        await wait_until(lambda: says("/readyz")[0] == 200, 20)
        assert json.loads(says("/readyz")[1])["engine_watched"] is True
        assert says("/livez") == (200, b"ok\n")


async def test_after_a_flushall_the_engine_rebuilds_the_registry(world: World) -> None:
    """Redis lost everything and stayed up: an acquire gets the same container, and the abandoned go at their TTL."""
    user = world.user
    with sidecar(user, environment={"REACTOR_ACQUIRE_TIMEOUT": "2s"}):
        kept = user("acquire", "kept", "--ttl", "12s", "--json").json
        assert user("acquire", "silent", "--ttl", "12s").code == 0
        world.client.flushall()
        again = user("acquire", "kept", "--json").json
        assert (again["container_id"], again["created"]) == (kept["container_id"], False)

        def kept_until_silent_is_gone() -> bool:
            assert world.beat("kept", 12), "the living session was killed"
            return len(world.everything()) == 1

        await wait_until(kept_until_silent_is_gone, 60)
        assert world.running() == {kept["container_id"]}
