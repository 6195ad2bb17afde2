"""What a test of the pool asks of engine and Redis, and what it tells the user to do.

It is not a way around the program: containers are made by reactors and acquires.
It keeps this: what is asked here is asked of the `docker` command and of a plain client.
"""

from dataclasses import dataclass
from typing import cast

import redis

from reactor import Settings
from reactor.keys import Keys
from reactor.session import HostName
from tests.cli.command import Cli, containers
from tests.services.engine import Engine
from tests.waiting import wait_until

KEYS = Keys("mcp")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """One host with its pool."""

    user: Cli
    engine: Engine
    client: "redis.Redis"
    deployment: str
    image: str

    @property
    def host(self) -> HostName:
        """The host's name: each test has its own."""
        return HostName(self.deployment)

    def template(self, *, pool: int, more: str = "", ttl: str = "10m", image: str = "") -> Settings:
        """Write the template, and return the settings that a program reads then."""
        lines = [f'image = "{image or self.image}"', f'ttl = "{ttl}"', 'max_ttl = "1h"', f"pool = {pool}", more]
        self.user.write("\n".join(["[template.default]", *lines, ""]))
        environment = {**self.user.environment, "REACTOR_ACQUIRE_TIMEOUT": "50s", "REACTOR_LISTEN": ""}
        return Settings.load(env=environment, cwd=self.user.directory)

    def ready(self, template: str = "default") -> set[str]:
        """The IDs of the containers that wait in the pool, from Redis."""
        entries = cast("dict[str, str]", self.client.hgetall(KEYS.pool(self.host, template)))
        return {value.split()[1] for value in entries.values() if value.startswith("ready ")}

    async def filled(self, size: int, template: str = "default") -> set[str]:
        """Wait until that many are ready; return them."""
        await wait_until(lambda: len(self.ready(template)) == size, 120, f"{size} are ready")
        return self.ready(template)

    def everything(self) -> set[str]:
        """The IDs of all the deployment's containers, from the engine."""
        return set(containers(self.engine, self.deployment))

    def name(self, container_id: str) -> str:
        """The name that a container bears now."""
        return str(self.engine.inspect(container_id)["Name"]).removeprefix("/")

    def record(self, session_id: str) -> dict[str, str]:
        """The fields of a session's record."""
        return cast("dict[str, str]", self.client.hgetall(f"mcp:session:{session_id}"))
