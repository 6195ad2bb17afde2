"""The observer sees in Redis what it is there for: foreign keys, who watches, and every write that Redis tells of."""

import asyncio
import contextlib
from pathlib import Path

import redis.asyncio

from faultlab.entries import KeyEvent, Look, Touch
from faultlab.history import History, Writer
from faultlab.observer.pace import Pace
from faultlab.observer.redis_truth import RedisTruth
from tests.services.redis import RedisServer
from tests.waiting import wait_until

FAR_MS = 4_102_444_800_000


async def test_a_look_tells_of_foreign_keys_other_databases_and_watched_hosts(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """S3 and S7 stand on it: what has our prefix is none, and a host that was watched is not watched any more."""
    writer = Writer(tmp_path, "observer")
    truth = RedisTruth(redis_server.url, "mcp", writer)
    async with redis.asyncio.Redis.from_url(redis_server.url, decode_responses=True) as client:
        await client.hset("mcp:host:web-1:seen", "watched_until", str(FAR_MS))
        await client.hset("mcp:host:web-2:seen", "watched_until", "1")
        await client.mset({"mcp2:x": "1", "mcp": "1", "mcp:ours": "1"})
        async with redis.asyncio.Redis(port=redis_server.port, db=3) as other:
            await other.set("elsewhere", "1")
        looking = asyncio.create_task(truth.look(Pace("redis", 0.01, writer)))
        await wait_until(lambda: bool(History.read(tmp_path).of(Look)))
        looking.cancel()
        await client.delete("mcp:ours")
    look = History.read(tmp_path).of(Look)[0]
    assert look.strangers == ("db3", "mcp", "mcp2:x")
    assert look.watched == ("web-1",)
    assert not look.error


async def test_every_write_that_redis_tells_of_is_heard(redis_server: RedisServer, tmp_path: Path) -> None:
    """L9 stands on it: also one that changes nothing; what goes with a heartbeat key is told by its session."""
    truth = RedisTruth(redis_server.url, "mcp", Writer(tmp_path, "observer"))
    async with redis.asyncio.Redis.from_url(redis_server.url) as client:
        await client.config_set("notify-keyspace-events", "KEA")
        listening = asyncio.create_task(truth.listen())

        async def heard() -> bool:
            await client.hset("mcp:meta", "db", "x")
            return len([touch for touch in History.read(tmp_path).of(Touch) if touch.key == "mcp:meta"]) > 1

        await wait_until(heard)
        await client.set("mcp:session:s:heartbeat", "1", ex=100)
        await client.delete("mcp:session:s:heartbeat")
        await wait_until(lambda: any(event.event == "del" for event in History.read(tmp_path).of(KeyEvent)))
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        await client.delete("mcp:meta")
    history = History.read(tmp_path)
    assert {event.session for event in history.of(KeyEvent)} == {"s"}
    assert ("mcp:session:s:heartbeat", "expire") in {(touch.key, touch.event) for touch in history.of(Touch)}
