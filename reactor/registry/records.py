"""The record as Redis holds it, read into types.

What this is: parsing, and the session that a caller sees. What it is not: a decision. The invariant: a record that
cannot be read is `ForeignData`, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from reactor.errors import ForeignData
from reactor.session import (
    Address,
    ContainerId,
    Endpoint,
    EndReason,
    Generation,
    HostName,
    Session,
    SessionId,
    State,
    Token,
    from_ms,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = "1"
_PORT = "port."


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of one session; `heartbeat_left` is None where there is no heartbeat key."""

    session_id: SessionId
    state: State
    generation: Generation
    host: HostName
    template: str
    ttl: timedelta
    started_ms: int
    runtime: str
    token: Token
    container_id: ContainerId | None
    lease_until_ms: int
    claimed: bool
    reason: EndReason | None
    error: str
    end_requested: bool
    address: Address | None
    heartbeat_left: timedelta | None = None
    has_ttl: bool = False
    """The record itself goes some time: right for a tombstone, wrong for anything else."""
    immortal: bool = False
    """The heartbeat key has no TTL, or one beyond the session's."""

    def session(self, heartbeat_key: str, *, local: bool, created: bool | None = None) -> Session:
        """Return what a caller sees; `local`: the caller stands on the session's host and can reach its ports."""
        return Session(
            session_id=self.session_id,
            state=self.state,
            generation=self.generation,
            container_id=self.container_id,
            host=self.host,
            runtime=self.runtime,
            template=self.template,
            heartbeat_key=heartbeat_key,
            ttl=self.ttl,
            expires_in=self.heartbeat_left,
            started_at=from_ms(self.started_ms),
            address=self.address if local else None,
            created=created,
        )


def parse_record(
    session_id: SessionId, fields: Mapping[str, str], heartbeat_ms: int = -2, *, has_ttl: bool = False
) -> Record:
    """Read the hash of a session; `heartbeat_ms` is PTTL's answer for its heartbeat key. Raises `ForeignData`."""
    if fields.get("schema") != SCHEMA:
        message = (
            f"the record of session {session_id} has schema {fields.get('schema')!r}, this version knows {SCHEMA}; "
            "it is left alone (a newer version running?)"
        )
        raise ForeignData(message)
    try:
        ttl = timedelta(milliseconds=int(fields["ttl_ms"]))
        left = None if heartbeat_ms == -2 else ttl if heartbeat_ms == -1 else timedelta(milliseconds=heartbeat_ms)  # noqa: PLR2004
        return Record(
            session_id=session_id,
            state=State(fields["state"]),
            generation=Generation(int(fields["generation"])),
            host=HostName(fields["host"]),
            template=fields["template"],
            ttl=ttl,
            started_ms=int(fields["started_at"]),
            runtime=fields["runtime"],
            token=Token(fields["token"]),
            container_id=ContainerId(fields["container_id"]) if fields.get("container_id") else None,
            lease_until_ms=int(fields.get("lease_until", "0")),
            claimed="claim_token" in fields,
            reason=EndReason(fields["reason"]) if "reason" in fields else None,
            error=fields.get("error", ""),
            end_requested="end_requested" in fields,
            address=_address(fields),
            heartbeat_left=left,
            has_ttl=has_ttl,
            # A grace may be longer than the TTL, until the first touch.
            immortal=heartbeat_ms == -1 or (left is not None and left > ttl and "grace_until" not in fields),
        )
    except (KeyError, ValueError, OverflowError) as error:
        message = f"the record of session {session_id} cannot be read ({error}); it is left alone, look at it"
        raise ForeignData(message) from error


def parse_flat(session_id: SessionId, flat: list[str], heartbeat_ms: int) -> Record:
    """Read a record that a script returned as name, value, name, value."""
    return parse_record(session_id, dict(zip(flat[::2], flat[1::2], strict=True)), heartbeat_ms)


def address_fields(address: Address | None) -> list[str]:
    """Return the fields that keep an address in a record (each value short: a long one triples the hash)."""
    if address is None:
        return []
    flat: list[str] = []
    if address.ip is not None:
        flat += ["ip", address.ip]
    for name, end in address.ports.items():
        flat += [f"{_PORT}{name}", f"{end.host} {end.port}"]
    return flat


def _address(fields: Mapping[str, str]) -> Address | None:
    ports: dict[str, Endpoint] = {}
    for name, value in fields.items():
        if name.startswith(_PORT):
            host, _, port = value.rpartition(" ")
            ports[name.removeprefix(_PORT)] = Endpoint(host=host, port=int(port))
    if "ip" not in fields and not ports:
        return None
    return Address(ip=fields.get("ip"), ports=ports)
