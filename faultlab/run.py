"""One run: a world, a seeded schedule of faults, a calm, an end, and the history of it all.

What this is: the order of things. What it is not: the faults, or the judgement. The invariant: the same seed gives the
same schedule, and three seeds in a row begin with different kinds of fault, so that together they have all; after each
fault there is time enough for everything to be right again.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

from faultlab.checks.story import BACK_OFF_S, CLAIM_LEASE_S, ENGINE_S
from faultlab.children import NotStarted, until
from faultlab.entries import Fault, Left
from faultlab.faults.catalogue import kinds
from faultlab.faults.pubsub_faults import NOTIFICATIONS
from faultlab.faults.scene import Flag, Kind, Scene
from faultlab.history import now
from faultlab.leftovers import containers_of, leftovers
from faultlab.parts import ACQUIRE_TIMEOUT_S, IDLE_S, JANITOR_S, PREFIX, STOP_GRACE_S, TTLS, Plan
from faultlab.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WARM_S: Final = 8.0
CALM_S: Final = 3.0 * JANITOR_S
EVERY_WRITE: Final = "KEA"
USERS: Final = (
    {"keeper": 3, "sharer": 1, "leaver": 2, "deleter": 1},
    {"keeper": 3, "sharer": 1, "leaver": 1, "ender": 1},
    {"keeper": 2, "sharer": 1, "leaver": 1, "deleter": 1, "typist": 1},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fault of a schedule: how long it lasts and how long the quiet after it (seconds)."""

    kind: Kind
    lasts: float
    quiet: float


def recovery_s(kind: Kind) -> float:
    """Return how long everything may take to be right again after a fault: the bound of L3."""
    bound = CLAIM_LEASE_S + BACK_OFF_S + JANITOR_S + STOP_GRACE_S + ENGINE_S
    return bound + (max(TTLS) + ACQUIRE_TIMEOUT_S if Flag.LOSES in kind.flags else 0)


def schedule(seed: int, minutes: float, runtime: str, only: Sequence[str] = ()) -> list[Step]:
    """Return the faults of a run: each kind comes once before any comes twice; at least one. Pure.

    The kinds lie in three piles of equal length. Each seed begins with another pile than the one before.
    """
    chance = random.Random(f"schedule/{seed}")
    piles = _piles([kind for kind in kinds(runtime) if not only or kind.name in only])
    steps: list[Step] = []
    left = minutes * 60 - WARM_S - CALM_S
    for number in count(seed) if any(piles) else ():
        pile = piles[number % len(piles)]
        for kind in chance.sample(pile, len(pile)):
            step = Step(kind=kind, lasts=chance.uniform(*kind.seconds), quiet=recovery_s(kind) + chance.uniform(1, 3))
            left -= step.lasts + step.quiet
            if steps and left < 0:
                return steps
            steps.append(step)
    return steps


def _piles(chosen: Sequence[Kind]) -> list[list[Kind]]:
    """Return the kinds in three piles that take about the same time."""

    def longest(kind: Kind) -> float:
        return kind.seconds[1] + recovery_s(kind)

    piles: list[list[Kind]] = [[], [], []]
    for kind in sorted(chosen, key=lambda kind: (-longest(kind), kind.name)):
        min(piles, key=lambda pile: sum(longest(one) for one in pile)).append(kind)
    return piles


def show(steps: Sequence[Step]) -> str:
    """Return a schedule as lines."""
    return "\n".join(
        f"  {number:3}  {step.kind.name:26} {step.lasts:5.1f} s, then {step.quiet:4.1f} s of quiet"
        for number, step in enumerate(steps, start=1)
    )


async def carry_out(plan: Plan, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Build the world, let the faults happen, and leave the history in `plan.directory`.

    Raises `NotStarted` where something of the laboratory itself did not come up. Cancelled, it ends all it started.
    """
    async with World(plan) as world:
        world.mark("begin")
        for number in range(plan.clients):
            world.crowd.start(f"client-{number + 1}", USERS[number % len(USERS)])
        await _warm(world)
        for number, step in enumerate(steps, start=1):
            say(f"{number:3}/{len(steps)} {step.kind.name}")
            await _one(world, number, step)
        await _last(world, say)


async def _warm(world: World) -> None:
    async def some_live() -> bool:
        return len(await world.admin.keys("mcp:session:*:heartbeat")) >= 2 * world.plan.clients

    if not await until(some_live, 60):
        logs = "\n".join(client.log[-300:] for client in world.crowd.clients.values())
        raise NotStarted(f"no sessions came up: {logs}")
    await asyncio.sleep(WARM_S / 2)


async def _one(world: World, number: int, step: Step) -> None:
    kind = step.kind
    scene = Scene(world=world, chance=random.Random(f"{world.plan.seed}/{number}"))

    def note(phase: str, *, fired: bool = False) -> None:
        flags, evidence = tuple(kind.flags), "; ".join(scene.seen)
        entry = Fault(n=number, name=kind.name, phase=phase, t=now(), flags=flags, fired=fired, evidence=evidence)
        world.writer.write(entry)

    note("start")
    async with kind.inject(scene):
        note("on")
        await asyncio.sleep(step.lasts)
        note("mend")
    note("heal", fired=bool(scene.seen))
    await asyncio.sleep(step.quiet)


async def _last(world: World, say: Callable[[str], None]) -> None:
    """Show that all works, that all rests, that all ends; then look at what is left."""
    say("the last acquire, heartbeat and expiry; then nothing but idle sessions")
    world.mark("probe")
    await world.crowd.once("prober", 1)
    await world.crowd.stop()
    await _settled(world)
    await world.crowd.once("idler", 2, ttls=(IDLE_S,))
    await asyncio.sleep(JANITOR_S)
    await world.admin.config_set("notify-keyspace-events", EVERY_WRITE)
    world.mark("calm")
    await asyncio.sleep(CALM_S)
    world.mark("stir")
    await world.admin.config_set("notify-keyspace-events", NOTIFICATIONS)
    await _settled(world)
    say("SIGTERM")
    await asyncio.gather(*(world.stop_reactor(one) for one in world.sidecars))
    world.write_requests()
    containers, processes, keys = await leftovers(world)
    changed = await world.decoys.changed()
    left = Left(
        t=now(), containers=tuple(containers), processes=tuple(processes), keys=tuple(keys), changed=tuple(changed)
    )
    world.writer.write(left)
    world.mark("end")
    await world.stop_observer()


async def _settled(world: World) -> None:
    """Wait until no container is left and nobody holds a claim, or the bound is over."""

    async def settled() -> bool:
        await asyncio.sleep(0.3)
        due = [await world.admin.zcard(f"{PREFIX}:host:{host.name}:due") for host in world.hosts]
        return not any(due) and not await containers_of(world)

    await until(settled, max(TTLS) + 30 + CLAIM_LEASE_S + BACK_OFF_S + ENGINE_S)
