"""The demo from its first line to its exit code: what it needs, the acts, and the clean-up.

What this is: set-up and tear-down around `reactor.demo.story`. What it is not: the acts. The invariant: however it ends
(done, failed, Ctrl-C, SIGTERM), what it started is stopped and what it made is removed, and nothing else was touched.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from reactor.crew import open_crew, open_reader
from reactor.demo.screen import Fact, Screen
from reactor.errors import ReactorError, Unavailable
from reactor.manager import SessionManager
from reactor.reconcile import Janitor
from reactor.session import Deployment
from reactor.settings import RuntimeName
from reactor.supervisor import Reactor
from reactor.templates import format_duration
from reactor.throwaway import PlainRedis, leaves, until_signalled

if TYPE_CHECKING:
    from collections.abc import Generator

    from reactor.demo.private_redis import DemoRedis
    from reactor.demo.workload import Workload
    from reactor.settings import Settings

NEEDED: Final = ("mcp", "psutil")
CLEAN_UP_LIMIT: Final = 60.0
_FAILED: Final = 1
_SOCKET_PATH: Final = 80
"""Characters; a longer path cannot be that of a Unix socket everywhere."""


def run_demo(settings: Settings, *, as_json: bool = False) -> int:
    """Run the demo and return its exit code: 0 if every fact was observed, 1 if not, 128 + n after a signal.

    Of the settings only those of Redis, Docker and the runtime are used. Raises `ReactorError` where it cannot begin.
    """
    absent = [name for name in NEEDED if find_spec(name) is None]
    if absent:
        raise Unavailable(f"the demo needs {' and '.join(absent)}: pip install 'session-reactor[demo]'")
    screen = Screen(as_json=as_json)
    return anyio.run(until_signalled, partial(_demo, settings, screen), screen.trouble)


@dataclass(slots=True)
class Leavings:
    """What the clean-up found: containers left by the acts, keys deleted, containers that it could not remove."""

    containers: int = 0
    keys: int = 0
    stuck: int = 0
    done: bool = False


async def _demo(settings: Settings, screen: Screen) -> int:
    from reactor.demo.private_redis import open_redis  # noqa: PLC0415 (after the check of what is installed)
    from reactor.demo.workload import open_workload  # noqa: PLC0415

    began = time.monotonic()
    left = Leavings()
    screen.title("reactor demo: each session has its own container for as long as its heartbeat key lives")
    async with AsyncExitStack() as stack:
        home = stack.enter_context(_home())
        redis = await stack.enter_async_context(open_redis(settings, home))
        screen.setting("Redis", redis.about)
        workload = await stack.enter_async_context(open_workload(settings, home, screen.say))
        screen.setting("Runtime", workload.about)
        ours = _own_settings(settings, redis, workload)
        screen.setting(
            "Prefix", f"{ours.prefix}, TTL {format_duration(ours.ttl)}; to see for yourself: {workload.sign}"
        )
        await _perform(ours, workload, screen, left)
    seen = left.done and not (left.containers or left.stuck or home.exists())
    detail = f"{left.containers} containers were left to remove; {left.keys} keys of this demo deleted, nobody else's"
    screen.fact(Fact.NOTHING_LEFT, seen=seen, detail=detail)
    return _verdict(screen, time.monotonic() - began)


def _own_settings(settings: Settings, redis: DemoRedis, workload: Workload) -> Settings:
    """Return settings under a prefix and a deployment that nobody else has, with nothing that happens by itself."""
    mark = secrets.token_hex(3)
    return replace(
        settings,
        redis_url=redis.url,
        runtime=RuntimeName(workload.runtime.name),
        prefix=f"demo_{mark}",
        deployment=Deployment(f"demo-{mark}"),
        ttl=workload.template.ttl,
        stop_grace=timedelta(0),
        janitor_every=timedelta(0),
        listen=None,
        templates={workload.template.name: workload.template},
    )


def _verdict(screen: Screen, seconds: float) -> int:
    if screen.missing:
        screen.trouble(f"not observed: {'; '.join(screen.missing)}")
        return _FAILED
    screen.title(f"All {len(Fact)} observed, in {seconds:.0f} s.")
    return 0


@contextmanager
def _home() -> Generator[Path]:
    """Make a directory that only this user may enter, and delete it at the end."""
    path = Path(tempfile.mkdtemp(prefix="reactor-demo."))
    if len(str(path)) > _SOCKET_PATH:
        path.rmdir()
        path = Path(tempfile.mkdtemp(prefix="reactor-demo.", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def _perform(settings: Settings, workload: Workload, screen: Screen, left: Leavings) -> None:
    """Play the acts and clean up; an act that failed leaves its facts missing."""
    try:
        await _acts(settings, workload, screen)
    except* ReactorError as group:
        for error in leaves(group):
            screen.trouble(str(error))
    finally:
        with anyio.move_on_after(CLEAN_UP_LIMIT, shield=True):
            await _clean_up(settings, workload, screen, left)


async def _acts(settings: Settings, workload: Workload, screen: Screen) -> None:
    from reactor.demo.story import Stage, play  # noqa: PLC0415

    runtime = workload.runtime
    async with (
        Reactor(settings, runtime=runtime) as reactor,
        SessionManager(settings, runtime=runtime) as sessions,
        open_crew(settings, runtime=runtime) as crew,
        Janitor(crew, settings=settings) as janitor,
        anyio.create_task_group() as tasks,
    ):
        redis = PlainRedis(crew.registry.link)
        stage = Stage(
            screen=screen, crew=crew, sessions=sessions, reactor=reactor, janitor=janitor, redis=redis, tasks=tasks
        )
        await play(stage)
        tasks.cancel_scope.cancel()


async def _clean_up(settings: Settings, workload: Workload, screen: Screen, left: Leavings) -> None:
    """Remove every container and key of this demo, and note what was there and what is."""
    runtime, prefix, deployment = workload.runtime, settings.prefix, settings.deployment
    try:
        found = await runtime.containers(prefix=prefix, deployment=deployment)
        left.containers = len(found)
        for container in found:
            await runtime.remove(container.container_id, grace=timedelta(0))
        async with open_reader(settings) as reader:
            redis = PlainRedis(reader.link)
            left.keys = await redis.delete(await redis.names(reader.keys.everything))
        left.stuck = len(await runtime.containers(prefix=prefix, deployment=deployment))
        left.done = True
    except ReactorError as error:
        screen.trouble(f"not all was removed: {error}")
