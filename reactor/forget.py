"""`reactor forget-host`: free the sessions of a host that never returns.

What this is: the questions before (is it ours, is it there, did a person agree) and the deed. What it is not: how
records end (`registry.hosts`). The invariant: nobody forgets the host that they stand on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactor.crew import connect_runtime
from reactor.errors import ConfigError, Unavailable, UsageError
from reactor.keys import Keys
from reactor.registry import Hosts, RedisLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactor.session import HostName
    from reactor.settings import Settings


async def forget_host(
    settings: Settings, host: HostName, *, force: bool = False, agreed: Callable[[int], bool] | None = None
) -> int | None:
    """Free every session of a host and forget its name; return how many, or None where `agreed` said no.

    `agreed` is asked with the number of sessions before anything changes. Needs Redis only; repeating it after an
    interruption goes on. Raises `UsageError` for this very host, `HostNotFound`, `HostPresent` unless `force`,
    `ConfigError` where prefix and Redis belong to another deployment, `ForeignData`, `Unavailable`.
    """
    if host == await _own_name(settings):
        message = f"{host} is this very host; end its sessions with `reactor terminate`, or forget it from another host"
        raise UsageError(message)
    async with Hosts(RedisLink(settings.redis_url), Keys(settings.prefix)) as hosts:
        written = await hosts.deployment()
        if written and settings.deployment and written != settings.deployment:
            message = f"prefix {settings.prefix!r} there belongs to deployment {written!r}, not {settings.deployment!r}"
            raise ConfigError(message)
        if agreed is not None and await hosts.known(host) and not agreed(len(await hosts.sessions(host))):
            return None
        return await hosts.forget(host, force=force)


async def _own_name(settings: Settings) -> HostName | None:
    """Return this host's name; None where neither a setting nor an engine says it: such a machine owns no session."""
    if settings.host is not None:
        return settings.host
    try:
        runtime = await connect_runtime(settings)
        try:
            return (await runtime.engine()).name
        finally:
            await runtime.aclose()
    except Unavailable:
        return None
