"""What a server says of itself, and whether it can carry sessions.

What this is: the answer of INFO, read. What it is not: a connection (`registry.link`), or a memory of earlier answers
(`registry.evidence`). The invariant: a server that is too old, a cluster or a replica is named as such, never used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from reactor.errors import Unavailable

MIN_REDIS = (7, 0)
MIN_VALKEY = (7, 2)
REFUSALS = ("MISCONF", "NOREPLICAS", "READONLY", "MASTERDOWN", "LOADING", "BUSY")
"""Errors that say that Redis cannot work: a client's heartbeat gets them too. As in `refusals` of shared.lua."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a connection says of the server behind it."""

    run_id: str
    version: str
    role: str
    cluster: bool
    valkey: bool

    def check(self) -> None:
        """Raise `Unavailable` for a server that cannot carry sessions: too old, a cluster, or a replica."""
        numbers = tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])
        needed = MIN_VALKEY if self.valkey else MIN_REDIS
        name = "Valkey" if self.valkey else "Redis"
        if numbers < needed:
            message = f"{name} {self.version} is too old; use {name} {needed[0]}.{needed[1]} or later"
            raise Unavailable(message)
        if self.cluster:
            message = "a Redis Cluster is not supported; point REDIS_URL at a single primary"
            raise Unavailable(message)
        if self.role != "master":
            message = f"this Redis is a {self.role}, not a primary; point REDIS_URL at the primary"
            raise Unavailable(message)


def info_fields(info: str) -> dict[str, str]:
    """Return what `INFO` says, by name."""
    return dict(line.split(":", 1) for line in info.splitlines() if ":" in line)


def parse_server(info: str) -> Server:
    """Read the answer of `INFO server replication`; raise `Unavailable` where it is not one."""
    fields = info_fields(info)
    valkey = "valkey_version" in fields
    if "run_id" not in fields or "role" not in fields:
        message = "the server behind REDIS_URL does not answer INFO like Redis"
        raise Unavailable(message)
    return Server(
        run_id=fields["run_id"],
        version=fields.get("valkey_version", fields.get("redis_version", "0")),
        role=fields["role"],
        cluster=fields.get("redis_mode", fields.get("server_mode")) == "cluster",
        valkey=valkey,
    )


def refusals(fields: dict[str, str]) -> int:
    """Return how many commands Redis has refused because it could not work, from `INFO errorstats`."""
    counts = (re.search(r"count=(\d+)", fields.get(f"errorstat_{name}", "")) for name in REFUSALS)
    return sum(int(found[1]) for found in counts if found is not None)
