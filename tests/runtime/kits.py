"""One set of tools per runtime, so that one suite can be run over all of them.

What this is: templates that each runtime can run, and what an operator would do behind its back. What it is not: the
claims themselves. It keeps this: after a test, nothing of its deployment is left in the runtime.
"""

from __future__ import annotations

import os
import secrets
import signal
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from reactor.keys import container_name
from reactor.runtime.process_store import Store
from reactor.runtime.protocol import ContainerSpec, Labels, Runtime
from reactor.session import ContainerId, DatabaseId, Deployment, Generation, HostName, SessionId, Token, new_token
from reactor.templates import Template

if TYPE_CHECKING:
    from tests.fakes.runtime import FakeRuntime
    from tests.services.engine import Engine

IDLE = ("sleep", "1000")
STUBBORN = ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
OVER = ("sh", "-c", "echo last words; exit 3")
MISSING = ("/no/such/program",)
AT_ONCE = timedelta(0)


class Operator(Protocol):
    """What somebody can do to a container without asking the runtime."""

    def kill(self, container_id: ContainerId) -> None:
        """End its program."""
        ...

    def freeze(self, container_id: ContainerId) -> None:
        """Stop its program from doing anything."""
        ...


@dataclass(frozen=True)
class Kit:
    """A runtime, and a deployment that only one test uses."""

    runtime: Runtime
    operator: Operator
    image: str = "idle"
    prefix: str = "mcp"
    deployment: Deployment = field(default_factory=lambda: Deployment(f"test-{secrets.token_hex(4)}"))

    def template(self, command: tuple[str, ...] = IDLE, **changes: Any) -> Template:
        """Return a template with this command."""
        return Template(name="test", image=self.image, command=command, **changes)

    def labels(self, session: str = "s1", *, deployment: str | None = None, prefix: str | None = None) -> Labels:
        """Return the labels of a container of this session."""
        return Labels(
            prefix=self.prefix if prefix is None else prefix,
            deployment=self.deployment if deployment is None else Deployment(deployment),
            host=HostName("test-host"),
            db=DatabaseId("db-1"),
            session=SessionId(session),
            generation=Generation(1_763_812_345_678_901),
            template="test",
            ttl=timedelta(minutes=15),
            token=Token(new_token()),
        )

    def spec(
        self, session: str = "s1", template: Template | None = None, labels: Labels | None = None
    ) -> ContainerSpec:
        """Return what a manager would ask for; a session has one name."""
        labels = labels or self.labels(session)
        name = container_name(labels.prefix, labels.deployment, labels.session)
        environment = {"SESSION_ID": session}
        return ContainerSpec(name=name, labels=labels, template=template or self.template(), environment=environment)

    async def run(self, session: str = "s1", template: Template | None = None) -> ContainerId:
        """Create and start a container."""
        container_id = await self.runtime.create(self.spec(session, template))
        await self.runtime.start(container_id)
        return container_id

    async def clean(self) -> None:
        """Remove all containers of this deployment, under whatever prefix a test chose."""
        for prefix in (self.prefix, "other", f"{self.prefix}x"):
            for container in await self.runtime.containers(prefix=prefix):
                labels = container.labels
                if labels is not None and labels.deployment.startswith(self.deployment):
                    await self.runtime.remove(container.container_id, grace=AT_ONCE)


@dataclass(frozen=True)
class DockerOperator:
    """Acts with the docker command."""

    engine: Engine

    def kill(self, container_id: ContainerId) -> None:
        """`docker kill`."""
        self.engine.run("kill", container_id)

    def freeze(self, container_id: ContainerId) -> None:
        """`docker pause`."""
        self.engine.run("pause", container_id)


@dataclass(frozen=True)
class ProcessOperator:
    """Acts with signals."""

    state_dir: Path

    def kill(self, container_id: ContainerId) -> None:
        """Kill the first process."""
        os.kill(self.leader(container_id), signal.SIGKILL)

    def freeze(self, container_id: ContainerId) -> None:
        """Stop the whole group."""
        os.killpg(self.leader(container_id), signal.SIGSTOP)

    def leader(self, container_id: ContainerId) -> int:
        """Return the number of the first process."""
        leader = Store(self.state_dir).leader(container_id)
        assert leader is not None
        return leader.pid


@dataclass(frozen=True)
class FakeOperator:
    """Acts on the memory."""

    fake: FakeRuntime

    def kill(self, container_id: ContainerId) -> None:
        """End it."""
        self.fake.die(container_id)

    def freeze(self, container_id: ContainerId) -> None:
        """Nothing: a fake container does nothing anyway."""
