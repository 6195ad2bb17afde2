"""Redis as typed verbs: what we believe about sessions."""

from reactor.registry.evidence import Evidence
from reactor.registry.hosts import HostNotFound, HostPresent, Hosts
from reactor.registry.link import RedisLink
from reactor.registry.naming import Naming
from reactor.registry.pools import Mark, PoolIndex
from reactor.registry.probe import Probe
from reactor.registry.pulse import Lane, Pulse
from reactor.registry.reader import BATCH, Found, Reader
from reactor.registry.records import Record
from reactor.registry.registry import DataLost, Doomed, SessionRegistry, Superseded
from reactor.registry.translation import redis_errors
from reactor.registry.upkeep import Terms

__all__ = [
    "BATCH",
    "DataLost",
    "Doomed",
    "Evidence",
    "Found",
    "HostNotFound",
    "HostPresent",
    "Hosts",
    "Lane",
    "Mark",
    "Naming",
    "PoolIndex",
    "Probe",
    "Pulse",
    "Reader",
    "Record",
    "RedisLink",
    "SessionRegistry",
    "Superseded",
    "Terms",
    "redis_errors",
]
