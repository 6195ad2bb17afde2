"""Fixtures of the tests of what is shipped for deployment.

What this is: one server of each kind with the shipped files. What it is not: the tests' claims. The invariant: a
server ends with the test that asked for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.deploy.servers import Server, binaries, copy_files, give_passwords

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=list(binaries()), ids=lambda path: Path(path).name)
def binary(request: pytest.FixtureRequest) -> str:
    """Return the path of each server in turn."""
    return str(request.param)


@pytest.fixture
def server(binary: str, tmp_path: Path) -> Iterator[Server]:
    """Yield a server that runs on the shipped files, with the passwords of the tests."""
    copy_files(tmp_path)
    acl = give_passwords(tmp_path)
    running = Server(binary=binary, directory=tmp_path, arguments=("--aclfile", acl.name))
    running.start()
    try:
        yield running
    finally:
        running.kill()
