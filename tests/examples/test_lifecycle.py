"""The integration script of the user's plan, run as a program on both runtimes.

It is not a test of the library's corners; here one session goes from acquire to removal with no reactor running.
It keeps this: the engine is asked, from outside, whether the container was there and is gone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cli.command import clean_up, containers, plain_environment
from tests.services.engine import Engine
from tests.services.redis import RedisServer
from tests.waiting import block_until

SCRIPT = Path(__file__).parents[2] / "examples" / "lifecycle.py"
LIMIT_S = 60.0
STEPS = ["acquired", "acquired again", "past deadline", "janitor", "after the run"]


@pytest.fixture
def settings(
    tmp_path: Path, redis_server: RedisServer, engine: Engine, idle_image: str, deployment: str
) -> Iterator[Mapping[str, str]]:
    """Return an environment for either runtime, and remove what the script leaves."""
    template = {"image": idle_image, "command": ["sleep", "1000"]}
    lines = ["[template.default]", *(f"{key} = {json.dumps(value)}" for key, value in template.items())]
    (tmp_path / "reactor.toml").write_text("\n".join(lines))
    yield plain_environment(
        REDIS_URL=redis_server.url,
        DOCKER_HOST=engine.host,
        REACTOR_DEPLOYMENT=deployment,
        REACTOR_STOP_GRACE="0",
        XDG_STATE_HOME=str(tmp_path / "state"),
        PYTHONUNBUFFERED="1",
    )
    clean_up(engine, deployment)


@pytest.mark.parametrize("runtime", ["docker", "process"])
def test_lifecycle_acquire_again_idle_past_the_deadline_janitor_stopped(
    runtime: str, settings: Mapping[str, str], engine: Engine, deployment: str, tmp_path: Path
) -> None:
    """Acquire (TTL 4 s), wait 2 s, acquire again: same container; past the deadline the janitor stops it."""
    state = tmp_path / "state" / "session-reactor" / "containers"

    def there() -> list[str]:
        if runtime == "docker":
            return containers(engine, deployment)
        return [path.name for path in state.iterdir()] if state.exists() else []

    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, SCRIPT, "user-1"], cwd=tmp_path, env={**settings, "REACTOR_RUNTIME": runtime}, stdout=out
        )
    try:
        block_until(lambda: "acquired again" in (tmp_path / "out").read_text(), LIMIT_S, "it was acquired again")
        during = there()
        assert process.wait(LIMIT_S) == 0, (tmp_path / "out").read_text()
    finally:
        process.kill()
        process.wait()
    shown = (tmp_path / "out").read_text()
    assert re.findall(r"^([a-z ]+):  ", shown, re.MULTILINE) == STEPS
    assert "user-1: expired, no heartbeat key: done" in shown
    assert len(during) == 1
    assert all(during[0] in line for line in shown.splitlines()[:3])
    assert there() == []


def test_lifecycle_leaves_a_neighbour_with_the_same_session_id_alone(
    settings: Mapping[str, str], engine: Engine, idle_image: str, deployment: str, tmp_path: Path
) -> None:
    """Another deployment on the same engine has a container for the same id: it survives, and is nobody's failure."""
    neighbour = f"{deployment}-neighbour"
    values = {
        "prefix": "mcp",
        "deployment": neighbour,
        "host": "elsewhere",
        "db": "another",
        "session": "user-1",
        "generation": "1763812345678901",
        "template": "default",
        "ttl": "900000",
        "token": "0123456789abcdef",
    }
    labels = [word for key, value in values.items() for word in ("--label", f"session-reactor.{key}={value}")]
    theirs = engine.run("run", "--detach", *labels, idle_image, "sleep", "1000")
    try:
        command = [sys.executable, SCRIPT, "user-1"]
        done = subprocess.run(command, cwd=tmp_path, env=dict(settings), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert engine.containers({"session-reactor.deployment": neighbour}, running=True) == [theirs]
        assert containers(engine, deployment) == []
    finally:
        engine.remove(theirs)
