"""A machine of rules over the simulated world: any order of acts, faults and time keeps the invariants."""

import os
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from faultlab.sim.faults import FAULTS
from faultlab.sim.members import Outcome, Plan
from faultlab.sim.nemesis import Nemesis
from faultlab.sim.ports import CALL_FAULTS, Fault
from faultlab.sim.wire import NOWHERE
from faultlab.sim.world import World
from reactor.session import Session, SessionId

pytestmark = pytest.mark.slow  # the newest Python is enough

SESSIONS = ["a", "b"]
KEEPER = "kept"
LONGER = os.environ.get("MACHINE_EXAMPLES", "")
"""How many histories instead of the few that are the same each time; they are other ones each time."""
EXAMPLES = int(LONGER or 10)
TTL = 6.0
SETTLE = 240.0
session = st.sampled_from(SESSIONS)


class Machine(RuleBasedStateMachine):
    """One Redis, one engine, two reactors, two applications."""

    def __init__(self) -> None:
        """Start everybody, and a client that keeps its session through everything."""
        super().__init__()
        self.world = World(Plan(seed=1, ttl=TTL, janitor_every=20))
        self.nemesis = Nemesis(self.world, Random(1), FAULTS)
        self.world.go_on(self._begin())

    async def _begin(self) -> None:
        for _ in range(2):
            await self.world.ready(self.world.reactor())
            await self.world.ready(self.world.app())
        self.kept = (await self._acquire(KEEPER)).session
        assert self.kept is not None
        self.asking = False
        self.world.loop.create_task(self._keep(), context=NOWHERE.copy())

    async def _keep(self) -> None:
        # A client that beats at a third of its TTL, and asks for its session when it hears 0, beating on meanwhile.
        while True:
            await anyio.sleep(TTL / 3)
            if self.world.beat(SessionId(KEEPER), TTL) == 0 and not self.asking:
                self.asking = True
                self.world.loop.create_task(self._have_again(), context=NOWHERE.copy())

    async def _have_again(self) -> None:
        try:
            if not self.nemesis.apps():
                return
            outcome = await self._acquire(KEEPER)
            if outcome.session is not None:
                self._judge(outcome.session)
        finally:
            self.asking = False

    def _judge(self, now: Session) -> None:
        observer, before = self.world.observer, self.kept
        assert before is not None
        by_hand = before.container_id in observer.by_hand
        if now.container_id != before.container_id and not by_hand and KEEPER not in observer.excused:
            observer.wrong("S1", f"{KEEPER}: its client kept it, and lost {str(before.container_id)[:6]}")
        self.kept = now

    async def _acquire(self, name: str) -> Outcome:
        apps = self.nemesis.apps()
        return await self.world.acquire(apps[0], name, limit=40)

    @rule(name=session)
    def acquire(self, name: str) -> None:
        """A client comes."""
        self.world.go_on(self._acquire(name))

    @rule(name=session)
    def acquire_twice_at_once(self, name: str) -> None:
        """Two clients come at the same moment, and are told the same."""

        async def both() -> list[Outcome]:
            got: list[Outcome] = []

            async def one(index: int) -> None:
                got.append(await self.world.acquire(self.nemesis.apps()[index], name, limit=40))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one, 0)
                tasks.start_soon(one, -1)
            return got

        ids = {one.session.container_id for one in self.world.go_on(both()) if one.session is not None}
        assert len(ids) <= 1

    @rule(name=session, early=st.sampled_from([3.0, 0.005, 0.001, 0.0, -0.001]))
    def beat_at_the_edge(self, name: str, early: float) -> None:
        """A heartbeat comes just before the deadline, or just after it."""
        key = self.world.observer.keys.heartbeat(SessionId(name)).encode()
        ends = self.world.redis.store.expires.get(key)
        if ends is not None:
            left = (ends - self.world.clock.now_ms()) / 1000 - early
            self.world.go_on(anyio.sleep(min(60.0, max(0.0, left))))
        self.world.beat(SessionId(name), TTL)

    @rule(name=session)
    def end_by_hand(self, name: str) -> None:
        """A client deletes its key."""
        self.world.observer.excuse(name, "DEL")
        self.world.client("DEL", self.world.observer.keys.heartbeat(SessionId(name)))

    @rule(name=session)
    def terminate(self, name: str) -> None:
        """An application ends a session."""
        self.world.go_on(self.world.terminate(self.nemesis.apps()[-1], name, 40))

    @rule(
        name=session,
        fault=st.sampled_from(CALL_FAULTS),
        at=st.integers(1, 16),
        of_app=st.booleans(),
        wait=st.floats(0, 8),
    )
    def spoil_a_call(self, name: str, fault: Fault, at: int, of_app: bool, wait: float) -> None:  # noqa: FBT001
        """The n-th call of a process is spoiled while it acquires, or while time passes."""
        ports, world = self.world.ports, self.world
        victim = (self.nemesis.apps() if of_app else self.nemesis.reactors())[0]
        ports.process, ports.counting, ports.fault, ports.at = victim.process, True, fault, at
        ports.calls.clear()

        async def scene() -> None:
            await world.acquire(self.nemesis.apps()[0], name, limit=40)
            await anyio.sleep(wait)

        world.go_on(scene())
        ports.counting = False
        if not victim.alive:
            world.go_on(world.ready(world.app() if of_app else world.reactor()))

    @rule(
        fault=st.sampled_from([
            "kill_reactor", "freeze_somebody", "cut_off_somebody", "cut_connections", "redis_restarts",
            "redis_restarts_empty", "redis_restarts_older", "redis_fails_over", "redis_is_flushed", "redis_is_frozen",
            "redis_evicts", "redis_refuses", "clock_jumps", "clock_stands", "engine_crashes", "engine_is_frozen",
            "engine_stream", "engine_loses_replies", "cut_off_from_engine", "slow_network", "forged_events",
            "notifications_off",
        ]),
        seed=st.integers(0, 99),
    )  # fmt: skip
    def strike(self, fault: str, seed: int) -> None:
        """Something goes wrong, and ends."""
        self.nemesis.rng = Random(seed)
        self.world.go_on(self.nemesis.strike(fault))

    @precondition(lambda self: any(engine.boxes for engine in self.world.engines.values()))
    @rule(act=st.sampled_from(["container_dies", "operator_removes", "operator_restarts", "stuck_containers"]))
    def harm_a_container(self, act: str) -> None:
        """A container dies, or an operator lays hands on it."""
        self.world.go_on(self.nemesis.strike(act))

    @rule(seconds=st.sampled_from([0.1, 1.0, TTL / 3, TTL, 30.0]))
    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.nemesis.snapshot = self.world.redis.store.copy()
        self.world.go_on(anyio.sleep(seconds))

    @invariant()
    def nothing_is_violated(self) -> None:
        """S1, S2, S4, S5, S6, S7, S10, S15."""
        self.world.check_failures()
        assert [str(one) for one in self.world.observer.violations] == []

    def teardown(self) -> None:
        """L3, L5: it settles, and both sessions can be had."""
        try:
            took = self.world.go_on(self.world.settle(SETTLE))
            assert took is not None, list(self.world.unsettled())
            for name in (*SESSIONS, KEEPER):
                outcome = self.world.go_on(self._acquire(name))
                assert outcome.session is not None, outcome
                if name == KEEPER:
                    self._judge(outcome.session)
            self.nothing_is_violated()
        finally:
            self.world.close()


TestMachine: Any = Machine.TestCase
TestMachine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
    derandomize=not LONGER,
)
