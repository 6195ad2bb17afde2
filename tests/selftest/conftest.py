"""Fixtures of the selftest's tests: a user, and a look at what is on the engine."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.selftest.user import REPOSITORY, User
from tests.services.engine import Engine


@pytest.fixture
def selftester(tmp_path: Path) -> Iterator[User]:
    """A user; what they started has ended at the end of the test."""
    with tempfile.TemporaryDirectory(prefix="selftest.") as scratch:
        user = User(tmp_path, Path(scratch))
        yield user
        for running in user.started:
            running.process.kill()
            running.process.wait()
        for process in user.processes():
            process.kill()


@pytest.fixture
def watched_engine(selftester: User, engine: Engine) -> Iterator[Engine]:
    """An engine on which this test's selftests leave neither a container nor an image. Others may run there too."""
    yield engine
    left = [name for running in selftester.started for name in left_on(engine, running.prefix)]
    for name in left:
        engine.run(*(["image", "rm"] if name.startswith(REPOSITORY) else ["rm", "--force"]), name)
    assert left == []


def left_on(engine: Engine, prefix: str) -> list[str]:
    """Return what a selftest has on an engine, by name."""
    names = engine.run("ps", "--all", "--format", "{{.Names}}", "--filter", f"name=^/{prefix}-").split()
    image = f"{REPOSITORY}:{prefix.removeprefix('selftest_')}"
    return [*names, *engine.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", image).split()]
