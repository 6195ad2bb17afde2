"""What the tests of the simulation share: quiet logs."""

import logging
from collections.abc import Generator

import pytest


@pytest.fixture(autouse=True)
def quiet() -> Generator[None]:
    """A simulated day logs as much as a real one."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)
