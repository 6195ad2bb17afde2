"""The one create request that is ever sent: hardened, and opened only where the template says so by name.

What this is: a pure function from a spec to the body of `POST /containers/create`. What it is not: a judgement whether
the engine will take it. The invariant: whatever the template says, the engine never restarts or removes a container of
ours by itself, all capabilities are dropped first, and every published port is on 127.0.0.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from reactor.runtime.protocol import ContainerSpec
    from reactor.templates import Template

NANO: Final = 1_000_000_000
_TMPFS: Final = "rw,nosuid,nodev,size=64m"
_LOG: Final = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
"""Bounded: a container that prints for ever must not fill the host's disk."""


def port_key(port: str) -> str:
    """Return `8000/tcp` for `8000` and for `8000/tcp`."""
    return port if "/" in port else f"{port}/tcp"


def create_body(spec: ContainerSpec) -> dict[str, Any]:
    """Return the body of the create request for `spec`."""
    template = spec.template
    environment = {**template.environment, **spec.environment}
    body: dict[str, Any] = {
        "Image": template.image,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": spec.labels.as_dict(),
        "ExposedPorts": {port_key(port): {} for port in template.ports},
        "Volumes": {volume: {} for volume in template.volumes if ":" not in volume},
        "HostConfig": _host_config(template),
    }
    if template.command:
        body["Cmd"] = list(template.command)
    if template.user:
        body["User"] = template.user
    if template.working_dir:
        body["WorkingDir"] = template.working_dir
    return body


def _host_config(template: Template) -> dict[str, Any]:
    config: dict[str, Any] = {
        # PID 1 ignores SIGTERM unless it asks for it: without an init each teardown would cost the whole stop grace.
        "Init": True,
        # Anything else lets the engine start a session that is over, or remove one before its end is written down.
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": list(template.cap_add),
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": template.read_only,
        "Tmpfs": dict(_tmpfs(entry) for entry in template.tmpfs),
        "NetworkMode": template.network,
        "PortBindings": {port_key(port): [{"HostIp": "127.0.0.1", "HostPort": ""}] for port in template.ports},
        "Binds": [volume for volume in template.volumes if ":" in volume],
        "IpcMode": "private",
        "LogConfig": _LOG,
    }
    if template.pids:
        config["PidsLimit"] = template.pids
    if template.cpus:
        config["NanoCpus"] = round(template.cpus * NANO)
    if template.memory:
        # Equal: no swap on top, or the limit would only make the host slow before it holds.
        config["Memory"] = config["MemorySwap"] = template.memory
    return config


def _tmpfs(entry: str) -> tuple[str, str]:
    """Return path and options of `PATH` or `PATH:OPTIONS`; what the entry says comes last and wins."""
    path, _, options = entry.partition(":")
    return path, f"{_TMPFS},{options}" if options else _TMPFS
