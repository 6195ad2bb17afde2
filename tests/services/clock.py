"""A server whose clock a test can set, against this machine's: forward, back, or still.

It is a real server; only its wall clock is not (Debian's `faketime` is loaded in front of the C library).
It keeps this: the clock goes right until it is set, and is set for that server alone.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import redis

from tests.services.redis import Flavour, RedisServer
from tests.waiting import block_until

SETTLED_S = 0.01


def library() -> Path:
    """Return the library's path; raise LookupError with the fix when it is not installed."""
    for found in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"):
        return found
    message = "libfaketime is not installed (on Debian: apt-get install faketime)"
    raise LookupError(message)


@dataclass(frozen=True, slots=True)
class SetClock:
    """A running server and the file that sets its clock."""

    server: RedisServer
    file: Path

    def shift(self, seconds: float) -> None:
        """Let it be this far from this machine's clock, and go on from there; returns once Redis says so."""
        self.file.write_text(f"{seconds:+}\n")
        block_until(lambda: abs(self._off() - seconds) < 1, 30, "the clock is set")

    def freeze(self) -> None:
        """Let it stand still where it is."""
        at = self._now().replace(microsecond=0)
        self.file.write_text(at.strftime("%Y-%m-%d %H:%M:%S\n"))
        block_until(lambda: (self._now() - at).total_seconds() < SETTLED_S, 30, "the clock stands still")

    def _now(self) -> datetime:
        with redis.Redis.from_url(self.server.url) as client:
            seconds, micros = client.time()
        return datetime.fromtimestamp(seconds + micros / 1e6, UTC)

    def _off(self) -> float:
        return (self._now() - datetime.now(UTC)).total_seconds()


@contextmanager
def redis_with_a_clock(options: Mapping[str, str] | None = None) -> Generator[SetClock]:
    """A running server for the time of the block, with a clock that is right so far."""
    # Debian's Redis has an allocator that asks for the time before the library is ready; the wheel's server has not.
    server = RedisServer(flavour=Flavour.VALKEY, options=options or {})
    file = server.directory / "clock"
    file.write_text("+0\n")
    server.environment = {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "TZ": "UTC",
    }
    try:
        yield SetClock(server.start(), file)
    finally:
        server.remove()
