"""`reactor doctor`: whether this Redis and this engine can carry sessions, checked by doing it.

What this is: one check a line, each with its fix. What it is not: a repair; nothing is configured here. The invariant:
the checks leave nothing behind, and touch neither a session nor a container of anybody.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import anyio

from reactor.crew import connect_runtime, open_reader
from reactor.errors import ImageMissing, ReactorError
from reactor.quarantine import explain
from reactor.registry import redis_errors
from reactor.registry.subscription import Subscription
from reactor.runtime.protocol import ContainerSpec, Labels
from reactor.session import DatabaseId, Deployment, Generation, HostName, SessionId, Token, from_ms, iso

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from reactor.registry import Reader
    from reactor.runtime.protocol import Runtime
    from reactor.settings import Settings
    from reactor.templates import Template

OK, WARN, FAIL = "ok", "warn", "fail"
_CANARY_WAIT = 2.0
_SKEW = timedelta(seconds=2)
_SCRATCH_GRACE = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was tried: `status` is ok, warn (works, with less) or fail; `exit_code` counts with fail."""

    name: str
    status: str
    detail: str
    fix: str | None = None
    exit_code: int = 69


async def examine_setup(settings: Settings) -> AsyncIterator[Check]:
    """Yield each check as it is done; one that cannot be done because an earlier failed is left out."""
    async for check in _redis_checks(settings):
        yield check
    async for check in _engine_checks(settings):
        yield check


def _failed(name: str, error: ReactorError, fix: str | None = None) -> Check:
    return Check(name=name, status=FAIL, detail=str(error), fix=fix, exit_code=error.exit_code)


# ---------------------------------------------------------------------- Redis


async def _redis_checks(settings: Settings) -> AsyncGenerator[Check]:
    try:
        async with open_reader(settings) as reader:
            server = await reader.link.look()
            name = "Valkey" if server.valkey else "Redis"
            yield Check(name="redis", status=OK, detail=f"{name} {server.version} at {reader.link.where}")
            for check in (_permissions, _notifications, _eviction, _persistence, _clock, _quarantine, _deployment):
                try:
                    yield await check(reader, settings)
                except ReactorError as error:
                    yield _failed(check.__name__.removeprefix("_"), error)
    except ReactorError as error:
        yield _failed("redis", error)


async def _permissions(reader: Reader, _: Settings) -> Check:
    """Run what a reactor runs, on a key of our own."""
    client = cast("Any", reader.link.client)
    key = reader.keys.canary(HostName(f"doctor-{secrets.token_hex(4)}"))
    with redis_errors(reader.link.where):
        await client.eval("return redis.call('SET', KEYS[1], '1', 'PX', '1000')", 1, key)
        await client.pexpire(key, 500, lt=True)
        await client.delete(key)
        await client.zcard(reader.keys.due(HostName("doctor")))
        await client.scan(0, match=reader.keys.session_pattern, count=1)
    return Check(name="permissions", status=OK, detail="scripts, expiry, index and scan are allowed")


async def _notifications(reader: Reader, _: Settings) -> Check:
    """Let a canary expire and delete another, and listen."""
    host = HostName(f"doctor-{secrets.token_hex(4)}")
    heard: set[bytes] = set()
    stands, back = anyio.Event(), anyio.Event()

    def on_message(_: bytes, data: bytes) -> None:
        heard.add(data)
        if heard >= {b"expired", b"del"}:
            back.set()

    channel = reader.keys.canary_channel(reader.link.database, host)
    subscription = Subscription(reader.link, channels=[channel], patterns=[], on_message=on_message, on_gap=stands.set)
    client = cast("Any", reader.link.client)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(subscription.run)
        with anyio.move_on_after(_CANARY_WAIT), redis_errors(reader.link.where):
            await stands.wait()
            key = reader.keys.canary(host)
            await client.set(key, "1", px=20)
            await anyio.sleep(0.03)
            await client.pttl(key)
            await client.set(key, "1", px=1000)
            await client.delete(key)
            await back.wait()
        tasks.cancel_scope.cancel()
    if back.is_set():
        return Check(name="notifications", status=OK, detail="a canary's expiry and DEL were heard")
    missing = "nothing was heard" if not heard else "only its expiry was heard, not its DEL"
    return Check(
        name="notifications",
        status=WARN,
        detail=f"{missing}; deadlines are kept all the same, an early DEL is seen within 30 s",
        fix="set notify-keyspace-events KExge in redis.conf, or the provider's parameter group",
    )


async def _eviction(reader: Reader, _: Settings) -> Check:
    client = cast("Any", reader.link.client)
    with redis_errors(reader.link.where):
        memory = cast("dict[str, Any]", await client.info("memory"))
    policy, limit = str(memory.get("maxmemory_policy", "unknown")), int(memory.get("maxmemory", 0))
    if policy == "noeviction":
        return Check(name="eviction", status=OK, detail=f"noeviction, maxmemory {limit or 'unlimited'}")
    status = FAIL if limit else WARN
    return Check(
        name="eviction",
        status=status,
        detail=f"maxmemory-policy {policy}: a full Redis would drop heartbeats or records of living sessions",
        fix="set maxmemory-policy noeviction",
        exit_code=78,
    )


async def _persistence(reader: Reader, _: Settings) -> Check:
    client = cast("Any", reader.link.client)
    with redis_errors(reader.link.where):
        info = cast("dict[str, Any]", await client.info("persistence"))
    if info.get("rdb_last_bgsave_status") == "err":
        return Check(
            name="persistence",
            status=FAIL,
            detail="the last BGSAVE failed: Redis may refuse heartbeats while deadlines run on",
            fix='free the disk, or set save "" and appendonly yes',
            exit_code=69,
        )
    if int(info.get("aof_enabled", 0)):
        return Check(name="persistence", status=OK, detail="append-only file")
    return Check(
        name="persistence",
        status=WARN,
        detail="no append-only file: a restart loses or rewinds sessions (one grace, or a rebuild from labels)",
        fix="set appendonly yes",
    )


async def _clock(reader: Reader, _: Settings) -> Check:
    there = datetime.fromtimestamp(await reader.now_ms() / 1000, UTC)
    skew = abs(datetime.now(UTC) - there)
    shown = f"{skew.total_seconds():.3f} s between this machine and Redis"
    if skew < _SKEW:
        return Check(name="clocks", status=OK, detail=shown)
    return Check(
        name="clocks",
        status=WARN,
        detail=f"{shown}: deadlines use Redis' clock alone, but times shown here will look odd",
        fix="run NTP on both",
    )


async def _quarantine(reader: Reader, settings: Settings) -> Check:
    """Say which hosts doubt their missing heartbeat keys now; each ends a grace after it began."""
    longest = max((template.ttl for template in settings.templates.values()), default=settings.ttl)
    grace = settings.grace or longest
    now = from_ms(await reader.now_ms())
    found = [
        f"host {host}: {explain(reason)} ({reason}), since {iso(since)}, ends about {iso(since + grace)}"
        for host, reason, since in await reader.doubts()
        if now <= since + grace
    ]
    if not found:
        return Check(name="quarantine", status=OK, detail="none: a missing heartbeat key is an end")
    return Check(
        name="quarantine",
        status=WARN,
        detail="; ".join(found),
        fix="nothing to do: sessions get one grace each, and are judged again after it",
    )


async def _deployment(reader: Reader, settings: Settings) -> Check:
    client = cast("Any", reader.link.client)
    with redis_errors(reader.link.where):
        written = cast("str | None", await client.hget(reader.keys.meta, "deployment"))
    asked = settings.deployment
    if written and asked and written != asked:
        return Check(
            name="deployment",
            status=FAIL,
            detail=f"prefix {settings.prefix!r} belongs to deployment {written!r}, not {asked!r}",
            fix=f"set REACTOR_DEPLOYMENT={written}, or another REACTOR_PREFIX",
            exit_code=78,
        )
    return Check(name="deployment", status=OK, detail=written or asked or "new: written by the first reactor")


# ---------------------------------------------------------------------- engine


async def _engine_checks(settings: Settings) -> AsyncGenerator[Check]:
    try:
        runtime = await connect_runtime(settings)
    except ReactorError as error:
        yield _failed("engine", error)
        return
    try:
        engine = await runtime.engine()
        yield Check(name="engine", status=OK, detail=f"{runtime.name} {engine.version} ({engine.name})")
        yield await _others(settings, runtime)
        for template in settings.templates.values():
            yield await _round_trip(settings, runtime, template)
        if not settings.templates:
            yield Check(
                name="templates",
                status=WARN,
                detail="none",
                fix="write [template.default] in reactor.toml",
                exit_code=78,
            )
    except ReactorError as error:
        yield _failed("engine", error)
    finally:
        await runtime.aclose()


async def _others(settings: Settings, runtime: Runtime) -> Check:
    found = await runtime.containers(prefix=settings.prefix)
    names = sorted({c.labels.deployment for c in found if c.labels is not None} - {settings.deployment or ""})
    detail = f"{len(found)} containers with prefix {settings.prefix!r}"
    if names:
        detail += f", of deployments {', '.join(names)}"
    return Check(name="containers", status=OK, detail=detail)


async def _round_trip(settings: Settings, runtime: Runtime, template: Template) -> Check:
    """Create, start and remove one container of a template, under a prefix that no reactor looks at."""
    name = f"template {template.name}"
    if (problem := runtime.problems(template)) is not None:
        return Check(name=name, status=FAIL, detail=problem, fix="see reactor.toml", exit_code=78)
    scratch = secrets.token_hex(6)
    labels = Labels(
        prefix=f"{settings.prefix}-doctor",
        deployment=Deployment(f"doctor-{scratch}"),
        host=HostName("doctor"),
        db=DatabaseId(scratch),
        session=SessionId(f"doctor-{scratch}"),
        generation=Generation(1),
        template=template.name,
        ttl=timedelta(seconds=2),
        token=Token(scratch),
    )
    spec = ContainerSpec(name=f"{settings.prefix}-doctor-{scratch}", labels=labels, template=template)
    began = anyio.current_time()
    try:
        container_id = await runtime.create(spec)
        try:
            await runtime.start(container_id)
        finally:
            with anyio.CancelScope(shield=True):
                await runtime.remove(container_id, grace=_SCRATCH_GRACE)
    except ImageMissing as error:
        return _failed(name, error, fix=f"docker pull {template.image}")
    except ReactorError as error:
        return _failed(name, error)
    took = anyio.current_time() - began
    return Check(name=name, status=OK, detail=f"created, started and removed in {took:.2f} s")
