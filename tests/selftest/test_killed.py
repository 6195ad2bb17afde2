"""A selftest that was killed: what stays, for how long, and who removes it.

It is not about the clean-up of one that could still act.
It keeps this: a run that lives, or may live, is never cleaned up by another.
"""

from datetime import timedelta

import redis

from reactor.crew import open_reader
from reactor.runtime.process import ProcessRuntime
from reactor.selftest.bench import ProcessBench
from reactor.selftest.leftovers import clear, dead_runs
from reactor.selftest.own import alive_key
from reactor.settings import Settings
from reactor.templates import Template
from reactor.throwaway import PlainRedis
from tests.cli.command import all_keys
from tests.selftest.user import User
from tests.services.redis import RedisServer
from tests.waiting import wait_until


def _immortal(url: str) -> set[str]:
    """Return the keys that would be there for ever, but for the records of live sessions."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        names = {name.decode() for name in all_keys(url) if client.ttl(name) == -1}
        return {name for name in names if client.type(name) != "hash" or client.hget(name, "state") != "running"}


async def test_its_reactor_ends_by_itself_and_the_rest_goes_once_it_is_surely_dead(
    selftester: User, redis_server: RedisServer
) -> None:
    """Kill -9: the leash ends the reactor; keys but for live records have a TTL; a later run finds the rest."""
    running = selftester.selftest("--runtime", "process", REDIS_URL=redis_server.url)
    running.passes("acquire")
    await wait_until(lambda: _immortal(redis_server.url) == set(), 30, "every key but live records has a TTL")
    assert len(selftester.reactors()) == 1
    running.process.kill()
    running.ends()
    await wait_until(lambda: selftester.reactors() == [], 30, "its reactor has ended")
    mark = running.prefix.removeprefix("selftest_")
    with redis.Redis.from_url(redis_server.url) as client:
        assert _immortal(redis_server.url) == set()
        state = selftester.state / "session-reactor"
        bench = ProcessBench(ProcessRuntime(state), Template(name="t"), state)
        settings = Settings(redis_url=redis_server.url)
        async with open_reader(settings) as reader:
            plain = PlainRedis(reader.link)
            assert await dead_runs(bench, plain, age=timedelta(0)) == set()  # its sign of life is still there
            client.delete(alive_key(mark))
            assert await dead_runs(bench, plain) == set()  # it may only have lost its keys
            assert await dead_runs(bench, plain, age=timedelta(0)) == {mark}
            assert len(await bench.everything()) >= 8
            assert await clear(mark, bench, plain) == []
            assert await dead_runs(bench, plain, age=timedelta(0)) == set()
    await bench.runtime.aclose()
    assert all_keys(redis_server.url) == {}
    assert selftester.processes() == []
