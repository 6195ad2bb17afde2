"""More hosts than one, and names that change, as scenes.

What this is: one coroutine per flow, as in `flows_in`. What it is not: the judgement afterwards (`sweep`). The
invariant: only who stands on a host's engine removes its containers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from faultlab.sim.outcomes import LONG, SERVED, had, passes, put_to_an_end, torn_down
from faultlab.sim.stage import TTL, Stage
from faultlab.sim.wire import NOWHERE
from reactor.forget import forget_host
from reactor.registry.hosts import HostNotFound
from reactor.session import HostName

if TYPE_CHECKING:
    from faultlab.sim.members import Member, Outcome

UNHEARD = 15.0
"""Seconds after which nobody believes a killed reactor any more."""


async def host_is_forgotten(stage: Stage) -> None:
    """An operator forgets a host that is gone; its sessions can be had elsewhere. Then it returns all the same."""
    lost = [await stage.reactor("h2"), await stage.app("h2")]
    await stage.reactor()
    operator = await stage.app()
    for session in ("s1", "s2"):
        await stage.given(lost[1], session)
    for member in lost:
        member.kill()
    await anyio.sleep(UNHEARD)
    stage.barred = True
    stage.look_at(operator)
    stage.world.observer.lost_data("the host was forgotten")
    outcome = await _forgets(stage, operator)
    if outcome.value not in (2, None) and not stage.world.ports.fired:
        stage.world.observer.wrong("D25", f"{outcome.value} sessions were freed, not 2")
    if not operator.alive or passes(stage, outcome.error):
        operator = operator if operator.alive else await stage.app()
        outcome = await _forgets(stage, operator)  # repeated, it goes on
    if outcome.error is not None and not (stage.world.ports.fired and isinstance(outcome.error, HostNotFound)):
        stage.world.observer.wrong("D25", f"a host could not be forgotten: {outcome.error!r}")
    stage.barred = False
    await had(stage, operator)
    await stage.reactor("h2")


async def _forgets(stage: Stage, operator: Member) -> Outcome:
    settings = stage.world.plan.settings("h1")
    return await operator.ask(lambda: forget_host(settings, HostName("h2")), LONG)


async def host_is_renamed(stage: Stage) -> None:
    """A host comes back under another name: its index is taken over, its sessions go on."""
    world = stage.world
    before = [await stage.reactor(), await stage.app()]
    await stage.given(before[1], "kept", keep=True)
    await stage.given(before[1], "abandoned")
    before[0].stop.set()
    before[1].kill()
    await stage.until(lambda: not before[0].alive, 10)
    world.names["h9"] = "h1"
    stage.home = "h9"
    reactor = world.reactor("h9")
    stage.look_at(reactor)
    await torn_down(stage, session="abandoned")
    if not reactor.alive:
        return
    record = world.redis.store.data.get(b"mcp:session:kept")
    if not isinstance(record, dict) or record[b"host"] != b"h9":
        world.observer.wrong("D26", "the session that is kept did not follow its host to the new name")


async def terminated_from_afar(stage: Stage) -> None:
    """A terminate by an application of another host: the owner is asked, and acts."""
    await stage.reactor()
    await stage.reactor("h2")
    first, second = await stage.app(), await stage.app("h2")
    box_id = await stage.given(first)
    stage.look_at(second)
    await put_to_an_end(stage, second, box_id)


async def terminated_for_another_host(stage: Stage) -> None:
    """The same, with a look at the reactor that is asked."""
    reactor = await stage.reactor()
    first, second = await stage.app(), await stage.app("h2")
    await stage.given(first)
    await anyio.sleep(TTL / 3)
    stage.world.beat("s1", TTL)
    stage.look_at(reactor)
    stage.world.loop.create_task(stage.world.terminate(second, "s1", SERVED), context=NOWHERE.copy())
    await torn_down(stage, "terminated")
