"""A real server and a simulated one, asked the same.

What this is: the two, and their replies in one form. What it is not: the claims. It keeps this: both begin empty.
"""

import re
from random import Random
from typing import Any, cast

import redis
from redis._parsers.base import BaseParser

from faultlab.sim.clock import ServerClock
from faultlab.sim.connection import Session
from faultlab.sim.loop import SimLoop
from faultlab.sim.redis import SimRedis
from faultlab.sim.replies import Refusal, Reply, Status
from tests.services.redis import Flavour, RedisServer

ALL = "KEA"
"""Every keyspace notification."""


def flavoured(sim: SimRedis, flavour: Flavour) -> None:
    """Let the simulated server tell of a deadline in the past as this flavour does."""
    if flavour is Flavour.VALKEY:
        sim.keyspace.past = ("x", "expired")


def emptied(server: RedisServer) -> None:
    """Let a server begin anew: no keys, no scripts, no counts."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.script_flush()
        client.config_resetstat()
        client.config_set("notify-keyspace-events", ALL)


class Pair:
    """Both servers, and who listens to their keys."""

    def __init__(self, server: RedisServer) -> None:
        """Begin with both empty."""
        emptied(server)
        self.real: Any = redis.Redis.from_url(server.url, protocol=2)
        self.events: Any = self.real.pubsub(ignore_subscribe_messages=True)
        self.events.psubscribe("__keyspace@0__:*")
        self.loop = SimLoop(Random(1))
        self.sim = SimRedis(ServerClock(self.loop), Random(1))
        self.sim.flags = ALL
        flavoured(self.sim, server.flavour)
        self.heard: list[tuple[bytes, bytes]] = []
        ear = Session(lambda message: self.heard.append((message[-2], message[-1])))
        self.sim.sessions[ear] = None
        self.sim.execute(ear, [b"PSUBSCRIBE", b"__keyspace@0__:*"])
        self.session = Session(lambda _message: None)
        self.events.get_message(timeout=1)

    def both(self, *words: str | int) -> tuple[object, object]:
        """Return both replies, in the same form."""
        raw = [str(word).encode() for word in words]
        try:
            connection = self.real.connection_pool.get_connection()
            try:
                connection.send_command(*raw)
                real: object = connection.read_response()
            finally:
                self.real.connection_pool.release(connection)
        except redis.RedisError as error:
            real = shown(error)
        return plain(real), plain(self.sim.execute(self.session, raw)[0])

    def real_events(self, count: int) -> list[tuple[bytes, bytes]]:
        """Return what the real server told, until a marker is heard."""
        found: list[tuple[bytes, bytes]] = []
        self.real.publish("__keyspace@0__:end", "end")
        while len(found) <= count + 100:
            message = self.events.get_message(timeout=5)
            assert message is not None, "the marker was not heard"
            if message["data"] == b"end":
                break
            found.append((message["channel"], message["data"]))
        return found

    def close(self) -> None:
        """Let go of both."""
        self.events.close()
        self.real.close()
        self.loop.close()
        self.sim.lua.close()


def shown(error: Exception) -> str:
    """Return an error's kind and text; where in which script it happened, and a server's own name, are left out."""
    return f"{type(error).__name__} {re.sub(r' script: .*|(?<=Unknown )Redis ', '', str(error))}"


def plain(reply: Reply) -> object:
    """Return a reply as redis-py would give it."""
    match reply:
        case Refusal(text):
            return shown(BaseParser.parse_error(text))
        case Status(text):
            return text
        case list():
            return [plain(part) for part in cast("list[Reply]", reply)]
        case _:
            return reply
