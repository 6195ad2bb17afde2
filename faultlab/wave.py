"""`python -m faultlab wave`: everything but Redis is killed, and comes back to hundreds of sessions that are overdue.

What this is: one measurement of a restart: from the start of the reactor's process to the last claim, by Redis' clock.
What it is not: random faults. The invariant that is shown: our own absence delays an end, and never loses one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from redis.asyncio import Redis

from faultlab.children import Child, NotStarted, descendants, python, python_environment, state_of, until
from faultlab.servers import LabRedis
from faultlab.wave_parts import ACQUIRED, ttl_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LIMIT_S: Final = 5.0
PATIENCE_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """What was measured, in seconds after the start of the reactor's process."""

    runtime: str
    sessions: int
    claims: tuple[float, ...]
    ends: tuple[float, ...]

    @property
    def well(self) -> bool:
        """Whether all were claimed in time, none before the reactor was there, and all ended."""
        all_of_them = len(self.claims) == len(self.ends) == self.sessions
        return all_of_them and min(self.claims) >= 0 and max(self.claims) <= LIMIT_S

    def lines(self) -> str:
        """Return it for a person."""
        return (
            f"{self.runtime} runtime: {len(self.claims)} of {self.sessions} overdue sessions claimed within "
            f"{max(self.claims, default=float('nan')):.2f} s of the start of the reactor's process (limit "
            f"{LIMIT_S:.0f} s); {len(self.ends)} containers gone within {max(self.ends, default=float('nan')):.2f} s\n"
            f"{'PASSED' if self.well else 'FAILED'}"
        )


async def break_over(sessions: int, runtime: str, say: Callable[[str], None]) -> Wave:
    """Make so many sessions beside a reactor, kill -9 all but Redis, let them become overdue, start another reactor."""
    directory = Path(tempfile.mkdtemp(prefix="faultlab."))
    redis = LabRedis(directory / "redis")
    try:
        await redis.up()
        env = _environment(directory, redis.url)
        await _sessions(directory, env, sessions, runtime)
        say(f"{sessions} sessions lived; reactor and client were killed with SIGKILL")
        admin: Any = Redis.from_url(redis.url, decode_responses=True)

        async def overdue() -> bool:
            return not await admin.keys("mcp:session:*:heartbeat")

        if not await until(overdue, ttl_s(sessions) * 2):
            raise NotStarted("the sessions did not become overdue")
        say("all are overdue; a reactor starts")
        try:
            return await _watch(admin, directory, env, sessions, runtime)
        finally:
            await admin.aclose()
    finally:
        redis.remove()
        for pid in (pid for pid in descendants(os.getpid()) if state_of(pid) not in ("", "Z")):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)


def _environment(directory: Path, url: str) -> dict[str, str]:
    sleep = shutil.which("sleep") or "sleep"
    template = f'[template.default]\nimage = "fake"\ncommand = ["{sleep}", "86400"]\nmax_ttl = "1h"\n'
    (directory / "reactor.toml").write_text(template)
    return python_environment(
        REDIS_URL=url,
        REACTOR_RUNTIME="process",
        REACTOR_CONFIG=str(directory / "reactor.toml"),
        REACTOR_STOP_GRACE="1s",
        REACTOR_LISTEN="",
        REACTOR_HOST="wave",
        XDG_STATE_HOME=str(directory / "state"),
    )


async def _sessions(directory: Path, env: Mapping[str, str], sessions: int, runtime: str) -> None:
    """Let a client acquire them all beside a reactor, then kill both."""
    started = [] if runtime == "fake" else [_reactor(directory, env, runtime)]
    part = "all" if runtime == "fake" else "client"
    command = python("-m", "faultlab.wave_parts", part, str(directory), str(sessions))
    client = Child(command, directory / "client.log", env=env)
    said = await until(lambda: ACQUIRED in client.log or not client.running, PATIENCE_S)
    for child in (*started, client):
        await child.end(signal.SIGKILL)
    if not said or ACQUIRED not in client.log:
        raise NotStarted(f"the sessions did not come up: {client.log[-500:]}")


def _reactor(directory: Path, env: Mapping[str, str], runtime: str) -> Child:
    command = python("-m", "reactor", "run")
    if runtime == "fake":
        command = python("-m", "faultlab.wave_parts", "reactor", str(directory))
    return Child(command, directory / "reactor.log", env=env)


async def _watch(admin: Any, directory: Path, env: Mapping[str, str], sessions: int, runtime: str) -> Wave:
    began = time.time()
    child = _reactor(directory, env, runtime)
    keys = cast("list[str]", await admin.keys("mcp:session:*"))

    async def times(field: str) -> tuple[float, ...]:
        found = [await admin.hget(key, field) for key in keys]
        return tuple(int(at) / 1000 - began for at in found if at)

    async def over() -> bool:
        await asyncio.sleep(0.5)
        return len(await times("ended_at")) == sessions

    await until(over, PATIENCE_S)
    await child.end(signal.SIGTERM)
    return Wave(runtime=runtime, sessions=sessions, claims=await times("claimed_at"), ends=await times("ended_at"))
