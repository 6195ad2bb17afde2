"""Private Docker engines for tests that need more than one.

What this is: `bin/lib/engine` as a process. What it is not: the engine that all tests share. It keeps this: after the
block neither the engine nor its containers are left.
"""

import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.services import images
from tests.services.engine import Engine, EngineError
from tests.waiting import block_until

SCRIPT = Path(__file__).parents[2] / "bin" / "lib" / "engine"
START_S = 90.0


@contextmanager
def private_engine() -> Generator[Engine]:
    """A running engine of its own, with the idle image."""
    with tempfile.TemporaryDirectory(prefix="srhost.") as name:
        directory = Path(name) / "e"
        with (Path(name) / "out").open("wb") as out:
            process = subprocess.Popen(["bash", SCRIPT, directory], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        engine = Engine(host=f"unix://{directory}/docker.sock")
        try:
            block_until(lambda: process.poll() is not None or _answers(engine), START_S, "the engine answers")
            images.idle(engine)
            yield engine
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _answers(engine: Engine) -> bool:
    try:
        engine.run("version", "--format", "{{.Server.Version}}")
    except EngineError:
        return False
    return True
