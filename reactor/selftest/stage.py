"""All that the steps of the selftest work with, and how they wait.

What this is: the connections, the clients, the engine's record, and the check that follows each step. What it is not:
the steps. The invariant: a wait ends; what has not come by then is a broken promise, in words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio

from reactor.selftest.clients import Client
from reactor.selftest.judge import DESTROY, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anyio.abc import TaskGroup

    from reactor.manager import SessionManager
    from reactor.selftest.bench import Bench
    from reactor.selftest.clients import RedisClock
    from reactor.selftest.judge import Happening
    from reactor.selftest.own import Own
    from reactor.selftest.report import Report, Result
    from reactor.selftest.sidecar import Cutter, Sidecar
    from reactor.session import ContainerId, HostName
    from reactor.throwaway import PlainRedis

WAIT: Final = 45.0
"""Seconds, for what takes some milliseconds on an idle machine and the longest lease at worst."""
LOOK: Final = 0.02
ASK: Final = 1.0
"""Seconds between two questions to the engine, whose events say the same sooner."""
HANDS: Final = 8
"""Acquires at a time."""
CLOCK_MARGIN_MS: Final = 5.0


class Broken(Exception):
    """A promise did not hold; the message says which."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """One run on its way."""

    own: Own
    host: HostName
    bench: Bench
    managers: Sequence[SessionManager]
    redis: PlainRedis
    clock: RedisClock
    sidecar: Sidecar
    cutter: Cutter | None
    """None where this Redis does not let us close connections."""
    report: Report
    result: Result
    tasks: TaskGroup
    """Of the clients' heartbeats."""
    happenings: list[Happening]
    clients: list[Client] = field(default_factory=list[Client])

    def client(self, session_id: str) -> Client:
        """Return a new client; each one has one of several managers, as if it were another program."""
        manager = self.managers[len(self.clients) % len(self.managers)]
        found = Client(manager, self.redis, session_id, self.bench.template.name)
        self.clients.append(found)
        return found

    async def begin(self, name: str, count: int) -> list[Client]:
        """Acquire so many sessions and keep them alive."""
        clients = [self.client(f"{name}-{number}") for number in range(1, count + 1)]
        hands = anyio.CapacityLimiter(HANDS)

        async def one(client: Client) -> None:
            async with hands:
                await client.acquire()
            self.tasks.start_soon(client.beat)

        async with anyio.create_task_group() as tasks:
            for client in clients:
                tasks.start_soon(one, client)
        return clients

    async def leave(self, clients: Iterable[Client], *, timed: bool = False) -> float:
        """Let these clients send their last heartbeat; return the last deadline, on Redis' clock."""
        latest = 0.0
        for client in clients:
            await client.leave(timed=timed)
            latest = max(latest, client.holding.deadline_ms)
        return latest

    async def gone(self, container_ids: Iterable[ContainerId], why: str) -> None:
        """Return once the engine has none of these; raises `Broken` and notes the leaks when that takes too long."""
        left = set(container_ids)
        asked = anyio.current_time()
        with anyio.move_on_after(WAIT):
            while left:
                left -= {each.container_id for each in self.happenings if each.kind == DESTROY}
                # The event stream may have a gap: the engine itself is asked now and then.
                if anyio.current_time() - asked > ASK:
                    asked = anyio.current_time()
                    left -= {one for one in left if await self.bench.runtime.inspect(one) is None}
                await anyio.sleep(LOOK)
            return
        lines = [f"container {one[:12]} is still there {WAIT:.0f} s later: {why}" for one in sorted(left)]
        self.result.findings.leaks += lines
        raise Broken(lines[0])

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return once the condition holds; raises `Broken`."""
        with anyio.move_on_after(WAIT):
            while not condition():  # noqa: ASYNC110 (what clients and the engine do signals nothing)
                await anyio.sleep(LOOK)
            return
        raise Broken(f"not within {WAIT:.0f} s: {what}")

    def judge(self) -> None:
        """Count all that was seen so far."""
        holdings = [held for client in self.clients for held in client.holdings]
        found = judge(holdings, self.happenings, self.clock.error_ms + CLOCK_MARGIN_MS)
        now = self.result.findings
        now.double_spawns, now.wrong_kills, now.early_kills = found.double_spawns, found.wrong_kills, found.early_kills
        now.lags_ms = found.lags_ms

    def check(self) -> None:
        """Raise `Broken` with the first thing that must not be."""
        for lines in self.result.findings.zeroes.values():
            if lines:
                raise Broken(lines[0])
