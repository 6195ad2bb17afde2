"""The demo's acts: what is done, what is looked at, and what counts as observed.

What this is: the main job from the first acquire to the last container. What it is not: set-up or clean-up. The
invariant: a fact is judged by what the runtime and Redis say, never by what the code just did.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import anyio

from reactor.audit import shown
from reactor.demo.clients import Heart, call
from reactor.demo.screen import Fact
from reactor.demo.workload import TTL
from reactor.errors import Unavailable
from reactor.plan import Kind
from reactor.session import SessionId

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from reactor.crew import Crew
    from reactor.demo.screen import Screen
    from reactor.manager import SessionManager
    from reactor.reconcile import Janitor
    from reactor.session import ContainerId, Session
    from reactor.supervisor import Reactor
    from reactor.throwaway import PlainRedis

CALLERS: Final = 10
LONG: Final = timedelta(seconds=60)
WAIT: Final = 30.0
"""Seconds, for what takes milliseconds on an idle machine."""
LOOK: Final = 0.005
NOTE: Final = "buy milk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """All that the acts work with."""

    screen: Screen
    crew: Crew
    sessions: SessionManager
    reactor: Reactor
    janitor: Janitor
    redis: PlainRedis
    tasks: TaskGroup
    """Of the clients' heartbeats."""

    async def containers(self, *session_ids: str) -> list[ContainerId]:
        """Return what the engine has for these sessions."""
        prefix, deployment = self.crew.registry.keys.prefix, self.crew.ways.deployment
        found = await self.crew.runtime.containers(prefix=prefix, deployment=deployment)
        return [c.container_id for c in found if c.labels is not None and c.labels.session in session_ids]

    async def gone(self, container_id: ContainerId) -> bool:
        """Return once the engine has no such container, with True; False if that takes too long."""
        with anyio.move_on_after(WAIT):
            while await self.crew.runtime.inspect(container_id) is not None:  # noqa: ASYNC110 (not ours to signal)
                await anyio.sleep(LOOK)
            return True
        return False

    async def ending(self, session: Session) -> dict[str, Any]:
        """Return the audit entry of a session's end; raises `Unavailable` if none is written."""
        with anyio.move_on_after(WAIT):
            while True:
                for entry_id, fields in await self.crew.registry.read_events("0"):
                    if (fields.get("event"), fields.get("session_id")) == ("ended", session.session_id):
                        return shown(entry_id, fields)
                await anyio.sleep(LOOK)
        raise Unavailable(f"no end of session {session.session_id} in the audit stream")

    def follow(self, session: Session) -> Heart:
        """Let a client keep this session alive from now on."""
        heart = Heart(self.redis, session)
        self.tasks.start_soon(heart.beat)
        return heart


async def play(stage: Stage) -> None:
    """Go through all acts; raises `ReactorError` where one cannot go on."""
    stage.screen.title("Acquire: one container per user")
    alice, bob, her_heart, his_heart = await _two_users(stage)
    since = await _same_user(stage, alice)
    carol = await _ten_callers(stage)
    stage.screen.title(f"Heartbeat: EXPIRE <key> {her_heart.ttl}, and nothing else")
    await _one_stops(stage, bob, her_heart, his_heart)
    await _other_lives_on(stage, alice, her_heart, since)
    stage.screen.title("DEL: the end, at once")
    await _deleted(stage, alice, her_heart)
    stage.screen.title("Reconcile: what nobody knows of any more")
    await _orphan(stage, carol)


async def _two_users(stage: Stage) -> tuple[Session, Session, Heart, Heart]:
    got: dict[str, Session] = {}
    hearts: dict[str, Heart] = {}

    async def acquire(name: str) -> None:
        got[name] = await stage.sessions.acquire(name)
        hearts[name] = stage.follow(got[name])

    async with anyio.create_task_group() as tasks:
        for name in ("alice", "bob"):
            tasks.start_soon(acquire, name)
    alice, bob = got["alice"], got["bob"]
    for session in (alice, bob):
        stage.screen.say(f"{session.session_id}: container {_short(session)}, heartbeat key {session.heartbeat_key}")
    said = [await call(session, "whoami") for session in (alice, bob)]
    await call(alice, "remember", note=NOTE)
    notes = [await call(session, "recall") for session in (alice, bob)]
    stage.screen.say(f"over MCP they say they are {said[0]} and {said[1]}; their notes: {notes[0]} and {notes[1]}")
    there = await stage.containers("alice", "bob")
    seen = len(there) == len(set(there)) == 2 and set(there) == {alice.container_id, bob.container_id}  # noqa: PLR2004
    seen = seen and said == ["alice", "bob"] and notes == [[NOTE], []]
    detail = f"{_short(alice)} and {_short(bob)}, each with an MCP server and notes of its own"
    stage.screen.fact(Fact.TWO_CONTAINERS, seen=seen, detail=detail)
    return alice, bob, hearts["alice"], hearts["bob"]


async def _same_user(stage: Stage, alice: Session) -> float:
    """Acquire once more; return when that was: from here on only EXPIRE keeps her alive."""
    again = await stage.sessions.acquire("alice")
    since = time.monotonic()
    notes = await call(again, "recall")
    seen = again.container_id == alice.container_id and again.created is False and notes == [NOTE]
    detail = f"{_short(again)}, and her note is still there"
    stage.screen.fact(Fact.SAME_CONTAINER, seen=seen, detail=detail)
    return since


async def _ten_callers(stage: Stage) -> Session:
    answers: list[Session] = []

    async def acquire() -> None:
        answers.append(await stage.sessions.acquire("carol", ttl=LONG))

    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(acquire)
    there = await stage.containers("carol")
    made = sum(answer.created is True for answer in answers)
    seen = len(answers) == CALLERS and made == 1 and {answer.container_id for answer in answers} == set(there)
    detail = f"{len(answers)} answers, all {_short(answers[0])}; {made} of them made it"
    stage.screen.fact(Fact.ONE_OF_TEN, seen=seen and len(there) == 1, detail=detail)
    return answers[0]


async def _one_stops(stage: Stage, bob: Session, beating: Heart, stopping: Heart) -> None:
    stopping.stop()
    await stopping.touch()
    deadline = int(await stage.redis.send("PEXPIRETIME", bob.heartbeat_key))
    stage.screen.say(f"bob stops now: {stopping.ttl} s to live")
    second = 0
    while (left := deadline - await stage.redis.now_ms()) > 0:
        if left <= (stopping.ttl - second) * 1000:
            stage.screen.say(f"bob silent, {left / 1000:.1f} s left; alice's EXPIRE answers {beating.answers[-1:]}")
            second += 1
        await anyio.sleep(min(0.1, left / 1000))
    gone = bob.container_id is not None and await stage.gone(bob.container_id)
    removed = await stage.redis.now_ms() - deadline
    ended = await stage.ending(bob)
    lag = int(ended["lag_ms"] or 0)
    seen = gone and ended["reason"] == "expired" and await stage.containers("bob") == []
    detail = f"claimed {lag} ms after its deadline (by {ended['detector']}), container gone after {removed} ms"
    stage.screen.fact(Fact.EXPIRED, seen=seen, detail=detail, claim_lag_ms=lag, container_gone_ms=removed)


async def _other_lives_on(stage: Stage, alice: Session, heart: Heart, since: float) -> None:
    enough = 1.5 * TTL.total_seconds()
    await anyio.sleep(max(0.0, since + enough - time.monotonic()))
    lived = time.monotonic() - since
    notes = await call(alice, "recall")
    there = await stage.containers("alice") == [alice.container_id]
    seen = there and notes == [NOTE] and bool(heart.answers) and all(heart.answers)
    detail = f"{lived:.0f} s on a TTL of {heart.ttl} s, {len(heart.answers)} EXPIREs, same container, same note"
    stage.screen.fact(Fact.LIVES_ON, seen=seen, detail=detail, lived_s=round(lived, 1))


async def _deleted(stage: Stage, alice: Session, heart: Heart) -> None:
    heart.stop()
    before = time.monotonic()
    await stage.redis.send("DEL", alice.heartbeat_key)
    gone = alice.container_id is not None and await stage.gone(alice.container_id)
    took = round((time.monotonic() - before) * 1000)
    ended = await stage.ending(alice)
    answer = await heart.touch()
    deaf = stage.reactor.events.hearing is False
    why = "; this Redis sends no notifications, so the deadline check found it" if deaf else ""
    seen = gone and answer == 0 and ended["reason"] in ("ended_by_client", "expired")
    detail = (
        f"container gone {took} ms after the DEL (by {ended['detector']}){why}; alice's next EXPIRE answers {answer}"
    )
    stage.screen.fact(Fact.DELETED, seen=seen, detail=detail, container_gone_ms=took)


async def _orphan(stage: Stage, carol: Session) -> None:
    record = stage.crew.registry.keys.record(SessionId(carol.session_id))
    await stage.redis.send("DEL", record, carol.heartbeat_key)
    stage.screen.say(f"carol's record was deleted behind the reactor's back; her container {_short(carol)} runs")
    planned = [line for line in await stage.janitor.plan() if line.is_drift]
    for line in planned:
        about = f"{line.action} {line.kind} {line.session_id} {(line.container_id or '-')[:12]}: {line.reason}"
        stage.screen.say(f"reconcile --dry-run: {about}")
    found = [(line.kind, line.container_id) for line in planned] == [(Kind.ORPHAN, carol.container_id)]
    still = await stage.containers("carol") == [carol.container_id]
    outcomes = [outcome async for line, outcome in stage.janitor.run() if line.is_drift]
    stage.screen.say(f"reconcile: {', '.join(outcomes) or 'no drift'}")
    gone = carol.container_id is not None and await stage.gone(carol.container_id)
    detail = "the dry run named it and left it alone; the run removed it"
    stage.screen.fact(Fact.ORPHAN, seen=found and still and gone and outcomes == ["done"], detail=detail)


def _short(session: Session) -> str:
    return (session.container_id or "-")[:12]
