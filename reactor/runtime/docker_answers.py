"""What the engine's JSON means in our words.

What this is: pure functions from answers (inspect, events, logs) to the values of the protocol. What it is not:
talking to the engine. The invariant: a container is called dead only for a state that certainly has no process; a state
that this version does not know counts as running.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from reactor.errors import InvalidSessionId
from reactor.runtime.labels import LABEL, Labels, Member
from reactor.runtime.protocol import Container, ContainerState, EngineEvent, Health
from reactor.session import Address, ContainerId, Endpoint, Token, parse_session_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reactor.runtime.docker_reach import Reach

_STATES: Final = {
    "created": ContainerState.CREATED,
    "configured": ContainerState.CREATED,
    "exited": ContainerState.DEAD,
    "stopped": ContainerState.DEAD,
    "dead": ContainerState.DEAD,
    "removing": ContainerState.DEAD,
}
_FRAME_HEADER: Final = 8
LINE: Final = 200


def inspected(answer: Mapping[str, Any], reach: Reach) -> Container:
    """Return the container of an inspect answer."""
    state = answer["State"]
    labels: Mapping[str, str] = answer["Config"].get("Labels") or {}
    now = state_of(answer)
    dead = now is ContainerState.DEAD
    return Container(
        container_id=ContainerId(answer["Id"]),
        name=answer["Name"].removeprefix("/"),
        labels=Labels.parse(labels),
        member=Member.parse(labels),
        image_id=str(answer.get("Image") or ""),
        state=now,
        created_at=datetime.fromisoformat(answer["Created"]),
        address=_address(answer["NetworkSettings"], reach) if now is ContainerState.RUNNING else None,
        health=_health(state),
        exit_code=state.get("ExitCode") if dead else None,
        detail="" if now is ContainerState.RUNNING else _detail(state, dead=dead),
    )


def state_of(answer: Mapping[str, Any]) -> ContainerState:
    """Return the state in an inspect answer."""
    return state_named(answer["State"]["Status"])


def state_named(word: str) -> ContainerState:
    """Return what the engine's word for a state means."""
    return _STATES.get(word, ContainerState.RUNNING)


def event_of(line: Mapping[str, Any], wanted: Mapping[str, str]) -> EngineEvent | None:
    """Return the start or death in one line of the event stream; None for anything else, or another deployment's."""
    actor = _object(line.get("Actor"))
    attributes = _object(actor.get("Attributes"))
    action = line.get("Action") or line.get("status")
    if action not in ("start", "die") or any(attributes.get(key) != value for key, value in wanted.items()):
        return None
    try:
        container_id, started = ContainerId(str(actor["ID"])), action == "start"
        if f"{LABEL}pool" in attributes:
            member = Token(str(attributes[f"{LABEL}token"]))
            return EngineEvent(container_id=container_id, session_id=None, started=started, member=member)
        session_id = parse_session_id(str(attributes[f"{LABEL}session"]))
        return EngineEvent(container_id=container_id, session_id=session_id, started=started)
    except (KeyError, InvalidSessionId):
        return None


def last_line(log: bytes) -> str:
    """Return the last line that says something in a multiplexed log: frames of stream, length and data."""
    text = bytearray()
    while len(log) >= _FRAME_HEADER:
        end = _FRAME_HEADER + int.from_bytes(log[4:_FRAME_HEADER], "big")
        text += log[_FRAME_HEADER:end]
        log = log[end:]
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:LINE] if lines else ""


def _health(state: Mapping[str, Any]) -> Health:
    status = str(_object(state.get("Health")).get("Status"))
    return Health(status) if status in set(Health) else Health.NONE


def _detail(state: Mapping[str, Any], *, dead: bool) -> str:
    said: list[str] = []
    if state.get("OOMKilled"):
        said.append("out of memory: raise memory in its template")
    if state.get("Error"):
        said.append(" ".join(str(state["Error"]).split()))
    if dead:
        said.append(f"exit code {state.get('ExitCode')}")
    return ", ".join(said)


def _address(settings: Mapping[str, Any], reach: Reach) -> Address | None:
    if reach.remote:
        return None
    networks = {name: _object(network) for name, network in _object(settings.get("Networks")).items()}
    addresses = [str(net["IPAddress"]) for name, net in networks.items() if net.get("IPAddress") and reach.joins(name)]
    ports: dict[str, Endpoint] = {}
    for name, bindings in _object(settings.get("Ports")).items():
        for binding in cast("list[dict[str, str]]", bindings or [])[:1]:
            host = binding["HostIp"] if binding["HostIp"] not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104
            ports[name] = Endpoint(host=host, port=int(binding["HostPort"]))
    if not addresses and not ports:
        return None
    return Address(ip=addresses[0] if addresses else None, ports=ports)


def _object(value: Any) -> Mapping[str, Any]:
    """Return a JSON object; the engine writes null for an empty one, and anything else is none."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}
