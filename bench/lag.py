"""How long after its deadline an abandoned session is claimed, and its container gone; printed, never asserted.

What this is: one measurement with a private Redis (default `hz`) and the Docker engine of DOCKER_HOST, with and
without 100,000 foreign keys that have TTLs, beside what a plain subscriber hears of keys that nothing else looks at,
and what the engine needs for a forced removal alone. What it is not: a load test. The invariant: nothing is left.

    python -m bench.lag            # about two minutes
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread
import redis
from redis.asyncio import Redis

from reactor import Reactor, SessionManager, Settings
from reactor.audit import follow_events
from reactor.session import SessionId
from tests.services import images
from tests.services.engine import Engine
from tests.services.redis import private_redis

TTL_S = 3
HEARD_S = 10.0


def fill(url: str, keys: int) -> None:
    """Add foreign keys whose TTLs end in an hour or later."""
    with redis.Redis.from_url(url) as client:
        for start in range(0, keys, 10_000):
            pipe = client.pipeline(transaction=False)
            for number in range(start, min(start + 10_000, keys)):
                pipe.set(f"foreign:{number}", "x", ex=3600 + number % 3600)
            pipe.execute()


async def plain_subscriber(url: str, runs: int) -> list[float]:
    """When a plain subscriber hears of keys that nothing looks at, in ms after the deadline; inf if not in 10 s."""
    client = Redis.from_url(url)
    lags: list[float] = []
    async with client.pubsub() as pubsub:
        await pubsub.psubscribe("__keyspace@0__:untouched:*")
        for number in range(runs):
            await client.set(f"untouched:{number}", "x", px=1000)
            deadline = time.monotonic() + 1
            lag = float("inf")
            while time.monotonic() < deadline + HEARD_S:
                message = cast("Any", await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.5))
                if message is not None and message["data"] == b"expired":
                    lag = (time.monotonic() - deadline) * 1000
                    break
            lags.append(lag)
    await client.aclose()
    return lags


def forced_removal(engine: Engine, image: str, runs: int) -> list[float]:
    """What the engine needs to remove a running container by force, in ms (the docker command included)."""
    took: list[float] = []
    for _ in range(runs):
        container = engine.run("run", "--detach", "--init", "--network", "none", image, "sleep", "300").splitlines()[-1]
        began = time.monotonic()
        engine.run("rm", "--force", container)
        took.append((time.monotonic() - began) * 1000)
    return took


async def sessions(settings: Settings, runs: int) -> tuple[list[float], list[float]]:
    """Abandon sessions one by one; returns deadline -> claim and deadline -> container gone, in ms."""
    claims: list[float] = []
    gone: list[float] = []
    async with Reactor(settings), SessionManager.from_settings(settings) as manager:
        for number in range(runs):
            session = await manager.acquire(f"bench-{number}")
            await anyio.sleep(TTL_S)
            ended: dict[str, object] = {}
            while not ended:
                await anyio.sleep(0.05)
                async for entry in follow_events(settings, session_id=SessionId(session.session_id)):
                    ended = entry if entry["event"] == "ended" else ended
            lag, took = float(str(ended["lag_ms"])), float(str(ended["took_ms"]))
            claims.append(lag)
            gone.append(lag + took)
    return claims, gone


async def restart(settings: Settings) -> float:
    """Let three sessions end while no reactor runs, then start one; returns start -> all three gone, in ms."""
    async with SessionManager.from_settings(settings) as manager:
        for number in range(3):
            await manager.acquire(f"late-{number}")
        await anyio.sleep(TTL_S + 0.1)
        began = time.monotonic()
        async with Reactor(settings):
            while [session async for session in manager.sessions()]:  # noqa: ASYNC110 (it looks from outside)
                await anyio.sleep(0.01)
            return (time.monotonic() - began) * 1000


def line(name: str, values: list[float]) -> str:
    """One row: median, worst, how many."""
    shown = sorted(values)
    worst = f"{shown[-1]:9.1f}" if shown[-1] != float("inf") else " not heard"
    median = statistics.median(shown)
    middle = f"{median:9.1f}" if median != float("inf") else f"  > {HEARD_S * 1000:.0f}"
    return f"{name:<58} {middle} {worst}   {len(shown)}"


async def measure(runs: int, foreign: int, engine: Engine, image: str) -> None:
    """One block of the table."""
    with private_redis() as server, tempfile.TemporaryDirectory() as folder:
        await anyio.to_thread.run_sync(fill, server.url, foreign)
        template = Path(folder) / "reactor.toml"
        await anyio.Path(template).write_text(f'[template.default]\nimage = "{image}"\nttl = "{TTL_S}s"\n')
        deployment = f"bench-{os.getpid()}"
        env = {"REDIS_URL": server.url, "DOCKER_HOST": engine.host, "REACTOR_CONFIG": str(template)}
        env |= {"REACTOR_DEPLOYMENT": deployment, "REACTOR_STOP_GRACE": "0", "REACTOR_LISTEN": ""}
        settings = Settings.load(env=env)
        claims, gone = await sessions(settings, runs)
        restarts = [await restart(settings) for _ in range(min(runs, 3))]
        heard = await plain_subscriber(server.url, min(runs, 3))
    print(line(f"{foreign:>7,} foreign keys: deadline -> claimed", claims))
    print(line("                      deadline -> container gone", gone))
    print(line("                      deadline -> a plain subscriber hears of it", heard))
    print(line("                      3 overdue, start of a reactor -> all gone", restarts), flush=True)


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    engine = Engine.from_environment()
    image = images.idle(engine)
    version = engine.run("version", "--format", "{{.Server.Version}}")
    print(f"{datetime.now(UTC):%Y-%m-%d}, Python {sys.version.split()[0]}, engine {version}")
    print(f"{'ms':<58} {'median':>9} {'worst':>9}   n")
    for foreign in (0, 100_000):
        await measure(runs, foreign, engine, image)
    alone = await anyio.to_thread.run_sync(forced_removal, engine, image, runs)
    print(line("limit: docker rm --force of one container, alone", alone))


if __name__ == "__main__":
    try:
        anyio.run(main)
    except subprocess.SubprocessError as error:
        sys.exit(str(error))
