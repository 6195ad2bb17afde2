"""What a search found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultlab.model.state import IDLE, SURE

if TYPE_CHECKING:
    from faultlab.model.search import Found
    from faultlab.model.state import Actor, State


def described(s: State) -> dict[str, str]:
    """Return the parts of a state that say something, by name."""
    r = s.redis
    record = r.record
    words = f"{record.state} g{record.generation} on host {record.host}" if record.state != "none" else "none"
    words += f", container {record.container}" * bool(record.container)
    words += f", claim {record.claim}" * bool(record.claim) + ", leased" * record.lease
    words += ", end requested" * record.end_requested
    parts = {"record": words, "key": f"g{abs(r.key)}{' (short)' * (r.key < 0)}" if r.key else "missing"}
    for host, container in enumerate(s.engines):
        labels = f"{container.number} (g{container.generation}, db {container.db}) {container.state}"
        parts[f"engine {host}"] = labels if container.number else "empty"
        known = f"db {r.seen[host]}" + f", {r.standing[host]}" * (r.standing[host] != SURE)
        parts[f"host {host} knows"] = known + f", quarantine {r.quarantine[host]}" * bool(r.quarantine[host])
        parts[f"index {host}"] = "due" if r.due[host] else "empty"
    parts["db"] = str(r.db or "missing")
    parts["client"] = f"g{s.client.generation}, container {s.client.container}, {_alive(s.client.alive)}"
    parts["late requests"] = ", ".join(f"{q.verb} on {q.host}" for q in s.pending) or "none"
    parts["replica"] = "in step" if s.replica is None else f"{s.lag} writes behind"
    return parts


def _alive(alive: int) -> str:
    return ("not alive", "alive", "alive when the data was lost")[alive]


def _doing(actors: tuple[Actor, ...]) -> str:
    busy = [f"{a.role} on {a.host} before {a.at!r}" for a in actors if a.at != IDLE]
    return "; ".join(busy) or "all idle"


def trace_lines(first: State, found: Found[State]) -> list[str]:
    """Return the trace, each move with what it changed."""
    lines: list[str] = []
    before = described(first)
    for number, (label, state) in enumerate(found.trace, start=1):
        now = described(state)
        changes = "; ".join(f"{name}: {words}" for name, words in now.items() if words != before[name])
        lines.append(f"  {number:>2}. {label}" + f"  [{changes}]" * bool(changes))
        before = now
    if found.trace:
        lines.append(f"      {_doing(found.trace[-1][1].actors)}")
    return lines
