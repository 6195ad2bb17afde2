"""`python -m faultlab edge`: heartbeats that race the deadline by a few milliseconds, on a real Redis.

What this is: a reactor and its sessions in this process, a client in another that sends EXPIRE at the deadline, plus or
minus 5 ms. What it is not: a test of an engine; containers are the tests' fake ones. The invariant that is shown: an
EXPIRE that was answered with 1 and a removal within the TTL that it gave never come together (B18).
"""

from __future__ import annotations

import asyncio
import random
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis

from faultlab.children import python, python_environment, until
from faultlab.servers import LabRedis
from reactor import Reactor, SessionManager, Settings
from tests.fakes.runtime import FakeRuntime

if TYPE_CHECKING:
    from collections.abc import Sequence

TTL_S: Final = 2
EVERY_S: Final = 0.01
"""A trial begins that often, so that the client can aim at each deadline by itself."""
SPREAD_MS: Final = 5.0
CLOCK_MS: Final = 2
"""Redis tells whole milliseconds."""
LEAST_SHARE: Final = 0.05
"""Of either answer; else it was no race."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One race: when EXPIRE was sent (wall clock, ms), what it said, and when the session was claimed (ms)."""

    session: str
    sent_ms: float
    reply: int
    claimed_ms: int | None

    @property
    def both(self) -> bool:
        """Whether it was told to be alive, and yet claimed before the TTL that it was given was over."""
        until_ms = self.sent_ms + TTL_S * 1000 - CLOCK_MS
        return self.reply == 1 and self.claimed_ms is not None and self.claimed_ms < until_ms

    @property
    def leaked(self) -> bool:
        """Whether it was told to be alive, and never claimed although nobody touched it any more."""
        return self.reply == 1 and self.claimed_ms is None

    @property
    def neither(self) -> bool:
        """Whether it was told to be over, and nobody ever claimed it."""
        return self.reply == 0 and self.claimed_ms is None


def verdict(trials: Sequence[Trial], asked: int, left: int) -> tuple[str, bool]:
    """Return what the trials say, in lines, and whether all is well. Pure.

    `left`: how many heartbeat keys and containers were still there when everything should have been over.
    """
    both, neither = sum(trial.both for trial in trials), sum(trial.neither for trial in trials)
    leaked = sum(trial.leaked for trial in trials)
    alive = sum(trial.reply == 1 for trial in trials)
    share = alive / len(trials) if trials else 0.0
    raced = LEAST_SHARE <= share <= 1 - LEAST_SHARE
    well = len(trials) == asked and raced and not (both or neither or leaked or left)
    lines = [
        f"{len(trials)} of {asked} trials, EXPIRE within {SPREAD_MS:.0f} ms of the deadline: {alive} answered 1, "
        f"{len(trials) - alive} answered 0" + ("" if raced else " (that was no race)"),
        f"  EXPIRE = 1 and a removal within its TTL  {both:6}",
        f"  EXPIRE = 0 and never removed             {neither:6}",
        f"  EXPIRE = 1 and never removed             {leaked:6}",
        f"  keys and containers left                 {left:6}",
        "PASSED" if well else "FAILED",
    ]
    return "\n".join(lines), well


async def race(trials: int, seed: int) -> tuple[list[Trial], int]:
    """Run so many trials on a private Redis; returns them, and how many keys and containers were left after all.

    Everything that is started ends.
    """
    with tempfile.TemporaryDirectory(prefix="faultlab.") as name:
        redis = LabRedis(Path(name) / "redis")
        try:
            await redis.up()
            return await _race_on(redis.url, redis.port, Path(name), trials, seed)
        finally:
            redis.remove()


async def _race_on(url: str, port: int, directory: Path, trials: int, seed: int) -> tuple[list[Trial], int]:
    template = directory / "reactor.toml"
    template.write_text('[template.default]\nimage = "fake"\n')
    env = {"REDIS_URL": url, "REACTOR_CONFIG": str(template), "REACTOR_STOP_GRACE": "0", "REACTOR_LISTEN": ""}
    settings, runtime, chance = Settings.load(env=env), FakeRuntime(), random.Random(seed)
    racer = await asyncio.create_subprocess_exec(
        "setpriv",
        "--pdeathsig",
        "KILL",
        *python("-m", "faultlab.edge", str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=python_environment(),
    )
    admin: Any = Redis.from_url(url, decode_responses=True)
    try:
        async with Reactor(settings, runtime=runtime), SessionManager(settings, runtime=runtime) as manager:
            await _aim(manager, admin, racer, [chance.uniform(-SPREAD_MS, SPREAD_MS) for _ in range(trials)])
            out, _ = await racer.communicate()
            answers = [line.split() for line in out.decode().splitlines()]

            async def left() -> int:
                return len(await admin.keys("mcp:session:*:heartbeat")) + len(runtime.running())

            async def all_ended() -> bool:
                return await left() == 0

            await until(all_ended, TTL_S * 4)
            found = [
                Trial(
                    session=session,
                    sent_ms=float(sent),
                    reply=int(reply),
                    claimed_ms=_number(await admin.hget(f"mcp:session:{session}", "claimed_at")),
                )
                for session, sent, reply in answers
            ]
            return found, await left()
    finally:
        if racer.returncode is None:
            racer.kill()
            await racer.wait()
        await admin.aclose()


async def _aim(manager: SessionManager, admin: Any, racer: asyncio.subprocess.Process, offsets: list[float]) -> None:
    """Make one session after the other, and tell the racer when to touch each."""
    assert racer.stdin is not None  # noqa: S101 (opened as a pipe)
    began = time.monotonic()
    for number, offset in enumerate(offsets):
        await asyncio.sleep(max(0.0, began + number * EVERY_S - time.monotonic()))
        session = f"edge-{number}"
        await manager.acquire(session, ttl=timedelta(seconds=TTL_S))
        deadline = int(await admin.pexpiretime(f"mcp:session:{session}:heartbeat"))
        racer.stdin.write(f"{session} {deadline + offset:.3f}\n".encode())
        await racer.stdin.drain()


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def sprint(port: int) -> None:
    """Be the racer: read `SESSION WHEN_MS` lines, send each EXPIRE at its time, write `SESSION SENT_MS REPLY` lines."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = link.makefile("rb")
        for line in sys.stdin:
            session, when = line.split()
            target = float(when) / 1000
            time.sleep(max(0.0, target - time.time() - 0.002))
            while time.time() < target:  # the last two milliseconds: a sleep is not exact enough
                pass
            sent = time.time() * 1000
            link.sendall(f"EXPIRE mcp:session:{session}:heartbeat {TTL_S}\r\n".encode())
            print(session, f"{sent:.3f}", answers.readline().decode().strip().removeprefix(":"), flush=True)


if __name__ == "__main__":
    sprint(int(sys.argv[1]))
