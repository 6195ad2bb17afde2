"""The steps of the selftest: what is done to the sessions and to their own reactor, and what has to hold.

What this is: the faults and the waiting. What it is not: set-up, clean-up, or the zeroes, which are judged after each
step from the two records. The invariant: every fault is done to something of this run: its processes, its connections,
its keys.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from reactor.errors import ReactorError
from reactor.selftest.decoys import plant_orphan
from reactor.selftest.stage import LOOK, Broken, Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from reactor.selftest.clients import Client

T = TypeVar("T")
CALLERS: Final = 10
EDGE_MS: Final = 5.0
SLACK_MS: Final = 3.0
"""How late a sleep and a round trip make a heartbeat here, roughly; what counts is measured."""
EDGE_ROUNDS: Final = 2
OVERDUE_MS: Final = 500.0
DRAIN_LIMIT: Final = 8.0
"""Seconds: the stop grace (none) + 5, and some for the process itself."""
WAIT_SUBSCRIBED: Final = 30.0
_SHARES: Final = {"steady": 4, "abandoned": 3, "quiet": 4, "edge": 3, "cut": 3, "killed": 3}
_WHOLE: Final = sum(_SHARES.values())
FEWEST: Final = len(_SHARES)


def shares(sessions: int) -> dict[str, int]:
    """Return how many sessions each part gets: at least one, and `sessions` in all (`FEWEST` or more)."""
    found = {name: max(1, sessions * share // _WHOLE) for name, share in _SHARES.items()}
    found["quiet"] += sessions - sum(found.values())
    return found


async def play(stage: Stage, sessions: int) -> None:
    """Go through all steps; raises `Broken` at the first promise that does not hold, `ReactorError` where it cannot.

    The zeroes are judged after each step.
    """
    counts = shares(sessions)
    steady = await _step(stage, "race", lambda: _race(stage))
    more, abandoned = await _step(stage, "acquire", lambda: _begin(stage, counts))
    steady += more
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_step, stage, "edge", lambda: _edge(stage, counts["edge"]))
        await _step(stage, "deadlines", lambda: _quiet(stage, counts["quiet"]))
        if stage.cutter is not None:
            await _step(stage, "cut", lambda: _cut(stage, counts["cut"]))
    await _step(stage, "kill -9", lambda: _killed(stage, counts["killed"]))
    await _step(stage, "orphan", lambda: _orphan(stage))
    await _step(stage, "data loss", lambda: _data_loss(stage, steady, abandoned))
    await _step(stage, "end", lambda: _end(stage, steady))


async def _step(stage: Stage, name: str, step: Callable[[], Awaitable[tuple[str, T]]]) -> T:
    try:
        detail, value = await step()
    finally:
        stage.judge()
    stage.check()
    stage.report.step(name, detail)
    return value


async def _race(stage: Stage) -> tuple[str, list[Client]]:
    """Let ten callers acquire one new id at the same time."""
    clients = [stage.client("race") for _ in range(CALLERS)]
    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(client.acquire)
    given = {client.holding.container_id for client in clients}
    made = sum(client.session is not None and client.session.created is True for client in clients)
    listed = await stage.bench.runtime.containers(prefix=stage.own.prefix, deployment=stage.own.deployment)
    if len(given) != 1 or made != 1 or {c.container_id for c in listed} != given:
        raise Broken(f"{CALLERS} acquires of one id made {made} and were given {len(given)} containers")
    stage.tasks.start_soon(clients[0].beat)
    # The others held the same container; from here on only the first one speaks for it.
    for client in clients[1:]:
        stage.clients.remove(client)
    return f"{CALLERS} acquires of one new id: one container, made once", clients[:1]


async def _begin(stage: Stage, counts: dict[str, int]) -> tuple[str, tuple[list[Client], list[Client]]]:
    began = time.monotonic()
    steady = await stage.begin("steady", counts["steady"])
    abandoned = await stage.begin("abandoned", counts["abandoned"])
    took = time.monotonic() - began
    return f"{len(steady) + len(abandoned)} sessions in {took:.1f} s, kept alive by EXPIRE", (steady, abandoned)


async def _quiet(stage: Stage, count: int) -> tuple[str, None]:
    """Let sessions expire in peace."""
    clients = await stage.begin("quiet", count)
    await stage.leave(clients, timed=True)
    await stage.gone((c.holding.container_id for c in clients), "its client had left")
    return f"{len(clients)} sessions that were left were removed", None


async def _edge(stage: Stage, count: int) -> tuple[str, None]:
    """Send heartbeats right at the deadline: one that Redis took in time keeps its session, another is told 0."""
    clients = await stage.begin("edge", count)
    answers: list[float] = []
    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(_touch_at_the_edge, stage, client, answers)
    await stage.gone((c.holding.container_id for c in clients), "its client had left")
    when = f"{min(answers):+.0f} to {max(answers):+.0f} ms from the deadline"
    return f"{len(answers)} heartbeats {when}, {sum(at <= 0 for at in answers)} in time", None


async def _touch_at_the_edge(stage: Stage, client: Client, answers: list[float]) -> None:
    client.left = True  # no regular heartbeat any more
    await client.touch()
    for _ in range(EDGE_ROUNDS):
        deadline = client.holding.deadline_ms
        await stage.clock.reach(deadline + random.uniform(-EDGE_MS, EDGE_MS) - SLACK_MS)  # noqa: S311
        alive = await client.touch()
        answers.append(client.touched_ms - deadline)
        if not alive:
            break
    client.holding.left = True


async def _cut(stage: Stage, count: int) -> tuple[str, None]:
    """Close every subscription of this run just before deadlines; then end one session by DEL."""
    assert stage.cutter is not None  # noqa: S101 (asked before)
    clients = await stage.begin("cut", count)
    deleted = await stage.begin("deleted", 1)
    before = await stage.cutter.subscriptions()
    if not before:
        raise Broken("the reactor has no subscription that could be cut")
    latest = await stage.leave(clients, timed=True)
    await stage.clock.reach(latest - OVERDUE_MS)
    began = time.monotonic()
    cut = await stage.cutter.cut()
    with anyio.move_on_after(WAIT_SUBSCRIBED):
        while len(await stage.cutter.subscriptions() - cut) < len(before):  # noqa: ASYNC110 (Redis signals nothing)
            await anyio.sleep(LOOK)
        stage.result.recovery_s["subscription"] = time.monotonic() - began
    if "subscription" not in stage.result.recovery_s:
        raise Broken(f"no new subscription within {WAIT_SUBSCRIBED:.0f} s after the old one was cut")
    await stage.gone((c.holding.container_id for c in clients), "its client had left while no event was heard")
    began = time.monotonic()
    await deleted[0].end()
    await stage.gone([deleted[0].holding.container_id], "its client had deleted the heartbeat key")
    took = time.monotonic() - began
    return f"{len(cut)} subscriptions closed, deadlines kept; then a DEL: gone after {took:.1f} s", None


async def _killed(stage: Stage, count: int) -> tuple[str, None]:
    """End the reactor without a warning, let sessions become overdue, start it again."""
    clients = await stage.begin("killed", count)
    latest = await stage.leave(clients)
    stage.sidecar.kill()
    await stage.clock.reach(latest + OVERDUE_MS)
    began = time.monotonic()
    await stage.sidecar.start()
    await stage.gone((c.holding.container_id for c in clients), "it became overdue while the reactor was dead")
    stage.result.recovery_s["reactor"] = took = time.monotonic() - began
    return f"{len(clients)} sessions overdue at its restart were removed {took:.1f} s after it", None


async def _orphan(stage: Stage) -> tuple[str, None]:
    """Have a container of this run that no record knows."""
    orphan = await plant_orphan(stage.own, stage.bench, stage.redis, stage.host)
    began = time.monotonic()
    stage.sidecar.sweep()
    await stage.gone([orphan], "it is an orphan")
    return f"a container without a record was removed after {time.monotonic() - began:.1f} s", None


async def _data_loss(stage: Stage, steady: Sequence[Client], abandoned: Sequence[Client]) -> tuple[str, None]:
    """Delete every key of this run at one instant; its clients go on, or do not."""
    await stage.leave(abandoned)
    held = {client.session_id: client.holding for client in steady}
    late = {client.session_id: client.late for client in steady}
    names = await stage.redis.names(stage.own.keys.everything)
    lost_ms, began = stage.clock.now_ms(), time.monotonic()
    await stage.redis.delete([name for name in names if name != stage.own.alive])
    await stage.until(lambda: all(c.served_ms > lost_ms for c in steady), "every client was served again")
    stage.result.recovery_s["data"] = time.monotonic() - began
    for client in steady:
        # A client that was too late of its own may have been given another container, rightly.
        if client.holding is not held[client.session_id] and client.late == late[client.session_id]:
            raise Broken(f"session {client.session_id} got another container after the loss of its keys")
    await stage.gone((c.holding.container_id for c in abandoned), "its client left before the loss of its keys")
    took = time.monotonic() - began
    return f"{len(steady)} clients kept their containers, {len(abandoned)} abandoned went after {took:.1f} s", None


async def _end(stage: Stage, steady: Sequence[Client]) -> tuple[str, None]:
    """End one session by hand and leave the others; then the reactor has nothing left, and ends in order."""
    first, *others = steady
    first.left = first.holding.ended = True
    try:
        await stage.managers[0].terminate(first.session_id)
    except ReactorError as error:
        raise Broken(f"terminate of {first.session_id}: {error}") from error
    await stage.leave(others, timed=True)
    await stage.gone((c.holding.container_id for c in steady), "its client had left")
    code = await stage.sidecar.drain(DRAIN_LIMIT)
    if code != 0:
        raise Broken(f"the reactor did not end in order after SIGTERM: {'it hangs' if code is None else code}")
    left = await stage.bench.runtime.containers(prefix=stage.own.prefix, deployment=stage.own.deployment)
    stage.result.findings.leaks += [f"container {c.container_id[:12]} ({c.name}) is nobody's" for c in left]
    return "one terminated, the others expired; the reactor drained", None
