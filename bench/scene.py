"""One measurement's surroundings: a Redis, settings, sessions, and a reactor in its own process.

What this is: what most benches share. What it is not: a measurement. The invariant: all that a scene starts ends with
its block, whatever happened in it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import redis

from bench.child import Child, ChildFailed
from bench.noop import HOST, NoopRuntime
from bench.population import Group, Model, make_model, seed
from bench.servers import private_redis
from reactor import Settings
from reactor.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from tests.services.redis import RedisServer

SETTLED_S = 1.5
"""After the start a reactor reconciles once more or twice, as its connections come to stand."""
WATCHED_S = 20.0
_FILL = """
for n = tonumber(ARGV[1]), tonumber(ARGV[1]) + tonumber(ARGV[2]) - 1 do
  redis.call('SET', 'foreign:' .. n, 'x', 'EX', 3600 + n % 3600)
end
"""


@dataclass(kw_only=True)
class Scene:
    """What a measurement works with."""

    directory: Path
    server: RedisServer
    client: redis.Redis
    env: dict[str, str]
    noop: bool
    say: Callable[[str], None]
    stack: ExitStack
    model: Model | None = None
    groups: list[Group] = field(default_factory=list[Group])

    @property
    def settings(self) -> Settings:
        """The product's settings for this scene."""
        return Settings.load(env=self.env)

    def now_ms(self) -> float:
        """Return Redis' clock."""
        seconds, micros = self.client.time()
        return seconds * 1000 + micros / 1000

    def fill(self, keys: int) -> None:
        """Add foreign keys whose TTLs end in an hour or later."""
        script = self.client.register_script(_FILL)
        for start in range(0, keys, 10_000):
            script(args=[start, min(10_000, keys - start)])

    def learn(self) -> Model:
        """Return what a record looks like; the product writes one for it, before any reactor runs."""
        if self.model is None:
            runtime = NoopRuntime() if self.noop else None
            self.model = asyncio.run(make_model(self.settings, runtime))
        return self.model

    def group(
        self,
        count: int,
        deadline_ms: float,
        *,
        step_ms: float = 0.0,
        age_s: float = 0.0,
        without_record: int = 0,
        without_key: int = 0,
    ) -> Group:
        """Return a new group of sessions; nothing is written yet. `age_s`: how long ago they were reserved."""
        model = self.learn()
        group = Group(
            number=len(self.groups),
            count=count,
            deadline_ms=deadline_ms,
            step_ms=step_ms,
            base=int((self.now_ms() - age_s * 1000) * 1000),
            db=model.db,
            deployment=model.deployment,
            host=model.host,
            ttl_ms=int(model.fields["ttl_ms"]),
            without_record=without_record,
            without_key=without_key,
        )
        self.groups.append(group)
        return group

    def seed(self, group: Group) -> None:
        """Write a group into Redis."""
        seed(self.client, self.learn(), group)

    def child(self, module: str, **job: object) -> Child:
        """Start a process that ends with the scene."""
        name = module.rpartition(".")[2]
        return self.stack.enter_context(Child(module, self.directory / f"{name}.log", url=self.server.url, **job))

    def reactor(self, *, settle: bool = True, listed: bool = False) -> Child:
        """Start the reactor and wait until it is ready (its answer to that is dropped) and has settled.

        `listed`: the no-op runtime shows the containers of the groups so far.
        """
        self.learn()
        child = self.start_reactor(listed=listed)
        child.hear()
        if settle:
            time.sleep(SETTLED_S)
            self.wait_watched()
        return child

    def start_reactor(self, *, listed: bool = False) -> Child:
        """Start the reactor; the first thing that is heard of it is when it was up and ready."""
        groups = [group.as_dict() for group in self.groups] if listed else []
        return self.child("bench.sidecar", env=self.env, noop=self.noop, groups=groups)

    def wait_watched(self) -> None:
        """Return once the reactor says that it watches the engine; raises `ChildFailed`."""
        key, ends = Keys("mcp").seen(cast("Any", self.learn().host)), time.monotonic() + WATCHED_S
        while int(cast("str", self.client.hget(key, "watched_until")) or 0) < self.now_ms():
            if time.monotonic() > ends:
                raise ChildFailed("the reactor does not say that it watches its engine")
            time.sleep(0.05)

    def ended(self, group: Group) -> list[tuple[float, float] | None]:
        """Return for each of a group when it was claimed and ended (Redis' clock, ms); None: it has not ended."""
        found: list[tuple[float, float] | None] = []
        for first in range(0, group.count, 5000):
            pipe = self.client.pipeline(transaction=False)
            for n in range(first, min(first + 5000, group.count)):
                pipe.hmget(Keys("mcp").record(group.id(n)), "state", "claimed_at", "ended_at")
            for state, claimed, ended in cast("list[list[str]]", pipe.execute()):
                found.append((float(claimed), float(ended)) if state == "ended" else None)
        return found

    def wait_ended(self, limit: float) -> bool:
        """Return once no session is in the index any more; False where some are after `limit` seconds."""
        key, ends = Keys("mcp").due(cast("Any", self.learn().host)), time.monotonic() + limit
        while self.client.zcard(key):
            if time.monotonic() > ends:
                return False
            time.sleep(0.05)
        return True


@contextmanager
def scene(  # noqa: PLR0913 (what differs between scenes)
    say: Callable[[str], None],
    *,
    noop: bool = True,
    docker_host: str = "",
    image: str = "bench",
    ttl: str = "1h",
    pool: int = 0,
    options: Mapping[str, str] | None = None,
) -> Generator[Scene]:
    """Open a scene; with `noop` no engine is needed."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="srbench."))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        server = stack.enter_context(private_redis(directory, options))
        client = redis.Redis.from_url(server.url, decode_responses=True)
        stack.callback(client.close)
        template = directory / "reactor.toml"
        kept = f"pool = {pool}\npool_drain = true\n" if pool else ""
        template.write_text(f'[template.default]\nimage = "{image}"\nttl = "{ttl}"\nmax_ttl = "24h"\n{kept}')
        env = {
            "REDIS_URL": server.url,
            "REACTOR_CONFIG": str(template),
            "REACTOR_DEPLOYMENT": f"bench-{os.getpid()}",
            "REACTOR_HOST": HOST,
            "REACTOR_STOP_GRACE": "0",
            "REACTOR_JANITOR_EVERY": "0",
            "REACTOR_LISTEN": "",
        }
        env |= {"DOCKER_HOST": docker_host} if docker_host else {}
        children = stack.enter_context(ExitStack())  # they end before the server does
        yield Scene(directory=directory, server=server, client=client, env=env, noop=noop, say=say, stack=children)
