"""What is this run's own, and how everybody can see it: names that carry a mark with the time in it.

What this is: pure names, built and recognised. What it is not: a look at Redis or the engine. The invariant: what is
recognised as a selftest's was made by a selftest; in doubt it is not.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from reactor.keys import Keys
from reactor.runtime.labels import LABEL
from reactor.session import Deployment, HostName

if TYPE_CHECKING:
    from reactor.session import ContainerId

REPOSITORY: Final = "session-reactor-selftest"
"""Of the images that a selftest brings."""
DEAD_AFTER: Final = timedelta(minutes=15)
"""A run is over long before; one that is older and gives no sign of life was killed."""
ALIVE_FOR: Final = timedelta(seconds=60)
_PREFIX: Final = re.compile(r"selftest_([0-9a-f]{16})(?![0-9a-z_])")
_NAME: Final = re.compile(r"selftest_([0-9a-f]{16})-(?:[0-9a-f]{20}|decoy-(?P<decoy>[a-z]+))")
_DEPLOYMENT: Final = re.compile(r"selftest-([0-9a-f]{16})0?")
BARE: Final = "bare"
"""The decoy without a label of ours (its image may have others): known by its name alone."""


@dataclass(frozen=True, slots=True)
class Own:
    """One run. Its mark is the second of its start and a random number, in hexadecimal: no two runs have the same."""

    mark: str

    @classmethod
    def at(cls, second: int) -> Own:
        """Return a run that starts at this second since the epoch."""
        return cls(f"{second:08x}{secrets.token_hex(4)}")

    @property
    def deployment(self) -> Deployment:
        """Whose its containers are."""
        return Deployment(f"selftest-{self.mark}")

    @property
    def another(self) -> Deployment:
        """Return the deployment of a decoy."""
        return Deployment(f"{self.deployment}0")

    @property
    def prefix(self) -> str:
        """Of all its keys and containers."""
        return f"selftest_{self.mark}"

    @property
    def keys(self) -> Keys:
        """Its keys."""
        return Keys(self.prefix)

    @property
    def alive(self) -> str:
        """The key that says that it still runs."""
        return alive_key(self.mark)

    @property
    def image(self) -> str:
        """The image that it brings."""
        return f"{REPOSITORY}:{self.mark}"

    def decoy(self, kind: str) -> str:
        """Return the name of a container that only looks like one of its sessions'."""
        return f"{self.prefix}-decoy-{kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A container of anybody as the engine lists it; `state` is compared, never understood."""

    container_id: ContainerId
    name: str
    image: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    state: str


def alive_key(mark: str) -> str:
    """Return the key that says that a run still goes on; it has a TTL."""
    return Keys(f"selftest_{mark}").canary(HostName("selftest"))


def is_old(mark: str, now: float, age: timedelta) -> bool:
    """Whether the run of this mark began more than `age` before `now` (seconds since the epoch)."""
    return now - int(mark[:8], 16) > age.total_seconds()


def mark_of_key(name: str) -> str | None:
    """Return the mark of the run that a key is of."""
    found = _PREFIX.match(name)
    return found[1] if found is not None and name.startswith(Keys(found[0]).everything.removesuffix("*")) else None


def mark_of_image(tag: str) -> str | None:
    """Return the mark of the run that brought an image."""
    found = re.fullmatch(rf"{REPOSITORY}:([0-9a-f]{{16}})", tag)
    return None if found is None else found[1]


def mark_of(container: Found) -> str | None:
    """Return the mark of the run that made a container: name and deployment (or image) have to say the same."""
    name = _NAME.fullmatch(container.name)
    if name is None:
        return None
    deployment = _DEPLOYMENT.fullmatch(container.labels.get(f"{LABEL}deployment", ""))
    if deployment is not None and deployment[1] == name[1]:
        return name[1]
    if mark_of_image(container.image) == name[1]:
        return name[1]
    marked = any(key.startswith(LABEL) for key in container.labels)
    return name[1] if name["decoy"] == BARE and not marked else None
