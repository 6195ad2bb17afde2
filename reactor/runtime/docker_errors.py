"""Foreign errors of the engine's wire, turned into ours.

What this is: one context manager around every use of docker, requests and urllib3. What it is not: the meaning of a
complete answer (a 404 or 409 is no error here). The invariant: what comes out is one line for a person, with the fix,
and says nothing more than what is known: a timeout is "unknown", never "failed".
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests
import urllib3
from docker.errors import DockerException

from reactor.errors import PermissionRefused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def translated(where: str) -> Generator[None]:
    """Raise `PermissionRefused` or `Unavailable` for whatever the packages on the way raise; `where` is the engine."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, DockerException, OSError, ValueError) as error:
        raise _ours(error, where) from error


@contextmanager
def understood(where: str) -> Generator[None]:
    """Raise `Unavailable` where an answer is not built as the engine builds it: something else answered."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(f"what answers at {where} does not answer as a Docker engine does: {error!r}") from error


def one_line(text: str) -> str:
    """Return a text of others as one line of at most 300 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."  # noqa: PLR2004 (a line for a person)


def _ours(error: BaseException, where: str) -> Unavailable:
    causes = list(_causes(error))
    fix = "is the engine running, and is DOCKER_HOST right?"
    if any(isinstance(cause, PermissionError) for cause in causes):
        fix = "run as root or as a member of the group that owns the socket (usually docker)"
        return PermissionRefused(f"Docker at {where} may not be opened by this user: {fix}")
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        return Unavailable(f"no Docker engine at {where}, there is no such socket: {fix}")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Unavailable(f"no Docker engine at {where}, the connection was refused: {fix}")
    if any(isinstance(cause, requests.Timeout | urllib3.exceptions.TimeoutError) for cause in causes):
        return Unavailable(f"Docker at {where} did not answer in time; whether it did what was asked is unknown")
    return Unavailable(f"Docker at {where} did not answer properly ({fix}): {one_line(str(error))}")


def _causes(error: BaseException) -> Generator[BaseException]:
    """Yield the error and all that it wraps: requests and urllib3 put the cause into their arguments."""
    todo, seen = [error], set[int]()
    while todo:
        current = todo.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        wrapped = [*current.args, current.__cause__, current.__context__, getattr(current, "reason", None)]
        todo.extend(item for item in wrapped if isinstance(item, BaseException))
