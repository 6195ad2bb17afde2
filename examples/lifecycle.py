"""One session from acquire to removal, without a reactor: the janitor, run once, finds what nobody noticed.

    python examples/lifecycle.py [SESSION-ID]

Needs Redis (REDIS_URL) and a template called `default` (reactor.toml), as every program here. The janitor compares the
whole host with Redis, so it repairs whatever else it finds under the same prefix.
"""

import sys
from datetime import timedelta

import anyio

from reactor import Janitor, ReactorError, Session, SessionManager, SessionNotFound, Settings

TTL = timedelta(seconds=4)
PAUSE = 2.0


async def main(session_id: str) -> int:
    """Go through the life of one session; return the exit code, 0 if all was as it should be."""
    settings = Settings.load()
    async with SessionManager.from_settings(settings) as sessions:
        first = await sessions.acquire(session_id, ttl=TTL)
        print(f"acquired:        {shown(first)}, made: {first.created}")
        await anyio.sleep(PAUSE)
        again = await sessions.acquire(session_id, ttl=TTL)
        print(f"acquired again:  {shown(again)}, made: {again.created}")
        await anyio.sleep(TTL.total_seconds() + 0.1)  # nobody touches the key, and no reactor runs
        left = await sessions.get(session_id)
        print(f"past deadline:   {shown(left)}, heartbeat left: {left.expires_in}; nobody has noticed")
        removed = await sweep(settings, session_id)
        over = await is_over(sessions, session_id)
    print(f"after the run:   session over: {over}")
    same = first.container_id == again.container_id == left.container_id
    return 0 if first.created and not again.created and same and left.expires_in is None and removed and over else 1


async def sweep(settings: Settings, session_id: str) -> bool:
    """Run the janitor once; return whether it removed the session, and found nothing more to do for it."""
    removed = False
    async with Janitor.from_settings(settings) as janitor:
        async for line, outcome in janitor.run():
            if not line.is_drift:  # somebody else's, or not certain yet: nothing was done about it
                continue
            print(f"janitor:         {line.action} {line.session_id}: {line.kind}, {line.reason}: {outcome}")
            removed |= line.session_id == session_id and outcome == "done"
        return removed and not any(line.is_drift and line.session_id == session_id for line in await janitor.plan())


async def is_over(sessions: SessionManager, session_id: str) -> bool:
    """Return whether the session is there no more."""
    try:
        await sessions.get(session_id)
    except SessionNotFound:
        return True
    return False


def shown(session: Session) -> str:
    """Return a session's state and container, for a person."""
    return f"{session.session_id} is {session.state} in {session.container_id}"


if __name__ == "__main__":
    try:
        sys.exit(anyio.run(main, sys.argv[1] if sys.argv[1:] else "lifecycle-example"))
    except ReactorError as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)
