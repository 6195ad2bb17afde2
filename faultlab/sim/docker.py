"""The product's Docker runtime on a simulated engine: the same code, another wire.

What this is: `DockerClient` without threads and sockets. What it is not: any answer's meaning, which stays with
`DockerRuntime`. The invariant: as with the real one, a cancelled call is waited for up to its own limit, and what was
sent is carried out whether or not somebody waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import anyio

from faultlab.sim.boxes import Reply
from faultlab.sim.engine import SimEngine
from faultlab.sim.loop import PROCESS, Life, Process
from faultlab.sim.ports import STALE, Fault, Ports, leave
from faultlab.sim.wire import NOWHERE
from reactor.errors import Unavailable
from reactor.runtime.docker import DockerRuntime
from reactor.runtime.docker_client import CALL_LIMIT, Answer, DockerClient
from reactor.runtime.docker_reach import Reach

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping
    from random import Random

Json = dict[str, Any]
WHERE = "sim"


class EngineLine:
    """The way of all processes of a world to one engine."""

    def __init__(self, engine: SimEngine, ports: Ports, rng: Random) -> None:
        """Connect everybody; `cut_off` names processes whose requests go nowhere."""
        self.engine = engine
        self.ports = ports
        self._rng = rng
        self.cut_off: dict[str, None] = {}
        self.slow = 1.0
        self.lose_replies = 0.0
        """The share of answers that are lost after the work was done."""
        self.before: dict[tuple[str, str], Reply] = {}

    def delay(self) -> float:
        """Return one way's time in seconds."""
        return self._rng.uniform(0.0005, 0.002) * self.slow

    def loses_reply(self) -> bool:
        """Whether this answer is lost."""
        return self.lose_replies > 0 and self._rng.random() < self.lose_replies

    def runtime(self) -> DockerRuntime:
        """Return the product's runtime on this engine."""
        return DockerRuntime(self.client(), Reach(remote=False, addresses=False))

    def client(self) -> SimClient:
        """Return the product's client on this engine."""
        return SimClient(self)


def verb(method: str, path: str) -> str:
    """Return what a request is called in a trace."""
    parts = path.strip("/").split("/")
    if method == "DELETE":
        return "engine.delete"
    if parts == ["containers", "json"]:
        return "engine.list"
    return "engine." + {"json": "inspect"}.get(parts[-1], parts[-1])


class SimClient(DockerClient):
    """One process's way to the engine."""

    def __init__(self, line: EngineLine) -> None:
        """Take the line; nothing is sent yet."""
        self.where = WHERE
        self._line = line

    @property
    def is_remote(self) -> bool:
        """It is the same machine."""
        return False

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
        """Send one request; see the real one."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Reply | None] = loop.create_future()
        context = contextvars.copy_context()
        self._send(loop, method, path, dict(params or {}), body, _Way(PROCESS.get(), waiting, context))
        reply: Reply | None = None
        with anyio.CancelScope(shield=True), anyio.move_on_after(CALL_LIMIT if limit is None else limit):
            reply = await waiting
        if reply is None:
            raise Unavailable(f"cannot reach Docker at {WHERE}: no answer")
        if read is not None and reply.status == HTTPStatus.OK:
            reply = Reply(reply.status, read(iter([_written(reply.body, lines=path == "/events")])))
        answer = _answer(reply, self._line.engine.wall())
        self._check(answer)
        return answer

    def _send(  # noqa: C901 (what can befall one request, case by case)
        self, loop: asyncio.AbstractEventLoop, method: str, path: str, params: dict[str, str], body: object, way: _Way
    ) -> None:
        line, process, name = self._line, way.process, verb(method, path)
        fault = line.ports.call(process, name)
        extra = leave(process, fault, lambda after, act: loop.call_later(after, act, context=NOWHERE))
        if extra is None:
            return
        delay = line.delay() + extra
        if fault in (Fault.LOSE_REQUEST, Fault.LATE):
            loop.call_later(line.delay(), way.hear, None, context=way.context)
        if fault is Fault.LOSE_REQUEST:
            return
        if process is not None and process.name in line.cut_off:
            return

        def answer(reply: Reply) -> None:
            kept = line.before.get((method, path), reply)
            if method == "GET":
                line.before[method, path] = reply
            if fault in (Fault.LOSE_REPLY, Fault.LATE) or line.loses_reply():
                loop.call_later(line.delay(), way.hear, None, context=way.context)
            elif process is None or process.life is not Life.DEAD:
                heard = kept if fault is Fault.STALE else reply
                loop.call_later(
                    line.delay() + (STALE if fault is Fault.STALE else 0), way.hear, heard, context=way.context
                )

        def arrive() -> None:
            if line.engine.down:
                way.waiting.get_loop().call_soon(way.hear, None, context=way.context)
                return
            line.engine.request(method, path, params, body, answer)
            if fault is Fault.REPEAT:
                line.engine.request(method, path, params, body, lambda _reply: None)

        loop.call_later(delay, arrive, context=NOWHERE)

    @asynccontextmanager
    async def lines(  # noqa: C901, PLR0913 (as the real one; each end of a stream is a branch)
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
        """Open a stream; see the real one."""
        del method, headers, body
        line, loop, context, process = self._line, asyncio.get_running_loop(), contextvars.copy_context(), PROCESS.get()
        line.ports.call(process, "engine.events")
        await anyio.sleep(line.delay())
        cut_off = process is not None and process.name in line.cut_off
        if line.engine.down or line.engine.frozen or cut_off:
            if not line.engine.down:
                await anyio.sleep(CALL_LIMIT)
            raise Unavailable(f"cannot reach Docker at {WHERE}: {path}")
        sender, receiver = anyio.create_memory_object_stream[Json](4096)

        last = 0.0

        def put(event: Json) -> None:
            nonlocal last
            if process is None or process.life is not Life.DEAD:
                last = max(last + 1e-9, loop.time() + line.delay())  # a stream keeps its order
                loop.call_at(last, _offer, sender, event, context=context)

        def tell(event: Json) -> None:
            match line.ports.push(process, "engine." + event["Action"]):
                case Fault.DROP_PUSH:
                    return
                case Fault.REPEAT_PUSH:
                    put(event)
                    loop.call_later(STALE, put, event, context=NOWHERE)
                case _:
                    put(event)

        def ended() -> None:
            loop.call_soon(sender.close, context=context)

        listener = line.engine.events.listen(params, tell, ended)
        del silence
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks, receiver:
            if proof is not None:
                tasks.start_soon(_close_after, proof, sender)
            try:
                yield receiver
            except Exception as error:  # noqa: BLE001 (raised again below: a task group would wrap it)
                failure = error
            finally:
                line.engine.events.leave(listener)
                sender.close()
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def registry_headers(self, image: str) -> dict[str, str]:
        """Return nothing: there is no registry."""
        del image
        return {}

    async def aclose(self) -> None:
        """Do nothing."""


async def _close_after(proof: Callable[[], Coroutine[None, None, None]], sender: Any) -> None:
    await proof()
    sender.close()


def _offer(sender: Any, event: Json) -> None:
    try:
        sender.send_nowait(event)
    except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
        sender.close()


class _Way:
    """Who waits for an answer."""

    __slots__ = ("context", "process", "waiting")

    def __init__(
        self, process: Process | None, waiting: asyncio.Future[Reply | None], context: contextvars.Context
    ) -> None:
        self.process = process
        self.waiting = waiting
        self.context = context

    def hear(self, reply: Reply | None) -> None:
        if not self.waiting.done():
            self.waiting.set_result(reply)


def _written(body: list[Json], *, lines: bool) -> bytes:
    if lines:
        return "\n".join(json.dumps(one) for one in body).encode()
    return json.dumps(body, separators=(",", ":")).encode()


def _answer(reply: Reply, wall: float) -> Answer:
    message = ""
    if reply.status >= 400:
        message = str(reply.body["message"])
    date = format_datetime(datetime.fromtimestamp(wall, UTC), usegmt=True)
    return Answer(status=reply.status, body=reply.body, message=message, date=date)
