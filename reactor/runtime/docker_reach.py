"""Where this process stands to the engine's containers: beside them, among them, or elsewhere.

What this is: found out once at connect, then pure answers to "by which way is that port reached from here". What it is
not: the readiness probe that walks the way. The invariant: a way is named only where it leads to that container; where
there is none, a template that needs one is a configuration error, not a timeout at the first acquire.
"""

from __future__ import annotations

import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reactor.runtime.docker_profile import port_key
from reactor.runtime.protocol import Route
from reactor.session import Endpoint
from reactor.templates import ReadyKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from reactor.runtime.protocol import Container
    from reactor.templates import Template

_MOUNTED: Final = re.compile(r"/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf) /etc/")
_CGROUP: Final = re.compile(r"([0-9a-f]{64})")
_SHORT_ID: Final = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What of a container can be reached from here.

    `networks` is null outside of the engine's containers; inside of one it names the networks that we are on.
    """

    remote: bool
    addresses: bool
    """Whether this machine has a way to the containers' own addresses."""
    networks: frozenset[str] | None = None

    def joins(self, network: str) -> bool:
        """Whether a container's address on that network can be reached from here."""
        return self.addresses if self.networks is None else network in self.networks

    def routes(self, container: Container, port: int) -> tuple[Route, ...]:
        """Return the ways to a TCP port of the container, best first."""
        found: list[Route] = []
        if container.address is None:
            return ()
        if container.address.ip:
            found.append(Route(endpoint=Endpoint(host=container.address.ip, port=port), relayed=False))
        published = container.address.ports.get(f"{port}/tcp")
        if published and self.networks is None:
            found.append(Route(endpoint=published, relayed=True))
        return tuple(found)

    def problem(self, template: Template) -> str | None:
        """Return why the template's `ready` could never be seen from here, with the fix; None if it can."""
        ready = template.ready
        if ready.kind not in (ReadyKind.TCP, ReadyKind.HTTP):
            return None
        what = f"ready = {ready.kind.value}:{ready.port} cannot be probed"
        if template.network == "none":
            return f'{what}: the container has no network; set network = "bridge", or ready = "started"'
        if self.networks is not None:
            fix = f"attach this program to a network of the sessions (it is on {', '.join(sorted(self.networks))})"
            return None if template.network in self.networks else f"{what} over network {template.network!r}: {fix}"
        if self.remote:
            return f'{what}: the engine is on another machine; run this there, or set ready = "started" or "healthy"'
        published = f"{ready.port}/tcp" in {port_key(port) for port in template.ports}
        if published or self.joins(template.network):
            return None
        return f'{what}: the port is not published; add "{ready.port}/tcp" to ports'


async def find_reach(
    look: Callable[[str], Awaitable[Mapping[str, Any] | None]], info: Mapping[str, Any], *, remote: bool
) -> Reach:
    """Find out where we stand; `look` inspects a container by id, `info` is the engine's description of itself.

    Being inside a container proves nothing (the engine may run in it too): what counts is that this engine knows the
    container that we are.
    """
    for candidate in _own_ids():
        own = await look(candidate)
        if own is not None and own["Id"].startswith(candidate) and own["HostConfig"]["NetworkMode"] != "host":
            networks: Mapping[str, Any] = own["NetworkSettings"].get("Networks") or {}
            return Reach(remote=False, addresses=True, networks=frozenset(networks))
    rootless = "rootless" in str(info.get("SecurityOptions"))
    desktop = "docker desktop" in str(info.get("OperatingSystem", "")).lower()
    # There the containers' network is inside a virtual machine or a user namespace: only published ports lead out.
    addresses = sys.platform == "linux" and not (remote or rootless or desktop)
    return Reach(remote=remote, addresses=addresses)


def _own_ids() -> list[str]:
    """Return what may be the id of the container that this process is in; on a plain host usually nothing."""
    found = _MOUNTED.findall(_text("/proc/self/mountinfo")) + _CGROUP.findall(_text("/proc/self/cgroup"))
    if _SHORT_ID.fullmatch(socket.gethostname()):
        found.append(socket.gethostname())
    return list(dict.fromkeys(found))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
