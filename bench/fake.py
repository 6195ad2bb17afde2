"""A scene on an engine that only answers, with as many containers as there are sessions.

What this is: its start and end, and the order in which session and container come to be. What it is not: the engine
(`bench.loads.fake_engine`). The invariant: it is the same engine each time, whatever it has.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.noop import HOST
from bench.scene import scene

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from bench.child import Child
    from bench.population import Group
    from bench.run import Run
    from bench.scene import Scene


@contextmanager
def fake_scene(run: Run) -> Generator[Scene]:
    """Open a scene whose engine is to be started with `serve`."""
    with tempfile.TemporaryDirectory(prefix="srf.") as folder:
        socket = Path(folder) / "docker.sock"
        with scene(run.say, noop=False, docker_host=f"unix://{socket}") as place:
            yield place


def socket_of(place: Scene) -> Path:
    """Return where the engine listens."""
    return Path(place.env["DOCKER_HOST"].removeprefix("unix://"))


@contextmanager
def serve(place: Scene, groups: Sequence[Group]) -> Generator[Child]:
    """Run the engine with the containers of these groups, for the block."""
    socket = socket_of(place)
    socket.unlink(missing_ok=True)
    shown = [group.as_dict() for group in groups]
    with place.child("bench.loads.fake_engine", socket=str(socket), groups=shown, host=HOST) as engine:
        engine.hear()
        yield engine
