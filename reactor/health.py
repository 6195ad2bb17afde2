"""`/livez` and `/readyz` of the sidecar.

What this is: two answers for an orchestrator. What it is not: a judgement about sessions. The invariant: `/livez`
depends on nothing but this process, so that an outage of Redis or the engine never restarts it.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from reactor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from starlette.requests import Request


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handling: signals are the supervisor's."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def listen_on(address: tuple[str, int]) -> socket.socket:
    """Return a listening socket; raises `ConfigError` where the address cannot be had."""
    host, port = address
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        message = f"cannot listen on {host}:{port} ({error.strerror}); set REACTOR_LISTEN to another address, or empty"
        raise ConfigError(message) from error


async def serve_health(listening: socket.socket, readiness: Callable[[], dict[str, object]]) -> None:
    """Serve until cancelled, then close the socket.

    `readiness` is asked for each request; its entry `ready` decides between 200 and 503.
    """

    async def livez(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> JSONResponse:
        checks = readiness()
        return JSONResponse(checks, status_code=200 if checks["ready"] else 503)

    app = Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz)])
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    with listening:
        await _Server(config).serve(sockets=[listening])
