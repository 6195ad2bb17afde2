"""What the simulation found in the product, each as the shortest run that showed it."""

from faultlab.sim.ports import Fault
from faultlab.sim.stage import Spoil
from faultlab.sim.sweep import run_one


def test_a_spawn_that_stood_still_asks_again_before_it_removes_what_holds_its_name() -> None:
    """S10: between the look at the name's holder and its removal a failover may give the session back to the holder."""
    world, _ = run_one("acquire_after_dead_spawner", 1, Spoil())
    delete = world.ports.calls.index("engine.delete")
    create = max(i for i, call in enumerate(world.ports.calls[:delete]) if call == "engine.create")
    runs = [
        run_one("acquire_after_dead_spawner", 1, Spoil(Fault.STALL_AFTER, at))[1]
        for at in range(create + 1, delete + 1)
        if world.ports.calls[at - 1].startswith("engine.")
    ]
    assert [str(run) for run in runs if run.wrong] == []
    assert len(runs) >= 2, "it stood still after the create and after the look"


def test_a_clock_that_stands_still_for_less_than_a_ttl_costs_nobody_his_session() -> None:
    """R25: each reading is near the last one, yet the clock is far behind when it catches up."""
    assert run_one("clock_stands", 1, Spoil())[1].wrong == ()


def test_what_a_frozen_redis_carries_out_late_does_not_call_the_outage_well() -> None:
    """R24: a word that all is well was sent before Redis stood still, and written down after."""
    assert run_one("redis_is_frozen", 1, Spoil())[1].wrong == ()


def test_a_newcomer_lets_those_speak_who_lived_through_an_outage() -> None:
    """R24: it knows of nothing, and was quicker than the one who knew; no claim of its own comes before that word."""
    runs = [run_one("joins_after_an_outage", seed, Spoil())[1] for seed in range(1, 9)]
    assert [str(run) for run in runs if run.wrong] == []
