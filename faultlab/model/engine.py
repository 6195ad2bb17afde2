"""The engines: one container name for the session on each, and requests that may be carried out late.

What this is: create, start and remove as the engine does them. What it is not: who asks. The invariant: an engine holds
at most one container under the session's name, so a create succeeds only where there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultlab.model.state import BOUND, NO_CONTAINER, Client, Container, Request, State, put

if TYPE_CHECKING:
    from faultlab.model.moves import Moves

Engines = tuple[Container, ...]


def running(state: State, host: int, number: int) -> bool:
    """Whether this engine shows that container running."""
    container = state.engines[host]
    return container.number == number and container.state == "running"


def started(engines: Engines, host: int, number: int) -> Engines:
    """Start a container, if the engine still has it; one that ran already stays as it is."""
    container = engines[host]
    if container.number != number or container.state != "created":
        return engines
    return put(engines, host, container._replace(state="running"))


def removed(engines: Engines, host: int, number: int) -> Engines:
    """Remove a container by its number, if it is there."""
    return put(engines, host, NO_CONTAINER) if number and engines[host].number == number else engines


def unspared(state: State, number: int) -> Container:
    """Return what bears the pool's name when the container of this number is gone."""
    return NO_CONTAINER if number and state.spare.number == number else state.spare


def renamed(state: State, host: int, number: int) -> State:
    """Give the pool's member the session's name, if nobody has that."""
    if state.spare.number != number or state.engines[host].number:
        return state
    return state._replace(engines=put(state.engines, host, state.spare), spare=NO_CONTAINER)


def abandoned(state: State, request: Request) -> tuple[Request, ...]:
    """Add a request whose sender gave up."""
    return tuple(sorted((*state.pending, request)))


def late_requests(m: Moves) -> None:
    """Every abandoned request may be carried out now."""
    s = m.state
    for index, request in enumerate(s.pending):
        if index and s.pending[index - 1] == request:
            continue
        rest = (*s.pending[:index], *s.pending[index + 1 :])
        verb, host, wanted = request
        if verb == "start":
            m.add(
                "engine: an abandoned start", s._replace(engines=started(s.engines, host, wanted.number), pending=rest)
            )
        elif verb == "remove":
            engines, spare = removed(s.engines, host, wanted.number), unspared(s, wanted.number)
            client = s.client if engines is s.engines else bereft(s.client, wanted.number)
            after = s._replace(engines=engines, client=client, spare=spare, pending=rest)
            m.add("engine: an abandoned remove", after)
        elif verb == "rename":
            m.add("engine: an abandoned rename", renamed(s, host, wanted.number)._replace(pending=rest))
        elif s.engines[host].number:
            m.add("engine: an abandoned create meets the name", s._replace(pending=rest))
        elif s.ghost.containers >= m.bounds.containers:
            m.add("engine: beyond the bounds", s, BOUND)
        else:
            number = s.ghost.containers + 1
            engines = put(s.engines, host, wanted._replace(number=number, state="created"))
            ghost = s.ghost._replace(containers=number)
            m.add("engine: an abandoned create", s._replace(engines=engines, pending=rest, ghost=ghost))


def bereft(client: Client, number: int) -> Client:
    """The client's container is gone or has ended by itself: nothing is left to keep alive."""
    return Client(client.generation, number, 0) if client.container == number and client.alive else client
