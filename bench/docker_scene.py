"""Surroundings with a real engine: sessions of the product, and containers of the same shape that are nobody's.

What this is: what the Docker benches share. What it is not: a measurement. The invariant: a raw container differs from
a session's in its labels alone, so that the reactor leaves it be and the engine has the same work with it.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from bench.child import ChildFailed
from bench.engine_api import EngineApi
from bench.scene import scene
from reactor.keys import Keys
from reactor.runtime.docker_profile import create_body
from reactor.runtime.protocol import ContainerSpec, Labels
from reactor.session import DatabaseId, Deployment, Generation, HostName, SessionId, Token

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.run import Run
    from bench.scene import Scene
    from bench.servers import PrivateEngine

RAW_PREFIX = "raw"
NEAR_MS = 150.0
"""How far ahead a deadline is set when a session is given up: time enough for the reactor to learn of it."""


def docker_scene(run: Run, engine: PrivateEngine, *, pool: int = 0) -> AbstractContextManager[Scene]:
    """Open a scene on a real engine; its template keeps `pool` containers ready."""
    return scene(run.say, noop=False, docker_host=engine.host, image=engine.image, pool=pool)


def raw_body(place: Scene) -> dict[str, Any]:
    """Return the body of a create request for a container of the same shape as a session's."""
    labels = Labels(
        prefix=RAW_PREFIX,
        deployment=Deployment(RAW_PREFIX),
        host=HostName(RAW_PREFIX),
        db=DatabaseId("0" * 16),
        session=SessionId("5e551011-be4c-4eee-8000-000000000000"),
        generation=Generation(1_700_000_000_000_000),
        template="default",
        ttl=timedelta(hours=1),
        token=Token("0" * 16),
    )
    template = place.settings.template()
    spec = ContainerSpec(
        name="", labels=labels, template=template, environment={"SESSION_ID": "5e551011-be4c-4eee-8000-000000000000"}
    )
    return create_body(spec)


def raw_names(count: int) -> list[str]:
    """Return names for raw containers that no other run has."""
    mark = secrets.token_hex(4)
    return [f"{RAW_PREFIX}-{mark}-{n}" for n in range(count)]


def end_at(place: Scene, session_id: str, deadline_ms: float) -> None:
    """Move a session's deadline, as its client's last touch would have set it.

    A client that shortens its TTL is seen at the next look; the score is brought forward so that this look is now.
    """
    keys = Keys("mcp")
    pipe = place.client.pipeline(transaction=True)
    pipe.pexpireat(keys.heartbeat(SessionId(session_id)), int(deadline_ms))
    pipe.zadd(keys.due(HostName(place.env["REACTOR_HOST"])), {session_id: 0})
    pipe.execute()


class Gone:
    """When each container was gone, by the engine's own events (wall clock, ms)."""

    def __init__(self, engine: PrivateEngine) -> None:
        """Begin to listen, in a thread."""
        self._engine = engine
        self._times: dict[str, float] = {}
        self._since = time.time() - 1
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        filters = json.dumps({"type": ["container"], "event": ["destroy"]})
        try:
            with EngineApi(self._engine.socket) as api:
                for line in api.lines(f"/events?since={self._since:.3f}&filters={filters}".replace(" ", "")):
                    self._times[line["Actor"]["ID"]] = line["timeNano"] / 1e6
        except (OSError, ValueError):
            return  # the engine ended, and the bench with it

    def wait(self, container: str, limit: float = 60.0) -> float:
        """Return when a container was gone; raises `ChildFailed` where it is not within `limit` seconds."""
        ends = time.monotonic() + limit
        while container not in self._times:
            if time.monotonic() > ends:
                raise ChildFailed(f"container {container[:12]} was not removed within {limit:.0f} s")
            time.sleep(0.002)
        return self._times[container]


def state_of(place: Scene, session_id: str) -> dict[str, str]:
    """Return the record of a session."""
    return cast("dict[str, str]", place.client.hgetall(Keys("mcp").record(SessionId(session_id))))
