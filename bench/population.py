"""Sessions by the hundred thousand, in Redis and on an engine, that nobody had to spawn one by one.

What this is: one session made by the product's own scripts, and copies of its record under other ids. What it is not:
a second idea of what a record is: whatever the product writes is what is copied. The invariant: number `n` of a group
has the same id, container, token and generation wherever it is asked for.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from reactor.crew import open_crew
from reactor.keys import Keys, container_name
from reactor.registry.verdicts import Spawn
from reactor.runtime.protocol import Container, ContainerState, Labels
from reactor.session import (
    ContainerId,
    DatabaseId,
    Deployment,
    Generation,
    HostName,
    SessionId,
    Token,
    new_token,
)

if TYPE_CHECKING:
    import redis

    from reactor.runtime.protocol import Runtime
    from reactor.settings import Settings

PREFIX = "mcp"
STEP = 2000
"""Sessions written by one call: some milliseconds of Redis."""
_OWN = ("generation", "token", "container_id", "deadline")
_SEED = """
local prefix, host, head = ARGV[1], ARGV[2], ARGV[3]
local first, count, base = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local deadline, step = tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local skip_record, skip_key = tonumber(ARGV[9]), tonumber(ARGV[10])
for n = first, first + count - 1 do
  local number = string.format('%012d', n)
  local id = head .. number
  local at = math.floor(deadline + n * step)
  local generation = string.format('%.0f', base + n)
  if skip_record == 0 or n % skip_record ~= 0 then
    redis.call('HSET', prefix .. ':session:' .. id, 'generation', generation, 'token',
      string.format('%016x', n), 'container_id', ARGV[11] .. number, 'deadline', string.format('%.0f', at),
      unpack(ARGV, 12))
    redis.call('ZADD', prefix .. ':host:' .. host .. ':due', string.format('%.0f', at + 1), id)
    if at > now and (skip_key == 0 or n % skip_key ~= 1) then
      redis.call('SET', prefix .. ':session:' .. id .. ':heartbeat', generation, 'PXAT', string.format('%.0f', at))
    end
  end
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Sessions of one kind; `deadline_ms` is that of number 0, each next one is `step_ms` later."""

    number: int
    count: int
    deadline_ms: float
    step_ms: float = 0.0
    base: int
    """The generation of number 0: Redis' clock in microseconds when they are said to have been reserved."""
    db: str
    deployment: str
    host: str
    template: str = "default"
    ttl_ms: int = 0
    without_record: int = 0
    """Every so many-th has a container and nothing in Redis (0: none)."""
    without_key: int = 0
    """Every so many-th has no heartbeat key though its deadline is ahead (0: none)."""

    @property
    def head(self) -> str:
        """How the ids begin; with twelve digits behind it they have 36 characters."""
        return f"5e551011-be4c-4{self.number:03x}-8000-"

    def id(self, n: int) -> SessionId:
        """Return the id of a number."""
        return SessionId(f"{self.head}{n:012d}")

    def deadline(self, n: int) -> float:
        """Return the deadline of a number (Redis' clock, ms)."""
        return float(int(self.deadline_ms + n * self.step_ms))

    def heartbeat(self, n: int) -> str:
        """Return the heartbeat key of a number."""
        return Keys(PREFIX).heartbeat(self.id(n))

    def as_dict(self) -> dict[str, Any]:
        """Return it for a child."""
        return asdict(self)

    def labels(self, n: int) -> Labels:
        """Return the labels of a number's container."""
        return Labels(
            prefix=PREFIX,
            deployment=Deployment(self.deployment),
            host=HostName(self.host),
            db=DatabaseId(self.db),
            session=self.id(n),
            generation=Generation(self.base + n),
            template=self.template,
            ttl=timedelta(milliseconds=self.ttl_ms),
            token=Token(f"{n:016x}"),
        )

    @property
    def container_head(self) -> str:
        """How the containers' ids begin; with twelve digits behind it they have 64 characters."""
        return f"{self.number:04x}".ljust(52, "a")

    def container_id(self, n: int) -> ContainerId:
        """Return the container of a number."""
        return ContainerId(f"{self.container_head}{n:012d}")

    def name(self, n: int) -> str:
        """Return the engine's name of a number's container."""
        return container_name(PREFIX, Deployment(self.deployment), self.id(n))

    def containers(self) -> list[Container]:
        """Return them all as an engine would list them."""
        return [
            Container(
                container_id=self.container_id(n),
                name=self.name(n),
                labels=self.labels(n),
                state=ContainerState.RUNNING,
                created_at=datetime.fromtimestamp((self.base + n) / 1e6, UTC),
            )
            for n in range(self.count)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a record of the product looks like, and in which database it stands."""

    fields: dict[str, str]
    db: str
    deployment: str
    host: str


async def make_model(settings: Settings, runtime: Runtime | None) -> Model:
    """Reserve and commit one session by the product's own scripts, read its record, and take it away again."""
    async with open_crew(settings, runtime=runtime) as crew:
        registry = crew.registry
        session_id, token = SessionId("5e551011-be4c-4fff-8000-000000000000"), new_token()
        template = settings.template()
        answer = await registry.reserve(session_id, token, template=template.name, ttl=template.ttl_for(None))
        assert isinstance(answer, Spawn)  # noqa: S101 (a Redis of our own)
        container_id = ContainerId("0" * 64)
        await registry.save(session_id, token, container_id=container_id, db=answer.db, address=None)
        client = cast("Any", registry.link.client)
        keys = registry.keys
        fields = cast("dict[str, str]", await client.hgetall(keys.record(session_id)))
        await client.delete(keys.record(session_id), keys.heartbeat(session_id))
        await client.zrem(keys.due(registry.host), session_id)
        return Model(fields=fields, db=answer.db, deployment=crew.ways.deployment, host=registry.host)


def seed(client: redis.Redis, model: Model, group: Group) -> None:
    """Write a group into Redis: records, due scores, and the heartbeat keys of those whose deadline is ahead."""
    script = client.register_script(_SEED)
    rest = [part for name, value in model.fields.items() if name not in _OWN for part in (name, value)]
    for first in range(0, group.count, STEP):
        count = min(STEP, group.count - first)
        args = (
            PREFIX, model.host, group.head, first, count, group.base, group.deadline_ms, group.step_ms,
            group.without_record, group.without_key, group.container_head, *rest,
        )  # fmt: skip
        script(args=list(args))
