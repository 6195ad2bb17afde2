"""The named retry policies, built on tenacity: the only retry layer of the program.

What this is: jitter, cap and end of every repetition, in one place. What it is not: a decision about what may be
repeated; callers only repeat what is idempotent by token or by ID. The invariant: only `Unavailable` is repeated, and
never a refused password or permission, or a full Redis, which no quick repetition mends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_never,
    wait_random_exponential,
)

from reactor.errors import OutOfMemory, PermissionRefused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

T = TypeVar("T")


def is_passing(error: BaseException) -> bool:
    """Whether a repetition can help: the other side did not answer, was loading, failing over or restarting."""
    return isinstance(error, Unavailable) and not isinstance(error, (PermissionRefused, OutOfMemory))


async def persisted(call: Callable[[], Awaitable[T]], policy: Callable[[], AsyncRetrying]) -> T:
    """Call once, and again by a policy after a failure; the policy is not made before, it costs a round trip's time."""
    try:
        return await call()
    except Unavailable as error:
        failed = [error]
    async for attempt in policy():
        with attempt:
            if failed:
                raise failed.pop()
            return await call()
    message = "unreachable: the policy re-raises"
    raise AssertionError(message)


def redis_policy() -> AsyncRetrying:
    """One verb against Redis: about three seconds, which spans a restart; then the caller hears of it."""
    return AsyncRetrying(
        retry=retry_if_exception(is_passing),
        wait=wait_random_exponential(multiplier=0.05, max=0.5),
        stop=stop_after_delay(3),
        sleep=anyio.sleep,
        reraise=True,
    )


def engine_policy(limit: timedelta) -> AsyncRetrying:
    """One verb against the engine whose outcome was unknown: repeated until it is known, for at most `limit`."""
    return AsyncRetrying(
        retry=retry_if_exception(is_passing),
        wait=wait_random_exponential(multiplier=0.1, max=2),
        stop=stop_after_delay(limit.total_seconds()),
        sleep=anyio.sleep,
        reraise=True,
    )


def removal_policy(refusal: type[Unavailable]) -> AsyncRetrying:
    """A removal that the engine answers with a 500: a file system that lets go late. Four tries within 4 s."""
    return AsyncRetrying(
        retry=retry_if_exception_type(refusal),
        wait=wait_random_exponential(multiplier=0.5, max=2),
        stop=stop_after_attempt(4),
        sleep=anyio.sleep,
        reraise=True,
    )


def start_policy(limit: timedelta) -> AsyncRetrying:
    """The start of a sidecar that was told to wait for Redis and the engine (`--wait`)."""
    return AsyncRetrying(
        retry=retry_if_exception(is_passing),
        wait=wait_random_exponential(multiplier=0.2, max=2),
        stop=stop_after_delay(limit.total_seconds()),
        sleep=anyio.sleep,
        reraise=True,
    )


def detector_policy(on_failure: Callable[[BaseException], None], most: float) -> AsyncRetrying:
    """A detector that must outlive any outage: at most `most` seconds between tries, ended by cancelling its task.

    `on_failure` hears of each failure (to log it and to note that the detector is blind). A refused permission is
    waited for as well: at runtime it is an operator's change, which another change mends.
    """

    def told(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if error is not None:
            on_failure(error)

    return AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, Unavailable)),
        wait=wait_random_exponential(multiplier=0.2, max=most),
        stop=stop_never,
        sleep=anyio.sleep,
        before_sleep=told,
        reraise=True,
    )
