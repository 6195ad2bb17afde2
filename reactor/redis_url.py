"""The address of Redis: read, checked, and shown without its password.

What this is: pure text. What it is not: a connection; nothing is looked up or opened. The invariant: no message made
here, and nothing returned by `masked`, contains a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from reactor.errors import ConfigError

_SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
_QUERY = frozenset(
    ("db", "username", "password", "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile")
)
_DATABASE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """What a `REDIS_URL` says. `path` is that of a Unix socket, else None."""

    tls: bool
    host: str
    port: int
    path: str | None
    database: int
    username: str
    has_password: bool


def normalised_redis_url(text: str) -> str:
    """Return a URL that redis-py reads: `valkey://` and `valkeys://` become `redis://` and `rediss://`.

    Raises `ConfigError` for a scheme, host, port, database or option that it would misread.
    """
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in _SCHEMES:
        message = "a Redis URL begins with redis://, rediss://, unix://, valkey:// or valkeys://"
        raise ConfigError(message)
    url = f"{_SCHEMES[scheme.lower()]}://{rest}"
    parse_redis_url(url)
    return url


def parse_redis_url(url: str) -> RedisAddress:
    """Return the parts of a normalised URL. Raises `ConfigError`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        message = "the Redis URL has a bad host or port (a password in it must be percent-encoded)"
        raise ConfigError(message) from None
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in query.keys() - _QUERY:
        message = f"the Redis URL has an unknown option {name[:40]!a}; known: {', '.join(sorted(_QUERY))}"
        raise ConfigError(message)
    if parts.fragment or any(not char.isprintable() or char.isspace() for char in url):
        message = "the Redis URL contains '#', a space or a control character (percent-encode it)"
        raise ConfigError(message)
    is_socket = parts.scheme == "unix"
    path = unquote(parts.path) if is_socket else None
    if is_socket and (parts.hostname or not path or path == "/"):
        message = "a unix:// Redis URL names a socket: unix:///run/redis/redis.sock"
        raise ConfigError(message)
    return RedisAddress(
        tls=parts.scheme == "rediss",
        host=parts.hostname or "localhost",
        port=6379 if port is None else port,
        path=path,
        database=_database(query.get("db"), "" if is_socket else parts.path),
        username=unquote(parts.username or "") or query.get("username", ""),
        has_password=bool(parts.password or query.get("password")),
    )


def _database(option: str | None, path: str) -> int:
    text = option if option is not None else path.removeprefix("/") or "0"
    if _DATABASE.fullmatch(text) is None:
        message = "the database in the Redis URL is not a number: redis://HOST:PORT/NUMBER"
        raise ConfigError(message)
    return int(text)


def masked(url: str) -> str:
    """Return `url` fit for a screen or log: `redis://user:***@host:6379/0`. Works on malformed text too."""
    scheme, found, rest = url.partition("://")
    if not found:
        return "***"
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    shown = f"{user}:***@" if colon else ("***@" if at else "")
    place = re.sub(r"(?i)(\bpassword=)[^&]*", r"\1***", place)
    return f"{scheme}://{shown}{place}"
