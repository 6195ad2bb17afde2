"""Every Redis key, channel and engine name of this program, built and parsed.

What this is: the only file that writes a colon. What it is not: what the keys hold (see the headers in
`registry/lua`). The invariant: ids contain no colon, so every key parses back to exactly one meaning.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reactor.errors import InvalidSessionId
from reactor.session import Deployment, HostName, SessionId, parse_session_id

if TYPE_CHECKING:
    from typing import Final

_HEARTBEAT: Final = ":heartbeat"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one prefix."""

    prefix: str

    def record(self, session_id: SessionId) -> str:
        """Hash: what is known of a session. It outlives the heartbeat key."""
        return f"{self.prefix}:session:{session_id}"

    def heartbeat(self, session_id: SessionId) -> str:
        """String with a TTL: the only key a client touches."""
        return f"{self.prefix}:session:{session_id}{_HEARTBEAT}"

    @property
    def session_pattern(self) -> str:
        """Glob over records and heartbeats alike, for SCAN."""
        return f"{self.prefix}:session:*"

    @property
    def everything(self) -> str:
        """Glob over all keys of the prefix, for SCAN."""
        return f"{self.prefix}:*"

    @property
    def hosts(self) -> str:
        """Set: hosts that have or had sessions."""
        return f"{self.prefix}:hosts"

    def due(self, host: HostName) -> str:
        """Sorted set: session id -> look at me no later than (Redis clock, ms)."""
        return f"{self.prefix}:host:{host}:due"

    def seen(self, host: HostName) -> str:
        """Hash: what this host's reactors last saw of Redis."""
        return f"{self.prefix}:host:{host}:seen"

    def engine(self, host: HostName) -> str:
        """Hash: the engine behind a host name."""
        return f"{self.prefix}:host:{host}:engine"

    def wake(self, host: HostName) -> str:
        """Channel: an id whose record just left `starting` or `ending`, for those who wait on it."""
        return f"{self.prefix}:host:{host}:wake"

    @property
    def events(self) -> str:
        """Stream: one entry per change of state."""
        return f"{self.prefix}:events"

    @property
    def meta(self) -> str:
        """Hash: database id, deployment, layout version."""
        return f"{self.prefix}:meta"

    def pool(self, host: HostName, template: str) -> str:
        """Hash: token of each warm container of a template that no session has -> what is known of it."""
        return f"{self.prefix}:pool:{host}:{template}"

    def taken(self, host: HostName) -> str:
        """Hash: token of each warm container that a session of this host has -> generation and id of that session."""
        return f"{self.prefix}:host:{host}:taken"

    def pools(self, host: HostName) -> str:
        """Glob over the pools of a host, for SCAN."""
        return f"{self.prefix}:pool:{host}:*"

    def canary(self, host: HostName) -> str:
        """String with a short TTL: proves the notification path."""
        return f"{self.prefix}:canary:{host}"

    def heartbeat_channels(self, database: int) -> str:
        """Pattern of the keyspace notifications of every heartbeat key."""
        return f"__keyspace@{database}__:{self.prefix}:session:*{_HEARTBEAT}"

    def canary_channel(self, database: int, host: HostName) -> str:
        """Channel of the keyspace notifications of one canary."""
        return f"__keyspace@{database}__:{self.canary(host)}"

    def parse_session_key(self, key: str) -> tuple[SessionId, bool] | None:
        """Return the id in a record key (False) or heartbeat key (True); None for a key that is not ours."""
        head = f"{self.prefix}:session:"
        if not key.startswith(head):
            return None
        text = key[len(head) :]
        is_heartbeat = text.endswith(_HEARTBEAT)
        try:
            return parse_session_id(text.removesuffix(_HEARTBEAT)), is_heartbeat
        except InvalidSessionId:
            return None


def container_name(prefix: str, deployment: Deployment, session_id: SessionId) -> str:
    """Return the engine name of a session's container.

    It is the engine's own mutex against a double spawn, and a hash so that no neighbour learns the id.
    """
    digest = hashlib.sha256(f"{deployment}/{session_id}".encode()).hexdigest()
    return f"{prefix}-{digest[:20]}"


def pool_name(prefix: str, deployment: Deployment, number: int) -> str:
    """Return the engine name of a container that no session has yet; a session's has no dot in front of its hash."""
    return f"{prefix}.pool-{deployment}-{number}"


def is_pool_name(prefix: str, name: str) -> bool:
    """Whether a container bears the name that it was made with in a pool."""
    return name.startswith(f"{prefix}.pool-")


def default_deployment(address: str, database: int, prefix: str) -> Deployment:
    """Return the deployment name where none was configured: a short hash of Redis address, database and prefix."""
    return Deployment(hashlib.sha256(f"{address}/{database}/{prefix}".encode()).hexdigest()[:12])
