"""The wait between start and hand-out: is this container of use yet?

What this is: a look every 10 to 250 ms at one container, as its template's `ready` says. What it is not: watching a
session later on. The invariant: it says ready only after a look at a running container, and what ends meanwhile is told
at once, with the reason, instead of waiting for the deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never
from urllib.parse import quote

import anyio
from anyio.abc import SocketAttribute

from reactor.errors import AcquireTimeout, SpawnFailed
from reactor.runtime.protocol import ContainerGone, ContainerState, Health
from reactor.templates import Ready, ReadyKind

if TYPE_CHECKING:
    from collections.abc import Generator

    from anyio.abc import SocketStream

    from reactor.runtime.protocol import Container, Route, Runtime
    from reactor.session import ContainerId

ATTEMPT_LIMIT: Final = 2.0
"""Seconds for one try to connect, and for the first line of an HTTP answer."""
RELAY_HOLD: Final = 0.25
"""Seconds that a relayed connection must stay open: the relay accepts before it knows whether somebody listens."""
_LINE_LIMIT: Final = 4096
_GOOD: Final = range(200, 400)


async def wait_ready(runtime: Runtime, container_id: ContainerId, ready: Ready, *, deadline: float) -> Container:
    """Return the started container once it is ready; `deadline` is a moment of `anyio.current_time()`.

    Raises `SpawnFailed` when it ended (with exit code and last output) or can never become ready, `ContainerGone` when
    somebody removed it, `AcquireTimeout` at the deadline, and what `inspect` raises. Safe to cancel and to repeat.
    """
    with anyio.CancelScope(deadline=deadline):
        for pause in _pauses():
            container = await _running(runtime, container_id)
            if container is not None and await _is_ready(runtime, container, ready):
                return container
            await anyio.sleep(pause)
    raise AcquireTimeout(f"the container was not ready in time: {_shown(ready)} did not come true; it was given up")


async def _running(runtime: Runtime, container_id: ContainerId) -> Container | None:
    container = await runtime.inspect(container_id)
    if container is None:
        raise ContainerGone
    if container.state is ContainerState.DEAD:
        output = await runtime.last_output(container_id)
        said = f'; its last words: "{output}"' if output else ""
        raise SpawnFailed(f"the container ended before it was ready ({container.detail or 'no reason known'}){said}")
    return container if container.running else None


async def _is_ready(runtime: Runtime, container: Container, ready: Ready) -> bool:
    match ready.kind:
        case ReadyKind.STARTED:
            return True
        case ReadyKind.HEALTHY:
            if container.health is Health.NONE:
                raise SpawnFailed('ready = "healthy", but the image has no health check: add one, or use tcp:PORT')
            return container.health is Health.HEALTHY
        case ReadyKind.TCP | ReadyKind.HTTP:
            for route in runtime.routes(container, ready.port or 0):
                with anyio.move_on_after(ATTEMPT_LIMIT):
                    if await _answers(route, ready):
                        return True
            return False
    assert_never(ready.kind)


async def _answers(route: Route, ready: Ready) -> bool:
    end = route.endpoint
    try:
        async with await anyio.connect_tcp(end.host, end.port) as stream:
            ends = stream.extra_attributes
            if ends[SocketAttribute.local_address]() == ends[SocketAttribute.remote_address]():
                return False  # nobody listens: the system gave the port to our own end, and we met ourselves
            if ready.kind is ReadyKind.HTTP:
                return await _http_status(stream, f"{end.host}:{end.port}", ready.path) in _GOOD
            return not route.relayed or await _stays_open(stream)
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
        return False


async def _stays_open(stream: SocketStream) -> bool:
    with anyio.move_on_after(RELAY_HOLD):
        await stream.receive(1)  # a greeting is as good as silence; the end of the stream is not
    return True


async def _http_status(stream: SocketStream, host: str, path: str) -> int:
    """Ask with one small request and return the status, 0 for what is no HTTP."""
    target = quote(path, safe="/%?&=+:;,@!$'()*~")
    request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: session-reactor\r\nConnection: close\r\n\r\n"
    await stream.send(request.encode("ascii"))
    line = b""
    while b"\n" not in line and len(line) < _LINE_LIMIT:
        line += await stream.receive()
    words = line.split(b"\n", 1)[0].split()
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else 0


def _shown(ready: Ready) -> str:
    match ready.kind:
        case ReadyKind.STARTED | ReadyKind.HEALTHY:
            return ready.kind.value
        case ReadyKind.TCP:
            return f"tcp:{ready.port}"
        case ReadyKind.HTTP:
            return f"http:{ready.port}{ready.path}"
    assert_never(ready.kind)


def _pauses() -> Generator[float]:
    pause = 0.01
    while True:
        yield pause
        pause = min(pause * 2, 0.25)
