"""The simulated Redis is held to a real one: the same commands and scripts give the same replies and events."""

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.redis import RedisServer
from tests.sim.pair import Pair

KEYS = ["k1", "k2", "k3"]
LONG = 10_000_000
"""A TTL in ms that no test outlives."""


@pytest.fixture
def pair(server: RedisServer) -> Generator[Pair]:
    """Two empty servers."""
    both = Pair(server)
    yield both
    both.close()


key = st.sampled_from(KEYS)
member = st.sampled_from(["a", "b", "c"])
number = st.integers(-5, 5)
ttl = st.sampled_from([LONG, LONG + 500_000, 2 * LONG, 0, -1])
score = st.sampled_from(["0", "1", "2.5", "-3", "inf", "-inf", "1.7e15", "nope"])
bound = st.sampled_from(["-inf", "+inf", "0", "(1", "1", "(2.5", "x"])
flag = st.sampled_from(["NX", "XX", "GT", "LT"])
command = st.one_of(
    st.tuples(st.just("DEL"), key, key),
    st.tuples(st.just("EXISTS"), key, key),
    st.tuples(st.just("TYPE"), key),
    st.tuples(st.just("SET"), key, member),
    st.tuples(st.just("SET"), key, member, st.just("PX"), ttl),
    st.tuples(st.just("SET"), key, member, st.sampled_from(["NX", "XX", "KEEPTTL", "bad"])),
    st.tuples(st.just("SET"), key, member, st.just("PXAT"), st.sampled_from([4_102_444_800_000, 0])),
    st.tuples(st.just("GET"), key),
    st.tuples(st.just("PEXPIRE"), key, ttl),
    st.tuples(st.just("PEXPIRE"), key, ttl, flag),
    st.tuples(st.just("PEXPIRE"), key, ttl, flag, flag),
    st.tuples(st.just("EXPIRE"), key, st.sampled_from([10_000, 20_000, 0, -5])),
    st.tuples(st.just("PERSIST"), key),
    st.tuples(st.just("PEXPIREAT"), key, st.sampled_from([4_102_444_800_000, 5])),
    st.tuples(st.just("PEXPIRETIME"), st.sampled_from(["none"])),
    st.tuples(st.just("HSET"), key, member, member),
    st.tuples(st.just("HSET"), key, member, member, member, member),
    st.tuples(st.just("HSET"), key, member),
    st.tuples(st.just("HSETNX"), key, member, member),
    st.tuples(st.just("HINCRBY"), key, member, number),
    st.tuples(st.just("HDEL"), key, member, member),
    st.tuples(st.just("HGET"), key, member),
    st.tuples(st.just("HMGET"), key, member, member),
    st.tuples(st.just("HGETALL"), key),
    st.tuples(st.just("HEXISTS"), key, member),
    st.tuples(st.just("HLEN"), key),
    st.tuples(st.just("SADD"), key, member, member),
    st.tuples(st.just("SREM"), key, member),
    st.tuples(st.just("SISMEMBER"), key, member),
    st.tuples(st.just("ZADD"), key, score, member),
    st.tuples(st.just("ZADD"), key, flag, score, member),
    st.tuples(st.just("ZADD"), key, flag, st.just("CH"), score, member, score, member),
    st.tuples(st.just("ZREM"), key, member, member),
    st.tuples(st.just("ZCARD"), key),
    st.tuples(st.just("ZSCORE"), key, member),
    st.tuples(st.just("ZCOUNT"), key, bound, bound),
    st.tuples(st.just("ZRANGE"), key, number, number),
    st.tuples(st.just("ZRANGE"), key, number, number, st.just("WITHSCORES")),
    st.tuples(st.just("ZRANGE"), key, bound, bound, st.just("BYSCORE")),
    st.tuples(st.just("ZRANGE"), key, bound, bound, st.just("BYSCORE"), st.just("LIMIT"), st.just(0), number),
    st.tuples(st.just("XLEN"), key),
    st.tuples(st.just("SCRIPT"), st.just("LOAD"), st.just("return 1")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commands=st.lists(command, max_size=25))
def test_random_commands_give_the_same_replies_and_events(
    server: RedisServer, commands: list[tuple[str | int, ...]]
) -> None:
    """The differential test of the fake: replies, errors and keyspace events."""
    pair = Pair(server)
    try:
        for words in commands:
            real, sim = pair.both(*words)
            assert sim == real, words
        assert pair.heard == pair.real_events(len(pair.heard)), commands
    finally:
        pair.close()


SCRIPTS = [
    "return {1, 2.9, 'x', false, nil, 3}",
    "return {true, {ok = 'fine'}, {1, {2}}}",
    "return redis.error_reply('SCHEMA of another world')",
    "return redis.error_reply('oneword')",
    "return redis.status_reply('FINE')",
    "return redis.call('HGETALL', KEYS[1])",
    "return redis.call('TYPE', KEYS[1]).ok",
    "return tostring(redis.call('HGET', KEYS[1], 'missing'))",
    "redis.call('HSET', KEYS[1], 'a', 1, 'b', 1.5, 'c', 1763800000000000) return redis.call('HGETALL', KEYS[1])",
    "return redis.call('INCRX', KEYS[1])",
    "redis.call('SET', KEYS[1], 'v') return redis.call('HGET', KEYS[1], 'f')",
    "return {string.format('%.0f', 1763800000000000), unpack(ARGV)}",
    "#!lua flags=no-writes\nreturn redis.call('SET', KEYS[1], 'v')",
    "#!lua\nredis.call('ZADD', KEYS[1], '1763800000000', 'a') return redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')",
    "return #redis.call('ZRANGE', KEYS[1], '-inf', '5', 'BYSCORE', 'LIMIT', '0', '2')",
    "return tonumber(redis.call('PTTL', KEYS[1])) + 0.7",
]


@pytest.mark.parametrize("body", SCRIPTS)
def test_scripts_convert_values_as_redis_does(pair: Pair, body: str) -> None:
    """Numbers are cut, false and nil end a list or become nil, errors keep their word."""
    real, sim = pair.both("EVAL", body, 1, "key", "x", "y")
    assert _first_word_of_error(sim) == _first_word_of_error(real)


def _first_word_of_error(reply: object) -> object:
    return reply.split(",")[0] if isinstance(reply, str) else reply


MODES = {
    "NOREPLICAS": [("CONFIG", "SET", "min-replicas-to-write", "3")],
    "OOM": [("CONFIG", "SET", "maxmemory", "1")],
    "READONLY": [("REPLICAOF", "127.0.0.1", "1")],
}
HEAL = {
    "NOREPLICAS": [("CONFIG", "SET", "min-replicas-to-write", "0")],
    "OOM": [("CONFIG", "SET", "maxmemory", "0")],
    "READONLY": [("REPLICAOF", "NO", "ONE")],
}
ASKED = [
    ("SET", "k", "v"), ("HSET", "h", "f", "v"), ("EXPIRE", "there", "100"), ("DEL", "nothing"), ("ZADD", "z", "1", "a"),
    ("HGETALL", "h"), ("EXISTS", "k"),
    ("EVAL", "#!lua flags=allow-oom\nreturn redis.call('HSET', 'h', 'f', 'v')", "0"),
    ("EVAL", "#!lua\nreturn redis.call('HSET', 'h', 'f', 'v')", "0"),
    ("EVAL", "#!lua flags=no-writes\nreturn redis.call('HGET', 'h', 'f')", "0"),
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_refuses_refuses_the_same_commands(pair: Pair, mode: str) -> None:
    """R7, R9, R11: which commands and scripts a full, demoted or lonely server takes, and how it refuses the others."""
    pair.both("SET", "there", "1")
    raw = pair.real
    try:
        for words in MODES[mode]:
            raw.execute_command(*words)
        pair.sim.mode = mode
        answers = [(words, *pair.both(*words)) for words in ASKED]
    finally:
        for words in HEAL[mode]:
            raw.execute_command(*words)
    assert [(words, sim) for words, _, sim in answers] == [(words, real) for words, real, _ in answers]


def test_keys_end_when_now_is_beyond_their_deadline(pair: Pair) -> None:
    """A key is dead only when now > deadline; its end is told when somebody looks."""
    sim = pair.sim
    sim.direct(b"SET", b"k", b"v", b"PX", b"10")
    pair.loop.skip(0.010)
    assert sim.direct(b"PTTL", b"k") == 0
    assert sim.direct(b"EXISTS", b"k") == 1
    pair.loop.skip(0.0011)
    assert sim.direct(b"EXISTS", b"k") == 0
    assert pair.heard[-1] == (b"__keyspace@0__:k", b"expired")


def test_a_failover_takes_back_the_last_writes(pair: Pair) -> None:
    """R28: one command or script is one write; what it touched is as it was before."""
    sim = pair.sim
    for words in (
        b"HSET h f 1",
        b"ZADD z 1 a",
        b"XADD s * a b",
        b"HSET h f 2 g 3",
        b"ZADD z 5 a",
        b"XADD s * a c",
        b"DEL h",
    ):
        sim.direct(*words.split())
    before = sim.run_id, sim.replid
    assert sim.fail_over(4) == 4
    assert sim.direct(b"HGETALL", b"h") == [b"f", b"1"]
    assert sim.direct(b"ZSCORE", b"z", b"a") == b"1"
    assert sim.direct(b"XLEN", b"s") == 1
    assert (sim.run_id, sim.replid) != before


def test_a_failover_takes_back_a_flush_and_a_deletion(pair: Pair) -> None:
    """What was thrown away as a whole comes back as a whole, streams too."""
    sim = pair.sim
    for words in (b"HSET h f 1", b"XADD s * a b", b"XADD t * a b", b"DEL t", b"FLUSHALL", b"XADD s * a c"):
        sim.direct(*words.split())
    assert sim.fail_over(3) == 3
    assert sim.direct(b"HGETALL", b"h") == [b"f", b"1"]
    assert [sim.direct(b"XLEN", name) for name in (b"s", b"t")] == [1, 1]
