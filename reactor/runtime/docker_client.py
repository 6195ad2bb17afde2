"""The wire to a Docker engine: one request and its answer, or a stream of lines.

What this is: calls in threads, each with its own time limit. What it is not: what an answer means (see `docker.py`).
The invariant: an `Answer` is what the engine really said; whatever else happened (timeout, cut, garbage) leaves as
`Unavailable`, which means unknown.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, urlsplit

import anyio
from anyio import from_thread, to_thread

from reactor.errors import PermissionRefused, Unavailable
from reactor.runtime.docker_errors import one_line, translated
from reactor.runtime.docker_transport import CONNECT_LIMIT, CUT, THREADS, Transport, hang_up, open_transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping

    import requests
    from anyio.streams.memory import MemoryObjectSendStream

CALL_LIMIT: Final = 30.0
"""Seconds. An engine that removes a container waits up to ten for the kernel, so this is well above."""
CHUNK: Final = 1 << 18
"""Bytes of a long answer that are read at once."""
_BACKLOG: Final = 4096

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One complete answer of the engine."""

    status: int
    body: Any
    """Decoded where it is JSON, else the bytes."""
    message: str
    """The engine's own words of refusal, in one line; empty for success."""
    date: str
    """The `Date` header: the engine's clock."""

    @property
    def no_container(self) -> bool:
        """Whether the engine says that there is no such container; a 404 of anything else on the way does not."""
        return self.status == HTTPStatus.NOT_FOUND and "no such container" in self.message.lower()


class DockerClient:
    """Sends requests in threads. A cancelled call is waited for, so that nothing goes on behind the caller's back."""

    def __init__(self, transport: Transport) -> None:
        """Take a connected transport."""
        self.where = transport.where
        self._transport = transport
        self._limiter = anyio.CapacityLimiter(THREADS)

    @classmethod
    async def connect(cls, host: str | None, *, tls_verify: bool, cert_path: str | None) -> DockerClient:
        """Reach the engine and agree on an API version; raises as `open_transport`."""
        return cls(await to_thread.run_sync(partial(open_transport, host, tls_verify=tls_verify, cert_path=cert_path)))

    @property
    def is_remote(self) -> bool:
        """Whether the engine's 127.0.0.1 is another machine's than ours."""
        address = urlsplit(self.where if "://" in self.where else f"tcp://{self.where}")
        return address.scheme not in ("unix", "http+unix") and address.hostname not in ("localhost", "127.0.0.1", "::1")

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        limit: float | None = None,
        read: Callable[[Iterator[bytes]], object] | None = None,
    ) -> Answer:
        """Send one request and return the whole answer, whatever its status; `limit` is in seconds, None: 30.

        With `read` the body of a success is what that makes of it, in the thread of the call, while it comes; its
        `ValueError` counts as no answer.

        Raises `Unavailable` when there is no complete answer, and `PermissionRefused` for a 401 or 403.
        """
        send = partial(
            self._transport.session.request,
            method,
            self._transport.base + path,
            params=dict(params or {}),
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": "application/json"},
            timeout=(CONNECT_LIMIT, CALL_LIMIT if limit is None else limit),
            allow_redirects=False,
            stream=read is not None,
        )
        with translated(self.where):
            answer = await to_thread.run_sync(lambda: _answer(send(), read), limiter=self._limiter)
        self._check(answer)
        return answer

    @asynccontextmanager
    async def lines(  # noqa: PLR0913 (all but two have a name)
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        silence: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        proof: Callable[[], Coroutine[None, None, None]] | None = None,
    ) -> AsyncGenerator[AsyncIterator[Json]]:
        """Open a stream of JSON lines; the body runs once the engine's headers are there.

        The iterator ends when the stream does, for whatever reason: the engine closed it, it broke, the reader fell
        4096 lines behind, nothing came for `silence` seconds, or `proof`, run beside it, has returned. Leaving the body
        closes the stream at once.
        """
        send = partial(
            self._transport.session.request,
            method,
            self._transport.base + path,
            params=dict(params),
            data=body,
            headers=dict(headers or {}),
            timeout=(CONNECT_LIMIT, silence),
            stream=True,
            allow_redirects=False,
        )
        with translated(self.where):
            response = await to_thread.run_sync(send, limiter=self._limiter)
        if response.status_code != HTTPStatus.OK:
            await self._refused(response, path)
        failure: Exception | None = None
        sender, receiver = anyio.create_memory_object_stream[Json](_BACKLOG)
        try:
            async with anyio.create_task_group() as tasks, receiver:
                tasks.start_soon(_pump, response, sender)
                if proof is not None:
                    tasks.start_soon(_close_after, proof, response)
                try:
                    yield receiver
                except Exception as error:  # noqa: BLE001 (raised again below: a task group would wrap it)
                    failure = error
                finally:
                    hang_up(response)
                    tasks.cancel_scope.cancel()
        finally:
            response.close()  # the reader does it, unless it was cancelled before it began
        if failure is not None:
            raise failure

    async def look(self, id_or_name: str) -> Json | None:
        """Return the engine's description of a container, or None if it says that there is none."""
        answer = await self.call("GET", f"{container_path(id_or_name)}/json")
        if answer.status == HTTPStatus.OK:
            return cast("Json", answer.body)
        if answer.no_container:
            return None
        raise self.unknown("inspect", answer)

    def unknown(self, verb: str, answer: Answer) -> Unavailable:
        """Return the error for an answer that proves nothing."""
        return Unavailable(f"Docker at {self.where}: {verb} was answered {answer.status}: {answer.message}")

    async def registry_headers(self, image: str) -> dict[str, str]:
        """Return the credentials that this user's Docker configuration holds for the image's registry."""
        with translated(self.where):
            return await to_thread.run_sync(self._transport.registry_headers, image, limiter=self._limiter)

    async def aclose(self) -> None:
        """Close idle connections. Twice is fine."""
        self._transport.session.close()

    async def _refused(self, response: requests.Response, path: str) -> None:
        with translated(self.where):
            answer = await to_thread.run_sync(_answer, response, limiter=self._limiter)
        self._check(answer)
        raise self.unknown(path, answer)

    def _check(self, answer: Answer) -> None:
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise PermissionRefused(f"Docker at {self.where} refused the request ({answer.status}): {answer.message}")
        if answer.status == HTTPStatus.BAD_REQUEST and "client version" in answer.message:
            raise Unavailable(f"Docker at {self.where} now speaks another API, start again: {answer.message}")


def container_path(id_or_name: str) -> str:
    """Return the path of one container; an empty id would ask about all of them."""
    if not id_or_name:
        raise ValueError("a container id is empty")
    return f"/containers/{quote(id_or_name, safe='')}"


def json_lines(chunks: Iterator[bytes]) -> list[Json]:
    """Return the JSON lines of a body that ends."""
    return [json.loads(line) for line in b"".join(chunks).splitlines() if line.strip()]


def _answer(response: requests.Response, read: Callable[[Iterator[bytes]], object] | None = None) -> Answer:
    """Read the whole answer. Broken JSON where JSON is promised is a `ValueError`: no engine said it."""
    date = response.headers.get("Date", "")
    if read is not None and response.ok:
        with response:
            body = read(response.iter_content(CHUNK))
        return Answer(status=response.status_code, body=body, message="", date=date)
    is_json = "json" in response.headers.get("Content-Type", "") and bool(response.content)
    body: Any = response.json() if is_json else response.content
    message = ""
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        said = cast("Json", body).get("message") if isinstance(body, dict) else None
        message = one_line(str(said) if said else response.text)
    return Answer(status=response.status_code, body=body, message=message, date=date)


async def _close_after(proof: Callable[[], Coroutine[None, None, None]], response: requests.Response) -> None:
    await proof()
    hang_up(response)


async def _pump(response: requests.Response, sender: MemoryObjectSendStream[Json]) -> None:
    """Move lines from the blocking stream to the loop. It never raises: its end is the end of the iterator."""
    async with sender:
        # A limiter of its own: a stream holds its thread for as long as it lives.
        await to_thread.run_sync(_read, response, sender, limiter=anyio.CapacityLimiter(1))


def _read(response: requests.Response, sender: MemoryObjectSendStream[Json]) -> None:
    try:
        for line in response.iter_lines():
            said = json.loads(line) if line else None
            if isinstance(said, dict):
                from_thread.run_sync(sender.send_nowait, cast("Json", said))
    except (*CUT, anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return
    finally:
        response.close()
