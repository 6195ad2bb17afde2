"""What Redis really holds: every record and heartbeat ten times a second, all notifications, the audit stream.

What this is: a reader with its own connections. What it is not: the product's reader; it asks for keys by their public
names. The invariant: a look is one script, so one instant; it writes nothing, and a key that it finds expired is
reported as gone and left for others to find.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from faultlab.entries import Audit, Belief, KeyEvent, Look, Touch
from faultlab.history import now, wall_offset

if TYPE_CHECKING:
    from faultlab.history import Writer
    from faultlab.observer.pace import Pace

_FIELDS = ("state", "generation", "container_id", "host", "reason")
_LOOK = """#!lua flags=no-writes,allow-oom
local out = { redis.call('HGET', ARGV[1] .. ':meta', 'db') or '', {}, {}, {} }
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':session:*')) do
  if string.sub(key, -10) == ':heartbeat' then
    out[#out + 1] = { key, redis.call('PEXPIRETIME', key) }
  elseif redis.call('TYPE', key).ok == 'hash' then
    out[#out + 1] = { key, redis.call('HMGET', key, 'state', 'generation', 'container_id', 'host', 'reason') }
  end
end
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':host:*:due')) do
  local scores = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for at = 1, #scores, 2 do
    out[2][#out[2] + 1] = { scores[at], scores[at + 1] }
  end
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':host:*:seen')) do
  if tonumber(redis.call('HGET', key, 'watched_until') or '0') > now_ms then
    out[3][#out[3] + 1] = string.sub(key, #ARGV[1] + 7, -6)
  end
end
for _, key in ipairs(redis.call('KEYS', '*')) do
  if string.sub(key, 1, #ARGV[1] + 1) ~= ARGV[1] .. ':' then
    out[4][#out[4] + 1] = key
  end
end
return out
"""
TOMBSTONE_S = 15.0
CLIENT_NAME = "faultlab-observer"
LONGEST_EVENT = 40
"""Longer ones are forged: they are heard, and not kept."""
_ERRORS = (exceptions.RedisError, OSError, EOFError)


class RedisTruth:
    """One Redis and prefix."""

    def __init__(self, url: str, prefix: str, writer: Writer) -> None:
        """Note where to look; nothing is opened yet."""
        self._url = url
        self._head = f"{prefix}:session:"
        self._prefix = prefix
        self._writer = writer
        self._ended: dict[tuple[str, int], float] = {}
        self._read: set[tuple[str, ...]] = set()
        """The audit entries that were written down: a rewound Redis tells some of them again."""

    async def look(self, pace: Pace) -> None:
        """Write down what is there, again and again."""
        async with self._client(timeout=1.0) as client:
            while True:
                t0 = now()
                try:
                    raw, server = await self._asked(client)
                    entry = self._parsed(raw, server, t0)
                except _ERRORS as error:
                    entry = Look(t0=t0, t1=now(), error=" ".join(str(error).split())[:80] or type(error).__name__)
                self._writer.write(entry)
                await pace.rest()

    async def listen(self) -> None:
        """Write down every notification about any key; goes on for ever."""
        while True:
            client = self._client(timeout=None)
            try:
                async with client.pubsub() as channel:
                    await channel.psubscribe("__keyspace@*__:*")
                    async for message in cast("Any", channel.listen()):
                        self._hear(message)
            except _ERRORS:
                await asyncio.sleep(0.1)
            finally:
                await client.aclose()

    async def follow(self) -> None:
        """Write down the product's own event stream; goes on for ever."""
        client = self._client(timeout=2.0)
        last = "0-0"
        while True:
            found: list[Any] = []
            newest: list[Any] = []
            try:
                found = cast("Any", await client.xrange(f"{self._prefix}:events", f"({last}", "+", count=500))
                newest = cast("Any", await client.xrevrange(f"{self._prefix}:events", count=1))
            except _ERRORS:
                pass  # the next turn reads on
            for name, fields in found:
                last = name.decode()
                self._audit(last, {key.decode(): value.decode(errors="replace") for key, value in fields.items()})
            if newest and _number(newest[0][0].decode()) < _number(last):
                last = "0-0"  # the stream was lost, or rewound
            await asyncio.sleep(0.2)

    def _client(self, *, timeout: float | None) -> Redis:
        return Redis.from_url(
            self._url,
            client_name=CLIENT_NAME,
            socket_timeout=timeout,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),
        )

    async def _asked(self, client: Redis) -> tuple[Any, dict[str, Any]]:
        pipe = cast("Any", client.pipeline(transaction=False))
        pipe.eval(_LOOK, 0, self._prefix)
        pipe.info("server", "keyspace")
        raw, server = await pipe.execute()
        return raw, server

    def _parsed(self, raw: Any, server: dict[str, Any], t0: float) -> Look:
        offset = wall_offset()
        found: dict[str, dict[str, Any]] = {}
        for name, value in raw[4:]:
            text = name.decode().removeprefix(self._head)
            if text.endswith(":heartbeat"):
                end_ms = int(value)
                about = found.setdefault(text.removesuffix(":heartbeat"), {})
                about["immortal"] = end_ms == -1
                about["deadline"] = round(end_ms / 1000 - offset, 4) if end_ms >= 0 else None
            else:
                values = [(part or b"").decode() for part in value]
                fields = dict(zip(_FIELDS, values, strict=True))
                about = found.setdefault(text, {})
                about |= {"state": fields["state"], "generation": int(fields["generation"] or 0)}
                about |= {"container": fields["container_id"], "host": fields["host"], "reason": fields["reason"]}
        for name, score in raw[1]:
            if name.decode() in found:
                found[name.decode()]["score"] = round(float(score) / 1000 - offset, 4)
        believed = {session: Belief(**about) for session, about in found.items()}
        sessions = {session: belief for session, belief in believed.items() if self._tells(session, belief, t0)}
        others = [name for name in server if name.startswith("db") and name != "db0"]
        return Look(
            t0=t0,
            t1=now(),
            run_id=server["run_id"],
            db=raw[0].decode(),
            sessions=sessions,
            due=len(raw[1]),
            watched=tuple(sorted(host.decode() for host in raw[2])),
            strangers=tuple(sorted([key.decode(errors="replace") for key in raw[3]] + others)),
        )

    def _tells(self, session: str, belief: Belief, t: float) -> bool:
        """Whether it still says something: a tombstone is written down for a while only."""
        return belief.state != "ended" or t < self._ended.setdefault((session, belief.generation), t) + TOMBSTONE_S

    def _hear(self, message: Any) -> None:
        if message["type"] != "pmessage":
            return
        head, _, key = message["channel"].decode(errors="replace").partition("__:")
        database, event = head.partition("@")[2], message["data"].decode(errors="replace")
        if len(event) > LONGEST_EVENT:
            return
        if event != "expire" and key.startswith(self._head) and key.endswith(":heartbeat"):
            name = key.removeprefix(self._head).removesuffix(":heartbeat")
            self._writer.write(KeyEvent(t=now(), session=name, event=event))
        else:
            self._writer.write(Touch(t=now(), key=key if database == "0" else f"db{database}/{key}", event=event))

    def _audit(self, entry_id: str, fields: dict[str, str]) -> None:
        told = (entry_id, *(fields.get(name, "") for name in ("event", "session_id", "generation")))
        if told in self._read:
            return
        self._read.add(told)
        lag = fields.get("lag_ms", "")
        self._writer.write(
            Audit(
                t=int(entry_id.partition("-")[0]) / 1000 - wall_offset(),
                event=fields.get("event", ""),
                session=fields.get("session_id", ""),
                generation=int(fields.get("generation") or 0),
                container=fields.get("container_id", ""),
                host=fields.get("host", ""),
                reason=fields.get("reason", ""),
                detector=fields.get("detector", ""),
                lag_ms=int(lag) if lag.isdigit() else None,
            )
        )


def _number(entry_id: str) -> tuple[int, int]:
    head, _, tail = entry_id.partition("-")
    return int(head), int(tail or 0)
