"""The selftest from its first line to its exit code: what it needs, the steps, the clean-up, the verdict.

What this is: set-up and tear-down around `reactor.selftest.story`. What it is not: the steps. The invariant: however it
ends (passed, failed, Ctrl-C, SIGTERM), its reactor is stopped, its containers, image and keys are removed, and only
these.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from reactor.crew import open_reader
from reactor.doctor import FAIL, WARN, examine_setup
from reactor.errors import ReactorError, Unavailable, UsageError
from reactor.manager import SessionManager
from reactor.selftest import decoys, leftovers
from reactor.selftest.bench import TTL, open_bench
from reactor.selftest.clients import RedisClock
from reactor.selftest.journal import Journaled, read_journal
from reactor.selftest.judge import Findings, Happening
from reactor.selftest.own import ALIVE_FOR, Own, mark_of
from reactor.selftest.report import Report, Result
from reactor.selftest.sidecar import Cutter, Sidecar, named
from reactor.selftest.stage import Broken, Stage
from reactor.selftest.story import FEWEST, play
from reactor.throwaway import PlainRedis, leaves, until_signalled

if TYPE_CHECKING:
    from collections.abc import Generator

    from reactor.selftest.bench import Bench
    from reactor.selftest.decoys import Decoy
    from reactor.selftest.own import Found
    from reactor.session import ContainerId, HostName
    from reactor.settings import Settings

MOST: Final = 1000
MANAGERS: Final = 3
CLEAN_UP_LIMIT: Final = 90.0
KEEP_EVERY: Final = 2.0
LASTING: Final = timedelta(hours=1)
"""How long keys may outlive a run that was killed."""
ACQUIRE_LIMIT: Final = timedelta(seconds=45)
SPAWN_LIMIT: Final = timedelta(seconds=12)
"""For the reactor: the age from which a container without a record is no spawn in flight. Nothing spawns then here."""
LOG_LINES: Final = 5
"""Of the reactor's last words, when a promise was broken."""
_FAILED: Final = 1


def run_selftest(settings: Settings, *, sessions: int, template: str | None, as_json: bool) -> int:
    """Run it and return the exit code: 0 passed, 1 a promise was broken, 128 + n after a signal.

    Of the settings those of Redis, the engine and the host are used, and the named template. Where it cannot run: the
    code of the check that failed, or the `ReactorError`.
    """
    if not FEWEST <= sessions <= MOST:
        raise UsageError(f"--sessions is {FEWEST} to {MOST}, not {sessions}")
    chosen = None if template is None else settings.template(template)
    report = Report(as_json=as_json)

    async def work() -> int:
        own = Own.at(int(time.time()))
        ours = _own_settings(settings, own)
        code = await _preflight(ours, report)
        if code:
            return code
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(open_reader(ours))
            redis = PlainRedis(reader.link)
            await _say_alive(own, redis)
            home = stack.enter_context(_home())
            try:
                bench = await stack.enter_async_context(open_bench(ours, own, chosen))
            except BaseException:
                with anyio.CancelScope(shield=True), suppress(Unavailable):
                    await redis.delete([own.alive])
                raise
            run = _Run(own=own, settings=ours, bench=bench, redis=redis, report=report, home=home)
            return await run.whole(sessions)

    return anyio.run(partial(until_signalled, work, report.trouble))


async def _preflight(settings: Settings, report: Report) -> int:
    """Check Redis and the engine as `reactor doctor` does; return the exit code of the first failure, or 0."""
    async for check in examine_setup(settings):
        fix = f"; fix: {check.fix}" if check.fix else ""
        if check.status == FAIL:
            report.trouble(f"{check.name}: {check.detail}{fix}")
            return check.exit_code
        if check.name == "templates":
            continue  # the selftest brings its own
        (report.warn if check.status == WARN else report.step)(check.name, f"{check.detail}{fix}")
    return 0


async def _say_alive(own: Own, redis: PlainRedis) -> None:
    """Say in Redis that this run lives, for as long as another run would believe it."""
    await redis.send("SET", own.alive, own.deployment, "EX", _seconds(ALIVE_FOR))


def _own_settings(settings: Settings, own: Own) -> Settings:
    """Return settings under this run's own names, with nothing of the user's deployment."""
    return replace(
        settings,
        prefix=own.prefix,
        deployment=own.deployment,
        ttl=TTL,
        grace=None,
        max_lifetime=None,
        stop_grace=timedelta(0),
        janitor_every=timedelta(0),
        acquire_timeout=SPAWN_LIMIT,
        listen=None,
        templates={},
    )


@contextmanager
def _home() -> Generator[Path]:
    """Make a directory that only this user may enter, and delete it at the end."""
    path = Path(tempfile.mkdtemp(prefix="reactor-selftest."))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run, with what it works on."""

    own: Own
    settings: Settings
    bench: Bench
    redis: PlainRedis
    report: Report
    home: Path

    async def whole(self, sessions: int) -> int:
        """Play, clean up, judge, print; return the exit code."""
        result = Result(sessions=sessions, findings=Findings())
        left = ["not all was removed in time; the next selftest does it"]
        try:
            cutter = await self._cutter(result)
            sidecar = Sidecar(self.settings, self.home, "" if cutter is None else cutter.reactor)
            await self._clear_the_dead()
            await self._perform(sidecar, cutter, result, sessions)
        finally:
            with anyio.move_on_after(CLEAN_UP_LIMIT, shield=True):
                left = await self._clean_up()
        result.findings.leaks += left
        if not left:
            self.report.step("clean", "no container, image, key or process of this run is left")
        for line in result.failures:
            self.report.fail("broken", line)
        self.report.result(result)
        return _FAILED if result.failures else 0

    async def _cutter(self, result: Result) -> Cutter | None:
        cutter = Cutter(self.redis, self.own.prefix)
        try:
            await cutter.allowed()
        except ReactorError as error:
            result.skipped.append("subscription cut")
            self.report.warn("cut", f"skipped: needs CLIENT LIST, KILL and SETNAME ({error})")
            return None
        return cutter

    async def _clear_the_dead(self) -> None:
        for mark in sorted(await leftovers.dead_runs(self.bench, self.redis)):
            left = await leftovers.clear(mark, self.bench, self.redis)
            what = f"removed, but for {', '.join(left)}" if left else "removed"
            self.report.warn("leftovers", f"of a selftest that was killed, selftest_{mark}: {what}")

    async def _perform(self, sidecar: Sidecar, cutter: Cutter | None, result: Result, sessions: int) -> None:
        """Play all steps; a broken promise is noted, and whatever happens the reactor is stopped."""
        before = await self.bench.everything()
        planted: list[Decoy] = []
        happenings: list[Happening] = []
        try:
            await self._play(sidecar, cutter, result, sessions, happenings, planted)
        except* Broken as group:
            result.broken += [str(error) for error in leaves(group)]
            for line in sidecar.log.splitlines()[-LOG_LINES:]:
                self.report.warn("reactor", line)
        finally:
            sidecar.kill()
        await self._judge_foreign(result, before, happenings, planted, sidecar.journal)

    async def _play(
        self,
        sidecar: Sidecar,
        cutter: Cutter | None,
        result: Result,
        sessions: int,
        happenings: list[Happening],
        planted: list[Decoy],
    ) -> None:
        clock = RedisClock(self.redis)
        await clock.learn()
        # The clients' connections carry a name as well: what is cut is all that this run has subscribed.
        ours = replace(
            self.settings,
            redis_url=named(self.settings.redis_url, "" if cutter is None else cutter.clients),
            acquire_timeout=ACQUIRE_LIMIT,
            templates={self.bench.template.name: self.bench.template},
        )
        runtime = Journaled(self.bench.runtime, sidecar.journal)
        host = self.settings.host or (await self.bench.runtime.engine()).name
        async with AsyncExitStack() as stack:
            managers = [await stack.enter_async_context(SessionManager(ours, runtime=runtime)) for _ in range(MANAGERS)]
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self.bench.watch, self.own, happenings.append, clock.now_ms)
            tasks.start_soon(self._keep, host)
            took = await sidecar.start()
            self.report.step("reactor", f"{self.bench.about}; prefix {self.own.prefix}, ready after {took:.1f} s")
            planted += await decoys.plant_decoys(self.own, self.bench, self.redis, host)
            stage = Stage(
                own=self.own,
                host=host,
                bench=self.bench,
                managers=managers,
                redis=self.redis,
                clock=clock,
                sidecar=sidecar,
                cutter=cutter,
                report=self.report,
                result=result,
                tasks=tasks,
                happenings=happenings,
            )
            await play(stage, sessions)

    async def _keep(self, host: HostName) -> None:
        """Say that this run lives, and see to it that no key outlives it for long if it is killed."""
        keys = self.own.keys
        lasting = (keys.meta, keys.hosts, keys.events, keys.due(host), keys.seen(host), keys.engine(host))
        while True:
            try:
                await _say_alive(self.own, self.redis)
                for key in lasting:
                    await self.redis.send("EXPIRE", key, _seconds(LASTING))
            except Unavailable:
                pass  # the steps say so
            await anyio.sleep(KEEP_EVERY)

    async def _judge_foreign(
        self,
        result: Result,
        before: dict[ContainerId, Found],
        happenings: list[Happening],
        planted: list[Decoy],
        journal: Path,
    ) -> None:
        """Compare everybody else's containers with what they were, and with what this run asked the engine to do."""
        made, asked = read_journal(journal)
        ours = made | {each.container_id for each in happenings}
        touched = await decoys.changed(self.bench, planted)
        touched += [f"container {one[:12]} is not ours, and was to be started or removed" for one in asked - ours]
        result.findings.foreign_touched += touched
        after = await self.bench.everything()
        others = {one: each for one, each in before.items() if mark_of(each) != self.own.mark}
        moved = [each.name for one, each in others.items() if one not in after or after[one].state != each.state]
        for name in moved:
            self.report.warn("foreign", f"container {name} changed meanwhile; nothing of this run asked for it")
        if not touched:
            self.report.step(
                "foreign", f"{len(planted)} decoys are as they were; none of {len(others)} other containers was touched"
            )

    async def _clean_up(self) -> list[str]:
        try:
            return await leftovers.clear(self.own.mark, self.bench, self.redis)
        except ReactorError as error:
            self.report.trouble(f"not all was removed, the next selftest does it: {error}")
            return [f"selftest_{self.own.mark} was not removed whole: {error}"]


def _seconds(duration: timedelta) -> int:
    return round(duration.total_seconds())
