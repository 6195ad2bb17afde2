"""A bench, and one run of it.

What this is: what a bench is given, and what it says of itself. What it is not: the command line. The invariant: the
engine is started by the first bench that asks for it, and ends with the program.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench.engine_api import EngineApi, remove_many
from bench.machine import DOCKER
from bench.servers import PrivateEngine, private_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.sheet import Sheet

T = TypeVar("T")


@dataclass(kw_only=True)
class Run:
    """What a measurement is given. `quick` asks for a small one that tries everything and proves nothing."""

    quick: bool
    say: Callable[[str], None]
    stack: ExitStack
    _engine: list[PrivateEngine] = field(default_factory=list[PrivateEngine])

    @property
    def docker(self) -> bool:
        """Whether a Docker engine of our own can be started here."""
        return os.geteuid() == 0 and all(shutil.which(program) for program in DOCKER)

    def clear(self) -> None:
        """Remove every container of our own engine, so that what was measured does not slow the next one down."""
        for engine in self._engine:
            with EngineApi(engine.socket) as api:
                listed = api.send("GET", "/containers/json?all=1")[1]
            remove_many(engine.socket, [one["Id"] for one in listed], 4)

    def sized(self, full: T, quick: T) -> T:
        """Return the size of this run."""
        return quick if self.quick else full

    def engine(self) -> PrivateEngine:
        """Return a Docker engine of our own."""
        if not self._engine:
            self.say("starting a private Docker engine")
            directory = Path(tempfile.mkdtemp(prefix="srb."))  # short: a socket's path has a limit
            self.stack.callback(shutil.rmtree, directory, ignore_errors=True)
            self._engine.append(self.stack.enter_context(private_engine(directory / "e")))
        return self._engine[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One bench: what it is about, which programs it needs, and how it measures once."""

    name: str
    about: str
    measure: Callable[[Run], Sheet]
    programs: tuple[str, ...] = ("redis-server", "setpriv")
    docker: bool = False
    runs: int = 3
    """How many runs are enough for a median, unless the caller says otherwise."""
