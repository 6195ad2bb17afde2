"""Everything that may happen next, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultlab.model import acquirer, conflict, pool, reactor, teardown
from faultlab.model.engine import late_requests
from faultlab.model.faults import client_moves, faults, time_moves
from faultlab.model.moves import Moves
from faultlab.model.state import ACQUIRER, OTHER_RUN

if TYPE_CHECKING:
    from faultlab.model.moves import Bounds
    from faultlab.model.rules import Rules
    from faultlab.model.state import Move, State

_ACQUIRER = {**teardown.STEPS, **conflict.STEPS, **pool.STEPS, **acquirer.STEPS}
_REACTOR = {**teardown.STEPS, **reactor.STEPS}
_ON_ENGINE = pool.ON_ENGINE | teardown.ON_ENGINE | conflict.ON_ENGINE | acquirer.ON_ENGINE | reactor.ON_ENGINE


def moves(state: State, rules: Rules, bounds: Bounds) -> list[Move]:
    """Return every move out of a state; actors that are alike move once."""
    m = Moves(state, rules, bounds)
    standing = state.redis.standing
    last = None
    for index, actor in enumerate(state.actors):
        if actor == last:
            continue
        last = actor
        if standing[actor.host] == OTHER_RUN and actor.at not in _ON_ENGINE:
            continue  # its connection meets an unknown server: it witnesses first
        (_ACQUIRER if actor.role == ACQUIRER else _REACTOR)[actor.at](m, index, actor)
        if actor.role == ACQUIRER:
            acquirer.cancelled(m, index, actor)
    reactor.witnessing(m)
    client_moves(m)
    time_moves(m)
    late_requests(m)
    faults(m)
    return m.found
