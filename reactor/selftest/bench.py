"""What the throw-away sessions run on: the user's engine, or local processes; and all that runs there besides.

What this is: the seam between the story and the two kinds of runtime. What it is not: the runtime of the sessions,
which is the product's own. The invariant: looking at other people's containers changes nothing of them.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from reactor.errors import ConfigError
from reactor.runtime.labels import LABEL
from reactor.selftest.judge import DESTROY, DIE, START, Happening
from reactor.selftest.own import Found, Own, mark_of
from reactor.session import ContainerId
from reactor.settings import RuntimeName
from reactor.templates import Ready, ReadyKind, Template

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from pathlib import Path

    from reactor.runtime.process import ProcessRuntime
    from reactor.runtime.protocol import Runtime
    from reactor.settings import Settings

TTL: Final = timedelta(seconds=4)
TEMPLATE: Final = "default"
LOOK: Final = 0.05
"""Seconds between two looks at local processes."""


class Bench(Protocol):
    """What runs the sessions, seen by somebody who stands beside it."""

    @property
    def runtime(self) -> Runtime:
        """As the product uses it."""
        ...

    @property
    def template(self) -> Template:
        """What a throw-away session is."""
        ...

    @property
    def about(self) -> str:
        """What it is, for a person."""
        ...

    async def everything(self) -> dict[ContainerId, Found]:
        """Return all containers of everybody."""
        ...

    async def fingerprint(self, container_id: ContainerId) -> object:
        """Return all that is known of a container, to be compared with itself later; None: it is gone."""
        ...

    async def plant_bare(self, own: Own) -> ContainerId | None:
        """Start a container without a label; None where there is no such thing."""
        ...

    async def watch(self, own: Own, tell: Callable[[Happening], None], clock: Callable[[], float]) -> None:
        """Tell all that happens to this run's sessions, for ever; `clock` shows Redis' milliseconds."""
        ...

    async def images(self) -> list[str]:
        """Return the tags of the images that selftests brought."""
        ...

    async def drop_image(self, tag: str) -> None:
        """Remove one; twice is fine."""
        ...


@asynccontextmanager
async def open_bench(settings: Settings, own: Own, chosen: Template | None) -> AsyncGenerator[Bench]:
    """Connect to what runs the sessions; `chosen` is the user's own template. Raises as `connect_runtime`.

    Nothing is made yet but for the image, which the caller drops.
    """
    match settings.runtime:
        case RuntimeName.DOCKER:
            from reactor.selftest.docker_bench import open_docker  # noqa: PLC0415 (slow import)

            opened = open_docker(settings, own, None if chosen is None else fitted(chosen))
        case RuntimeName.PROCESS:
            opened = _open_processes(None if chosen is None else fitted(chosen))
    async with opened as bench:
        if (problem := bench.runtime.problems(bench.template)) is not None:
            raise ConfigError(f"template {bench.template.name}: {problem}")
        yield bench


def fitted(template: Template) -> Template:
    """Return a template of the user with the selftest's TTL, and without a pool."""
    return replace(template, ttl=TTL, max_ttl=max(TTL, template.max_ttl), pool=0)


def is_of(labels: Mapping[str, str], own: Own) -> bool:
    """Whether these are the labels of one of this run's sessions."""
    return labels.get(f"{LABEL}prefix") == own.prefix and labels.get(f"{LABEL}deployment") == own.deployment


async def leftover(bench: Bench, own: Own) -> list[Found]:
    """Return all containers that this run has made and that are still there, decoys too."""
    return [each for each in (await bench.everything()).values() if mark_of(each) == own.mark]


# ---------------------------------------------------------------------- local processes


@asynccontextmanager
async def _open_processes(chosen: Template | None) -> AsyncGenerator[Bench]:
    from reactor.runtime.process import ProcessRuntime  # noqa: PLC0415 (needs an extra)
    from reactor.runtime.process_host import default_state_dir  # noqa: PLC0415

    runtime = ProcessRuntime()
    ready = Ready(kind=ReadyKind.STARTED)
    plain = Template(name=TEMPLATE, command=("sleep", "86400"), ready=ready, ttl=TTL)
    try:
        yield ProcessBench(runtime, plain if chosen is None else chosen, default_state_dir())
    finally:
        await runtime.aclose()


class ProcessBench:
    """Local process groups, looked at twenty times a second."""

    def __init__(self, runtime: ProcessRuntime, template: Template, state_dir: Path) -> None:
        """Take the runtime, and its state directory."""
        from reactor.runtime.process_store import Store  # noqa: PLC0415

        self.runtime: Runtime = runtime
        self.template = template
        self._store = Store(state_dir)
        self.about = f"process: each session is a local process group ({self._store.root})"

    async def everything(self) -> dict[ContainerId, Found]:
        """Return all containers of this state directory."""
        return {
            ContainerId(spec.container_id): Found(
                container_id=ContainerId(spec.container_id),
                name=spec.name,
                image="",
                labels=spec.labels,
                state=f"{self._store.leader(spec.container_id)} {self._store.exit_code(spec.container_id)}",
            )
            for spec in self._store.every()
        }

    async def fingerprint(self, container_id: ContainerId) -> object:
        """Return what is written of it, and whether it runs."""
        spec, now = self._store.find(container_id), await self.runtime.inspect(container_id)
        return None if spec is None or now is None else (spec, self._store.leader(container_id), now)

    async def plant_bare(self, own: Own) -> ContainerId | None:  # noqa: ARG002 (as the protocol has it)
        """Do nothing: a process without a label is no container here."""
        return None

    async def watch(self, own: Own, tell: Callable[[Happening], None], clock: Callable[[], float]) -> None:
        """Compare what runs with what ran, for ever."""
        before: dict[ContainerId, tuple[str, bool]] = {}
        while True:
            listed = await self.runtime.containers(prefix=own.prefix, deployment=own.deployment)
            now = {c.container_id: (c.labels.session if c.labels else "", c.running) for c in listed}
            at = clock()
            for container_id, (session_id, running) in (before | now).items():
                ran = before.get(container_id, ("", False))[1]
                runs = container_id in now and running
                kinds = [START] * (runs and not ran) + [DIE] * (ran and not runs)
                kinds += [DESTROY] * (container_id not in now)
                for kind in kinds:
                    tell(
                        Happening(
                            at_ms=at,
                            engine_s=at / 1000,
                            kind=kind,
                            container_id=container_id,
                            session_id=session_id,
                        )
                    )
            before = now
            await anyio.sleep(LOOK)

    async def images(self) -> list[str]:
        """Return nothing: there are none."""
        return []

    async def drop_image(self, tag: str) -> None:
        """Do nothing: there are none."""
