"""A real Redis, put into a state of the protocol model and read back in the model's words."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from faultlab.model.state import NO_RECORD, Container, Record, Redis
from reactor.keys import Keys
from reactor.registry import SessionRegistry
from reactor.runtime import protocol
from reactor.session import ContainerId, DatabaseId, Deployment, Generation, HostName, SessionId, Token

ID = SessionId("s")
KEYS = Keys("mcp")
HOSTS = (HostName("host-0"), HostName("host-1"))
FRESH, STRANGER = 90, 91
"""A generation or token that nobody has yet, and one of somebody else."""
SECOND = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A real Redis that is put into a state of the model, and read back."""

    client: Any
    registries: tuple[SessionRegistry, ...]
    base_us: int

    def put(self, r: Redis) -> None:
        """Write what the model holds; everybody knows that database."""
        for registry in self.registries:
            registry.evidence.db = DatabaseId(f"db{r.db}")
        now = self.client.time()[0] * 1000
        pipe = self.client.pipeline()
        pipe.delete(KEYS.record(ID), KEYS.heartbeat(ID), *(KEYS.due(host) for host in HOSTS))
        pipe.hset(KEYS.meta, "db", f"db{r.db}")
        for index, host in enumerate(HOSTS[: len(r.seen)]):
            fields = {"db": f"db{r.seen[index]}", "evicted_at": self._us(r.evicted[index]) // 1000}
            fields["quarantine"] = f"q{r.quarantine[index]}" if r.quarantine[index] else ""
            pipe.hset(KEYS.seen(host), mapping={**fields, "quarantine_at": now})
            if r.due[index]:
                pipe.zadd(KEYS.due(host), {ID: now})
        if r.record.state != "none":
            pipe.hset(KEYS.record(ID), mapping=self._fields(r, now))
            if r.record.state == "ended":
                pipe.pexpire(KEYS.record(ID), 3_600_000)
        if r.key:
            pipe.set(KEYS.heartbeat(ID), self._us(r.key), px=60_000)
        pipe.execute()

    def _fields(self, r: Redis, now: int) -> dict[str, str | int]:
        record = r.record
        fields: dict[str, str | int] = {
            "schema": "1", "state": record.state, "generation": self._us(record.generation), "template": "default",
            "host": HOSTS[record.host], "ttl_ms": 60_000, "started_at": now, "token": f"t{record.token}",
            "runtime": "fake", "reason": "expired", "detector": "deadline", "claimed_at": now,
        }  # fmt: skip
        if record.state in ("starting", "ending"):
            fields["lease_until"] = now + (20_000 if record.lease else -20_000)
        if record.container:
            fields["container_id"] = f"c{record.container}"
        if record.container and not record.start:
            fields["deadline"] = now + (60_000 if r.key else -1000)
        if record.claim:
            fields["claim_token"] = f"t{record.claim}"
        if record.end_requested:
            fields["end_requested"] = "1"
        if record.graced:
            fields["graced"] = f"q{record.graced}"
        return fields

    def get(self, r: Redis) -> Redis:
        """Read back what may have changed."""
        fields = self.client.hgetall(KEYS.record(ID))
        key = self.client.get(KEYS.heartbeat(ID))
        due = tuple(self.client.zscore(KEYS.due(host), ID) is not None for host in HOSTS[: len(r.seen)])
        return r._replace(record=self._record(fields), key=self._generation(key) if key else 0, due=due)

    def _record(self, fields: dict[str, str]) -> Record:
        if not fields:
            return NO_RECORD
        seconds, micros = self.client.time()
        leased = fields["state"] in ("starting", "ending")
        return Record(
            state=fields["state"],
            generation=self._generation(fields["generation"]),
            token=_number(fields.get("token")),
            host=HOSTS.index(HostName(fields["host"])),
            container=_number(fields.get("container_id")),
            claim=_number(fields.get("claim_token")),
            lease=leased and int(fields["lease_until"]) * 1000 >= seconds * SECOND + micros,
            end_requested="end_requested" in fields,
            graced=_number(fields.get("graced")),
            start=fields["state"] == "ending" and "deadline" not in fields,
        )

    def _us(self, generation: int) -> int:
        return self.base_us + generation * SECOND

    def _generation(self, text: str) -> int:
        seconds, rest = divmod(int(text) - self.base_us, SECOND)
        return seconds if rest == 0 and seconds < FRESH else FRESH

    def described(self, found: Container) -> tuple[protocol.Container, protocol.Labels]:
        """Return a container of the model as the product sees one."""
        labels = protocol.Labels(
            prefix="mcp", deployment=Deployment("test"), host=HOSTS[0], db=DatabaseId(f"db{found.db}"), session=ID,
            generation=Generation(self._us(found.generation)), template="default", ttl=timedelta(minutes=1),
            token=Token(f"t{found.token}"),
        )  # fmt: skip
        container = protocol.Container(
            container_id=ContainerId(f"c{found.number}"), name="name", labels=labels,
            state=protocol.ContainerState.RUNNING, created_at=datetime.now(UTC),
        )  # fmt: skip
        return container, labels


def _number(text: str | None) -> int:
    return int(text[1:]) if text else 0
