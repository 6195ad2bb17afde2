"""Which commands a server knows, and which it refuses in which state, with the words that it uses.

What this is: tables. What it is not: a command. The invariant: as a real server, which the contract tests ask.
"""

from __future__ import annotations

WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
WRITES = frozenset(
    b"DEL SET HSET HDEL HSETNX HINCRBY SADD SREM ZADD ZREM XADD EXPIRE PEXPIRE PEXPIREAT PERSIST FLUSHALL "
    b"FLUSHDB".split()
)
READS = frozenset(
    b"EXISTS TYPE PTTL TTL PEXPIRETIME SCAN GET HGET HMGET HGETALL HEXISTS HLEN SMEMBERS SISMEMBER ZCARD ZSCORE ZCOUNT "
    b"ZMSCORE ZRANGE ZRANGEBYSCORE XLEN XRANGE XREAD".split()
)
SERVERS_OWN = frozenset(b"PING TIME SELECT CLIENT PUBLISH DBSIZE CONFIG SCRIPT INFO".split())
KNOWN = READS | WRITES | SERVERS_OWN
GROWS = frozenset(b"SET HSET HSETNX HINCRBY SADD ZADD XADD".split())
"""Writes that a full server refuses."""
UNHARMED = frozenset(b"PING INFO CONFIG CLIENT SELECT TIME COMMAND ROLE ECHO".split())
"""Answered even while writes are refused."""
REFUSALS = {
    "MISCONF": "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. "
    "Commands that may modify the data set are disabled, because this instance is configured to report errors during "
    "writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details "
    "about the RDB error.",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
    "READONLY": "READONLY You can't write against a read only replica.",
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "NOAUTH": "NOAUTH Authentication required.",
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
}
