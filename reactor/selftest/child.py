"""The reactor that the selftest kills: `reactor run` on a leash, with a journal and a name in Redis.

What this is: the process. What it is not: another sidecar; what runs is the supervisor's own loop. The invariant: when
the selftest is gone, however it ended, this process drains and ends: its standard input is the leash.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import anyio

from reactor.crew import connect_runtime
from reactor.errors import ReactorError
from reactor.selftest.journal import Journaled
from reactor.selftest.sidecar import JOURNAL, NAME, named
from reactor.settings import Settings
from reactor.supervisor import run_until_signalled
from reactor.throwaway import leaves


def main() -> int:
    """Run until the leash is let go of or a signal comes, and return the exit code."""
    threading.Thread(target=_hold_leash, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("reactor").setLevel(logging.INFO)
    try:
        settings = Settings.load()
        return anyio.run(_run, replace(settings, redis_url=named(settings.redis_url, os.environ[NAME])))
    except* ReactorError as group:
        error = leaves(group)[0]
        print(error, file=sys.stderr, flush=True)
        code = error.exit_code if isinstance(error, ReactorError) else ReactorError.exit_code
    return code


async def _run(settings: Settings) -> int:
    runtime = Journaled(await connect_runtime(settings), Path(os.environ[JOURNAL]))
    try:
        return await run_until_signalled(settings, runtime=runtime)
    finally:
        await runtime.aclose()


def _hold_leash() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
