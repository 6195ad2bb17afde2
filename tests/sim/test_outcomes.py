"""What a flow's calls came to is judged, and whether a session is served at once where a fault befell."""

import pytest

from faultlab.sim import flows, outcomes
from faultlab.sim.members import Member
from faultlab.sim.outcomes import had, put_to_an_end, torn_down
from faultlab.sim.ports import Fault
from faultlab.sim.stage import Flow, Spoil, Stage
from faultlab.sim.sweep import run_one


def wrong(name: str, spoil: Spoil | None = None) -> list[str]:
    """Return the invariants that a run violated, in order."""
    return [text.split()[1].rstrip(":") for text in run_one(name, 1, spoil or Spoil())[1].wrong]


def play(monkeypatch: pytest.MonkeyPatch, flow: Flow) -> list[str]:
    """Let a flow of this file play, without any fault."""
    monkeypatch.setitem(flows.FLOWS, "scene", flow)
    return wrong("scene")


def test_a_dead_spawner_is_followed_within_its_lease() -> None:
    """L5: asked for at once, a session is had when the lease of 10 s is over, and not much later."""
    at = run_one("acquire_new", 1, Spoil())[0].ports.calls.index("engine.start") + 1
    run = run_one("acquire_new", 1, Spoil(Fault.CRASH_BEFORE, at, at_once=True))[1]
    assert run.wrong == ()
    assert 8 < run.served < outcomes.SERVED_AFTER_SPAWN


def test_a_session_that_is_served_late_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was had afterwards does not hide that it was not to be had in time."""
    monkeypatch.setattr(outcomes, "SERVED_AFTER_SPAWN", 5.0)
    at = run_one("acquire_new", 1, Spoil())[0].ports.calls.index("engine.start") + 1
    assert wrong("acquire_new", Spoil(Fault.CRASH_BEFORE, at, at_once=True)) == ["L5"]
    assert wrong("acquire_new", Spoil(Fault.CRASH_BEFORE, at)) == [], "asked after all had settled, nothing shows"


def test_an_acquire_that_fails_is_a_violation_though_the_next_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow does not pass over what its own call came to."""

    async def scene(stage: Stage) -> None:
        app = await stage.app()
        stage.sessions["s1"] = None
        stage.look_at(app)
        stage.world.engines["h1"].start_error = "no such file"
        await had(stage, app)
        stage.world.engines["h1"].start_error = ""

    assert play(monkeypatch, scene) == ["L5"]


def test_a_teardown_that_says_another_reason_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit stream has to name what happened."""

    async def scene(stage: Stage) -> None:
        reactor = await stage.reactor()
        await stage.given(await stage.app())
        stage.look_at(reactor)
        await torn_down(stage, "terminated")

    assert play(monkeypatch, scene) == ["S4"]


def test_a_terminate_that_returns_before_the_container_is_gone_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its promise is about the container."""

    async def scene(stage: Stage) -> None:
        app = await stage.app()
        await stage.given(app)
        other = await stage.given(app, "s2", keep=True)
        stage.look_at(app)
        await put_to_an_end(stage, app, other)

    assert play(monkeypatch, scene) == ["L1"]


def test_a_reconcile_without_a_brake_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve orphans go, and nobody agreed to it."""

    def never(*_: object) -> str:
        return ""

    monkeypatch.setattr("reactor.reconcile.brake", never)
    assert set(wrong("reconcile_is_braked")) == {"BRAKE"}


def test_a_quarantine_that_is_not_written_down_costs_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow depends on what the killed reactor left: without it, the next one ends a session that is kept."""
    kill = Member.kill

    def kill_and_forget(member: Member) -> None:
        kill(member)
        seen = member.world.redis.store.data[b"mcp:host:h1:seen"]
        assert isinstance(seen, dict)
        for name in (b"quarantine", b"quarantine_at", b"outage", b"outage_at", b"outage_ms"):
            seen.pop(name, None)

    monkeypatch.setattr(Member, "kill", kill_and_forget)
    assert "S1" in wrong("quarantine_is_resumed")


def test_a_standstill_is_excused_only_where_nobody_wrote_it_down() -> None:
    """R24: a reactor that is killed after it wrote the outage down leaves no excuse, and the session is kept."""
    calls = run_one("redis_is_frozen", 1, Spoil())[0].ports.calls
    runs = [run_one("redis_is_frozen", 1, Spoil(Fault.CRASH_AFTER, at))[1] for at in range(1, len(calls), 6)]
    assert [run.wrong for run in runs if run.wrong] == []
    assert 0 < sum(run.excused > 0 for run in runs) < len(runs) / 2
