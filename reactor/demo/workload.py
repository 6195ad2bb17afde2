"""What the sessions of the demo run: an MCP server, in containers of Docker or as local processes.

What this is: the choice between the two, with its reason, and the template for it. What it is not: the server, which is
in `mcp/`. The invariant: an engine that was asked for by name is never replaced by the other kind without saying so.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reactor.crew import connect_runtime
from reactor.errors import ConfigError, ReactorError
from reactor.settings import RuntimeName
from reactor.templates import Ready, ReadyKind, Template

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from reactor.runtime.protocol import Runtime
    from reactor.settings import Settings

TTL: Final = timedelta(seconds=4)
PORT: Final = 8000
_SOURCE: Final = Path(__file__).parent / "mcp"
_BUILT_FROM: Final = ("Dockerfile", "requirements.lock", "server.py")
_PASSED_ON: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_TEMPLATE: Final = Template(
    name="default", ports=(f"{PORT}/tcp",), ready=Ready(kind=ReadyKind.TCP, port=PORT), ttl=TTL, network="bridge"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What runs the sessions, what they are, and why so, in words."""

    runtime: Runtime
    template: Template
    about: str
    sign: str
    """How a person lists the sessions' containers meanwhile."""


@asynccontextmanager
async def open_workload(settings: Settings, home: Path, say: Callable[[str], None]) -> AsyncGenerator[Workload]:
    """Connect to what runs the sessions, and have there what they run; closes the connection at the end.

    Docker if it can be used, else processes, unless the settings name one: then its `ReactorError` is raised.
    """
    named = "runtime" in settings.origins
    if named and settings.runtime is RuntimeName.PROCESS:
        workload = _processes(home, "as asked for")
    else:
        try:
            workload = await _docker(settings, say)
        except ReactorError as error:
            if named:
                raise
            workload = _processes(home, f"instead of Docker containers: {error}")
    try:
        yield workload
    finally:
        await workload.runtime.aclose()


def _processes(home: Path, why: str) -> Workload:
    from reactor.runtime.process import ProcessRuntime  # noqa: PLC0415 (needs an extra)

    runtime = ProcessRuntime(home / "state")
    command = (sys.executable, str(_SOURCE / "server.py"))
    return Workload(
        runtime=runtime,
        template=replace(_TEMPLATE, command=command),
        about=f"process: each session is a local process group, {why}",
        sign="ps -eo pid,lstart,args | grep server.py",
    )


async def _docker(settings: Settings, say: Callable[[str], None]) -> Workload:
    runtime = await connect_runtime(replace(settings, runtime=RuntimeName.DOCKER))
    try:
        return await _containers(settings, runtime, say)
    except BaseException:
        await runtime.aclose()
        raise


async def _containers(settings: Settings, runtime: Runtime, say: Callable[[str], None]) -> Workload:
    engine = await runtime.engine()
    image = await _image(settings, say)
    template = replace(_TEMPLATE, image=image)
    if (problem := runtime.problems(template)) is not None:
        raise ConfigError(problem)
    return Workload(
        runtime=runtime,
        template=template,
        about=f"docker: each session is a container of Docker {engine.version} on {engine.name}, image {image}",
        sign="docker ps --filter label=session-reactor.prefix",
    )


async def _image(settings: Settings, say: Callable[[str], None]) -> str:
    """Return the tag of the server's image; it is built where it is not there, and stays for the next demo."""
    from reactor.runtime.docker_build import build_image  # noqa: PLC0415 (slow import)
    from reactor.runtime.docker_client import DockerClient  # noqa: PLC0415

    files = {name: (_SOURCE / name).read_bytes() for name in _BUILT_FROM}
    tag = f"session-reactor-demo:{_digest(files)}"
    arguments = _arguments()
    if certificates := _certificates():
        files["ca.pem"] = certificates
        arguments["PIP_CERT"] = "/srv/ca.pem"

    def tell(step: str) -> None:
        if any(f": {word} " in step for word in ("FROM", "RUN")):
            say(f"image {tag} is not there yet, building it: {step[:60]}")

    client = await DockerClient.connect(
        settings.docker_host, tls_verify=settings.docker_tls_verify, cert_path=settings.docker_cert_path
    )
    try:
        await build_image(client, tag, files, arguments=arguments, say=tell)
    finally:
        await client.aclose()
    return tag


def _digest(files: dict[str, bytes]) -> str:
    parts = (hashlib.sha256(content).hexdigest() for _, content in sorted(files.items()))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]


def _certificates() -> bytes:
    """Return the certificates that this machine's pip was told to believe in; nothing: its own."""
    path = os.environ.get("PIP_CERT", "")
    return Path(path).read_bytes() if path and Path(path).is_file() else b""


def _arguments() -> dict[str, str]:
    """Return where this machine's pip looks for packages; a local directory means nothing inside a build."""
    found: dict[str, str] = {}
    for name in _PASSED_ON:
        value = " ".join(word for word in os.environ.get(name, "").split() if not word.startswith("file:"))
        if value:
            found[name] = value
    for name in _PROXIES:
        value = os.environ.get(name) or os.environ.get(name.lower())
        if value:
            found[name] = value
    return found
