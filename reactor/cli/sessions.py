"""`reactor acquire | heartbeat | get | ls | terminate`.

What this is: the manager's verbs, one command each. What it is not: the verbs. The invariant: an id is checked before
anything is connected, and only `acquire` and `terminate` speak to the engine.
"""

# ruff: noqa: PLC0415 -- `reactor --help` must not wait for imports

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from reactor.cli.options import SettingsCommand, json_flag, load_settings, run_async
from reactor.cli.output import note, roughly, say, short_id, show_fields, show_json, show_table

if TYPE_CHECKING:
    from datetime import timedelta

    from reactor.redis_url import RedisAddress
    from reactor.session import Address, Session

_TITLES: Final = ("SESSION", "STATE", "CONTAINER", "TEMPLATE", "AGE", "LEFT", "HOST")
_COLOURS: Final = {"running": "green", "starting": "yellow", "ending": "yellow", "ended": "dim"}
_OVER: Final = 1


@click.command(cls=SettingsCommand)
@click.argument("id", metavar="[ID]", required=False)
@click.option("--template", metavar="NAME", help="Which [template.NAME] of reactor.toml; default: default.")
@click.option("--ttl", metavar="TIME", help="Idle limit of a new session; default: the template's.")
@json_flag
def acquire(*, id: str | None, template: str | None, ttl: str | None, as_json: bool) -> None:  # noqa: A002
    """The session's container: the one it has, or a new one.

    Without ID a random one is made. Concurrent callers get the same container.
    """
    from reactor.session import new_session_id, parse_session_id
    from reactor.templates import parse_duration

    session_id = new_session_id() if id is None else parse_session_id(id)
    asked = None if ttl is None else parse_duration(ttl)
    settings = load_settings()

    async def call() -> Session:
        from reactor.manager import SessionManager

        async with SessionManager.from_settings(settings) as sessions:
            return await sessions.acquire(session_id, template=template, ttl=asked)

    session = run_async(call)
    if session.warning:
        note(f"warning: {session.warning}")
    if as_json:
        show_json(session.as_dict())
    else:
        show_fields([*_fields(session), ("keep it", _expire(settings.redis_address, session))])


@click.command(cls=SettingsCommand)
@click.argument("id")
@json_flag
def heartbeat(*, id: str, as_json: bool) -> int:  # noqa: A002
    """Keep a session for another TTL; exit 1 if it is over."""
    from reactor.session import parse_session_id

    session_id = parse_session_id(id)
    settings = load_settings(quiet=True)

    async def call() -> bool:
        from reactor.manager import SessionManager

        async with SessionManager.from_settings(settings, engine=False) as sessions:
            return await sessions.heartbeat(session_id)

    alive = run_async(call)
    if as_json:
        show_json({"session_id": session_id, "alive": alive})
    elif alive:
        say(f"{session_id} is alive")
    if not alive:
        note(f"session {session_id} is over or was never there; get it again with: reactor acquire {session_id}")
    return 0 if alive else _OVER


@click.command(cls=SettingsCommand)
@click.argument("id")
@json_flag
def get(*, id: str, as_json: bool) -> None:  # noqa: A002
    """One session as it is; refreshes nothing."""
    from reactor.session import parse_session_id

    session_id = parse_session_id(id)
    settings = load_settings(quiet=True)

    async def call() -> Session:
        from reactor.manager import SessionManager

        async with SessionManager.from_settings(settings, engine=False) as sessions:
            return await sessions.get(session_id)

    session = run_async(call)
    if as_json:
        show_json(session.as_dict())
    else:
        show_fields(_fields(session))


@click.command(cls=SettingsCommand)
@json_flag
def ls(*, as_json: bool) -> None:
    """All sessions; refreshes nothing."""
    settings = load_settings(quiet=True)

    found: list[Session] = []

    async def call() -> None:
        from reactor.manager import SessionManager

        async with SessionManager.from_settings(settings, engine=False) as sessions:
            async for session in sessions.sessions():
                if as_json:
                    show_json(session.as_dict())
                else:
                    found.append(session)

    run_async(call)
    if found:
        show_table(_TITLES, [_row(session) for session in sorted(found, key=_order)], _COLOURS)
    elif not as_json:
        note("no sessions")


@click.command(cls=SettingsCommand)
@click.argument("id")
@json_flag
def terminate(*, id: str, as_json: bool) -> None:  # noqa: A002
    """End a session now; returns when its container is gone."""
    from reactor.session import parse_session_id

    session_id = parse_session_id(id)
    settings = load_settings()

    async def call() -> None:
        from reactor.manager import SessionManager

        async with SessionManager.from_settings(settings) as sessions:
            await sessions.terminate(session_id)

    run_async(call)
    if as_json:
        show_json({"session_id": session_id, "terminated": True})
    else:
        say(f"{session_id} is over, its container is gone")


def _order(session: Session) -> tuple[str, str]:
    return session.started_at.isoformat(), session.session_id


def _row(session: Session) -> tuple[str, ...]:
    return (
        session.session_id,
        session.state.value,
        short_id(session.container_id),
        session.template,
        roughly(_age(session)),
        roughly(session.expires_in),
        session.host,
    )


def _age(session: Session) -> timedelta:
    from datetime import UTC, datetime

    return datetime.now(UTC) - session.started_at


def _fields(session: Session) -> list[tuple[str, str]]:
    news = {True: " (new)", False: " (the one it had)", None: ""}[session.created]
    return [
        ("session", session.session_id),
        ("state", session.state.value),
        ("container", f"{short_id(session.container_id)}{news}"),
        ("host", session.host),
        ("template", session.template),
        ("address", "-" if session.address is None else _address(session.address)),
        ("age", roughly(_age(session))),
        ("time left", roughly(session.expires_in)),
        ("heartbeat", session.heartbeat_key),
    ]


def _address(address: Address) -> str:
    ports = [f"{port} at {end.host}:{end.port}" for port, end in address.ports.items()]
    return ", ".join(([] if address.ip is None else [address.ip]) + ports) or "-"


def _expire(redis: RedisAddress, session: Session) -> str:
    """Return the heartbeat as a command line to copy; a password is left to `REDISCLI_AUTH` or the prompt."""
    import shlex

    words = ["redis-cli"]
    if redis.path is not None:
        words += ["-s", redis.path]
    else:
        words += [] if redis.host == "localhost" else ["-h", redis.host]
        words += [] if redis.port == 6379 else ["-p", str(redis.port)]  # noqa: PLR2004 (Redis' own default)
    words += ["--tls"] if redis.tls else []
    words += ["-n", str(redis.database)] if redis.database else []
    words += ["--user", redis.username] if redis.username else []
    words += ["--askpass"] if redis.has_password else []
    return shlex.join([*words, "EXPIRE", session.heartbeat_key, str(int(session.ttl.total_seconds()))])
