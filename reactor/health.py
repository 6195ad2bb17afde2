"""`/livez` and `/readyz` of the sidecar.

What this is: two answers for an orchestrator. What it is not: a judgement about sessions. The invariant: `/livez`
depends on nothing but this process, so that an outage of Redis or the engine never restarts it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
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


async def serve_health(listen: tuple[str, int], readiness: Callable[[], dict[str, object]]) -> None:
    """Serve until cancelled; raises `ConfigError` when the address cannot be had.

    `readiness` is asked for each request; its entry `ready` decides between 200 and 503.
    """

    async def livez(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> JSONResponse:
        checks = readiness()
        return JSONResponse(checks, status_code=200 if checks["ready"] else 503)

    host, port = listen
    app = Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz)])
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = _Server(config)
    try:
        await server.serve()
    except SystemExit as error:
        message = f"cannot listen on {host}:{port} (in use?); set REACTOR_LISTEN to another address, or empty for none"
        raise ConfigError(message) from error
    except anyio.get_cancelled_exc_class():
        server.should_exit = True
        raise
