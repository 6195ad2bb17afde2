"""redis-py's errors become ours.

What this is: the one place that knows both. What it is not: a decision about what follows. The invariant: every error
names the address, no password, and what to do.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis import exceptions

from reactor.errors import ForeignData, OutOfMemory, PermissionRefused, ReactorError, Unavailable
from reactor.registry.pulse import UnexpectedAnswer

if TYPE_CHECKING:
    from collections.abc import Generator

_PASSING = (
    "LOADING",
    "MASTERDOWN",
    "READONLY",
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "UNKILLABLE",
)
_LOST = ("_add_writer", "writelines")
"""What is missing where a connection was lost, or closed by another task, at this very moment: of the transport (Python
up to 3.13.5), or of redis-py's writer."""


@contextmanager
def redis_errors(where: str) -> Generator[None]:
    """Turn redis-py's errors into ours; `where` is the address for the message, without secrets."""
    try:
        yield
    except ReactorError:
        raise
    except (exceptions.AuthenticationError, exceptions.AuthenticationWrongNumberOfArgsError) as error:
        message = f"Redis at {where} refused the password: {error}; check REDIS_URL"
        raise PermissionRefused(message) from error
    except exceptions.ResponseError as error:
        raise translated(error, where) from error
    except (exceptions.RedisError, OSError, EOFError) as error:
        message = f"cannot reach Redis at {where}: {one_line(error)}; is it running, is REDIS_URL right?"
        raise Unavailable(message) from error
    except AttributeError as error:
        if error.name not in _LOST:
            raise
        message = f"cannot reach Redis at {where}: the connection was lost"
        raise Unavailable(message) from error


def translated(error: exceptions.ResponseError, where: str) -> ReactorError:
    """Return what Redis answered as one of our errors."""
    # In a pipeline redis-py puts the command in front of what the server said, and says it as a tuple of one.
    text = one_line(error).rpartition("of pipeline caused error: ")[2].removeprefix("('").removesuffix("',)")
    if isinstance(error, (exceptions.ReadOnlyError, exceptions.ClusterDownError)) or text.startswith(_PASSING):
        return Unavailable(f"Redis at {where} cannot work now: {text}")
    if text.startswith("WRONGTYPE"):
        return ForeignData(
            f"a key of ours in Redis at {where} has another type; it is left alone, look at it and DEL it"
        )
    if text.startswith("SCHEMA"):
        return ForeignData(
            f"{text.removeprefix('SCHEMA ').split(' script:')[0]}; it is left alone (newer version running?)"
        )
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM" in text:
        return OutOfMemory(f"Redis at {where} is out of memory (maxmemory); nothing was started")
    if isinstance(error, exceptions.NoPermissionError) or "NOPERM" in text or "ACL failure" in text:
        return PermissionRefused(f"Redis at {where} lacks a permission: {text}; see users.acl")
    return UnexpectedAnswer(f"Redis at {where} refused: {text}")


def one_line(error: BaseException) -> str:
    """Return an error's text in one line, or its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
