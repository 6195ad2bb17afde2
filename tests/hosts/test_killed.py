"""P1 and P3 with real processes: killed, or stopped for longer than their lease, between any two of their calls.

Each process (`tests.hosts.driver`) does one acquire or terminate on the real engine and the real Redis; there is one
for every call that it makes, and it ends or stops right before that call has its effect.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import redis

from reactor import SessionManager, Settings
from reactor.keys import Keys
from reactor.session import SessionId
from tests.cli.command import Cli, containers
from tests.journey.sidecar import World, sidecar
from tests.waiting import block_until, wait_until

ROOT = Path(__file__).parents[2]
KEYS = Keys("mcp")
Job = tuple[str, int]


@pytest.fixture
def loaded(user: Cli, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The user's settings, for a manager in this very process; it waits long enough for a loaded machine."""
    user.write((user.directory / "reactor.toml").read_text() + 'ttl = "10m"\n')
    environment = {**user.environment, "REACTOR_CONFIG": str(user.directory / "reactor.toml")}
    for name, value in {**environment, "REACTOR_ACQUIRE_TIMEOUT": "50s"}.items():
        if name.startswith(("REACTOR_", "REDIS_", "DOCKER_")):
            monkeypatch.setenv(name, value)
    return Settings.load()


class Driver:
    """The processes of one call of the driver."""

    def __init__(self, what: str, how: signal.Signals, jobs: list[Job]) -> None:
        """Start them all."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hosts.driver", what, how.name, *(f"{i}:{number}" for i, number in jobs)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pids: dict[str, int] = {}
        """Session id -> process."""
        self.results: dict[str, tuple[int, str]] = {}
        """Session id -> how many calls it made, and what came of them; only of those that got to their end."""

    def read(self, *, until_forked: int | None = None) -> None:
        """Read what they say: until that many are known, or to their end."""
        assert self._process.stdout is not None
        while len(self.pids) != until_forked:
            words = self._process.stdout.readline().split()
            if not words:
                return
            if words[3] == "forked":
                self.pids[words[0]] = int(words[1])
            else:
                self.results[words[0]] = (int(words[2]), words[3])

    def stopped(self) -> bool:
        """Whether each of them has ended or stopped itself, and none still runs."""
        return all(_state(pid) in ("T", "Z", "") for pid in self.pids.values())

    def wake(self) -> None:
        """Let the stopped ones go on."""
        for pid in self.pids.values():
            if _state(pid) == "T":
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End whatever is left."""
        for pid in (*self.pids.values(), self._process.pid):
            if _state(pid) not in ("Z", ""):
                os.kill(pid, signal.SIGKILL)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def driven(what: str, how: signal.Signals, jobs: list[Job]) -> Generator[Driver]:
    """Run the driver; nothing of it is left after the block."""
    driver = Driver(what, how, jobs)
    try:
        yield driver
    finally:
        driver.close()


def calls_of(what: str, session_id: str) -> int:
    """Return how many calls one acquire or terminate makes that nobody interrupts."""
    with driven(what, signal.SIGKILL, [(session_id, 1000)]) as driver:
        driver.read()
        return driver.results[session_id][0]


def cut_off(what: str, jobs: list[Job]) -> None:
    """Kill one process at each of the calls."""
    with driven(what, signal.SIGKILL, jobs) as driver:
        driver.read()
        # How often a container is looked at hangs on the machine's speed: one that made fewer calls got to its end.
        assert all(driver.results[i][0] <= number for i, number in jobs if i in driver.results)
        assert len(driver.results) < len(driver.pids) / 2


def pass_leases(client: "redis.Redis", ids: list[str]) -> None:
    """Let every lease be over at once, as if its holder had been stopped for that long."""
    for session_id in ids:
        record = KEYS.record(SessionId(session_id))
        if client.hexists(record, "lease_until"):
            client.hset(record, "lease_until", 1)


async def acquired(settings: Settings, ids: list[str]) -> dict[str, str]:
    """Acquire all ids at once; return the container of each."""
    found: dict[str, str] = {}
    async with SessionManager(settings) as sessions, anyio.create_task_group() as tasks:

        async def acquire(session_id: str) -> None:
            found[session_id] = str((await sessions.acquire(session_id)).container_id)

        for session_id in ids:
            tasks.start_soon(acquire, session_id)
    return found


async def test_p1_a_spawn_killed_between_any_two_calls_is_taken_over(world: World, loaded: Settings) -> None:
    """The next acquire of each id is served once the dead spawner's lease is over; one container each, no other."""
    calls = calls_of("acquire", "whole")
    jobs = [(f"cut-{number}", number) for number in range(calls)]
    assert calls > 5
    cut_off("acquire", jobs)

    found = await acquired(loaded, [session_id for session_id, _ in jobs])

    assert len(set(found.values())) == calls
    assert world.running() == {*found.values(), world.listed()["whole"]}
    assert world.everything() == world.running()
    assert all(world.beat(session_id, 600) for session_id in found)


async def test_p1_what_killed_spawns_left_is_removed_though_nobody_asks_for_it(world: World, loaded: Settings) -> None:
    """A reactor alone: what was not committed goes when its lease is over, the rest at its deadline."""
    calls = calls_of("acquire", "whole")
    jobs = [(f"cut-{number}", number) for number in range(calls)]
    cut_off("acquire", jobs)
    for session_id in world.hearts():
        assert world.beat(session_id, 5)

    with sidecar(world.user):
        await wait_until(lambda: not world.everything() and not world.listed(), 60, "nothing is left")
    ended = [str(entry["session_id"]) for entry in world.events() if entry["event"] == "ended"]
    assert sorted(ended) == sorted({*ended})
    assert loaded.host is not None
    assert world.client.zcard(KEYS.due(loaded.host)) == 0


async def test_p1_a_teardown_killed_between_any_two_calls_is_taken_over(world: World, loaded: Settings) -> None:
    """By the next acquire, which gets a new container, or finds the one that was not claimed yet."""
    calls = calls_of_terminate(world, "whole")
    jobs = [(f"cut-{number}", number) for number in range(calls)]
    ids = [session_id for session_id, _ in jobs]
    before = await acquired(loaded, ids)
    cut_off("terminate", jobs)
    pass_leases(world.client, ids)

    after = await acquired(loaded, ids)

    assert {i for i in ids if before[i] == after[i]} == {"cut-0"}
    assert world.running() == world.everything() == set(after.values())


async def test_p3_a_spawner_stopped_between_any_two_calls_meets_its_successor(world: World, loaded: Settings) -> None:
    """Awake after its lease, it starts nothing, hands out what its successor made, and leaves nothing of its own."""
    calls = calls_of("acquire", "whole")
    assert world.user("terminate", "whole").code == 0
    jobs = [(f"cut-{number}", number) for number in range(calls)]
    ids = [session_id for session_id, _ in jobs]
    with driven("acquire", signal.SIGSTOP, jobs) as driver:
        driver.read(until_forked=calls)
        block_until(driver.stopped, 60, "each has stopped itself")
        pass_leases(world.client, ids)
        found = await acquired(loaded, ids)
        driver.wake()
        driver.read()
        assert {i: outcome for i, (_, outcome) in driver.results.items()} == found
    assert world.running() == world.everything() == set(found.values())
    assert all(world.beat(session_id, 600) for session_id in found)


async def test_p3_a_teardown_stopped_after_its_claim_never_hits_the_next_generation(
    world: World, loaded: Settings
) -> None:
    """Awake after its lease, it can only name the container that it had claimed, and that is gone."""
    calls = calls_of_terminate(world, "whole")
    jobs = [(f"cut-{number}", number) for number in range(1, calls)]
    ids = [session_id for session_id, _ in jobs]
    before = await acquired(loaded, ids)
    with driven("terminate", signal.SIGSTOP, jobs) as driver:
        driver.read(until_forked=len(jobs))
        block_until(driver.stopped, 60, "each has stopped itself")
        pass_leases(world.client, ids)
        after = await acquired(loaded, ids)
        driver.wake()
        driver.read()
        assert {outcome for _, outcome in driver.results.values()} == {"-"}
    assert not set(before.values()) & set(after.values())
    assert world.running() == world.everything() == set(after.values())
    assert containers(world.engine, world.deployment) == sorted(after.values())


def calls_of_terminate(world: World, session_id: str) -> int:
    """Return how many calls the teardown of a living session makes."""
    assert world.user("acquire", session_id).code == 0
    return calls_of("terminate", session_id)
