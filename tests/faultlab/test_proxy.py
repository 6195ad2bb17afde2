"""The fault proxy itself: each fault does what it says, counts it, and ends when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from faultlab.docker_proxy import DockerProxy, Hold, Late, LoseReply, LoseRequest, Say, Truncate
from faultlab.proxy import BlackHole, Cut, Delay, Drip, FaultProxy, OneWay, Pass, Refuse, Way
from tests.runtime.wire import Request, reply, serve
from tests.services.redis import RedisServer
from tests.waiting import wait_until

LOST = (redis.exceptions.ConnectionError, ConnectionError)


@pytest.fixture
async def wire(redis_server: RedisServer) -> AsyncGenerator[FaultProxy]:
    """A proxy in front of Redis."""
    async with FaultProxy("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{redis_server.port}") as proxy:
        yield proxy


@asynccontextmanager
async def through(proxy: FaultProxy) -> AsyncGenerator[redis.asyncio.Redis]:
    """A client with one connection through the proxy, which repeats nothing."""
    never = Retry(NoBackoff(), 0)
    async with redis.asyncio.Redis(port=proxy.port, retry=never, single_connection_client=True) as client:
        yield client


@pytest.mark.parametrize("fault", [Pass(), Delay(0.01, 0.01), Drip(3, 0.001)], ids=lambda fault: type(fault).__name__)
async def test_a_slow_wire_is_still_a_wire(wire: FaultProxy, fault: Pass | Delay | Drip) -> None:
    """All bytes arrive, in their order."""
    async with through(wire) as client:
        wire.become(fault)
        await client.set("key", "x" * 200)
        assert await client.get("key") == b"x" * 200
    assert wire.hits[type(fault).__name__] > 0 or fault == Pass()


@pytest.mark.parametrize("fault", [BlackHole(), OneWay(Way.REQUESTS), OneWay(Way.ANSWERS)])
async def test_a_black_hole_swallows_connections_that_stand_and_gives_back_what_it_held(
    wire: FaultProxy, redis_server: RedisServer, fault: BlackHole | OneWay
) -> None:
    """No answer and no end; a request still arrives where only the answers are withheld."""
    async with through(wire) as client, redis.asyncio.Redis.from_url(redis_server.url) as direct:
        await client.ping()
        wire.become(fault)

        async def put() -> bool:
            return bool(await client.set("key", "1"))

        async def arrived() -> bool:
            return bool(await direct.exists("key"))

        asking = asyncio.create_task(put())
        await wait_until(lambda: wire.hits[type(fault).__name__] > 0)
        if fault == OneWay(Way.REQUESTS):
            await wait_until(arrived)
        else:
            assert not await arrived()
        assert not asking.done()
        wire.become(Pass())
        assert await asking


@pytest.mark.parametrize("applied", [True, False])
async def test_a_cut_takes_the_answer_or_the_request(
    wire: FaultProxy, redis_server: RedisServer, *, applied: bool
) -> None:
    """The n-th matching request is lost, before or after the server did it; what does not match goes on."""
    async with through(wire) as client, redis.asyncio.Redis.from_url(redis_server.url) as direct:
        wire.become(Cut(rb"INCR", times=1, applied=applied))
        await client.set("other", "1")
        with pytest.raises(LOST):
            await client.incr("count")
        assert wire.fault == Pass()
        assert await direct.get("count") == (b"1" if applied else None)
        assert await client.incr("count") == (2 if applied else 1)
    assert wire.hits == {"Cut": 1}


async def test_refuse_and_reset(wire: FaultProxy) -> None:
    """A refused client is new; a reset one stood."""
    async with through(wire) as client:
        await client.ping()
        wire.become(Refuse())
        await client.ping()
        with pytest.raises(LOST):
            async with through(wire) as late:
                await late.ping()
        assert wire.reset() == 1
        with pytest.raises(LOST):
            await client.ping()
        wire.become(Pass())
        assert await client.ping()
    assert wire.hits["Refuse"] >= 1
    assert wire.hits["Reset"] == 1


async def test_one_connection_of_many_can_be_made_half_open(wire: FaultProxy) -> None:
    """The one that asked for something goes silent; the others go on."""
    ended = anyio.Event()

    async def ask(client: redis.asyncio.Redis) -> None:
        with pytest.raises(LOST):
            await client.ping()
        ended.set()

    async with through(wire) as client, through(wire) as other:
        await client.set("mark", "1")
        assert wire.hush(rb"mark") == 1
        await other.ping()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, client)
            with anyio.move_on_after(0.2) as limit:
                await ended.wait()
            assert limit.cancelled_caught
            assert wire.drop_hushed() == 1
        await other.ping()
    assert wire.hits["Hush"] == 1


async def test_answers_that_hold_a_word_are_counted(wire: FaultProxy) -> None:
    """So that a run can tell what the product was told, not only what Redis was told to say."""
    async with through(wire) as client:
        await client.set("key", "NOREPLICAS")
        await client.get("key")
        wire.word = b"NOREPLICAS"
        await client.get("key")
        await client.ping()
    assert wire.hits == {"Word": 1}


@asynccontextmanager
async def docker_wire(directory: Path, done: list[str]) -> AsyncGenerator[DockerProxy]:
    """A proxy in front of a server that notes what it did and says 204."""

    async def answer(request: Request) -> bytes:
        done.append(request.target)
        return reply(204)

    upstream = directory / "engine.sock"
    async with serve(upstream, answer) as engine, DockerProxy(f"unix://{directory}/proxy.sock", engine) as proxy:
        yield proxy


async def ask(proxy: DockerProxy, path: str, method: str = "POST") -> bytes:
    """Send one request as the engine's client does and return all that came back."""
    reader, writer = await asyncio.open_unix_connection(proxy.address.removeprefix("unix://"))
    writer.write(f"{method} /v1.41{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_rule_acts_on_the_request_that_it_names_and_no_more_often_than_told(tmp_path: Path) -> None:
    """Lost before or after it was done, invented, cut short, late: each once, each counted, each in the log."""
    done: list[str] = []
    create = "/containers/create"
    async with docker_wire(tmp_path, done) as proxy:
        for act, heard, reached in (
            (LoseReply(), b"", True),
            (LoseRequest(), b"", False),
            (Say(500), b"HTTP/1.1 500", False),
            (Say(409, applied=True), b"HTTP/1.1 409", True),
            (Truncate(8), b"HTTP/1.1", True),
            (Late(0.01), b"HTTP/1.1 204", True),
        ):
            rule = proxy.add(act, "POST", create)
            assert b"204" in await ask(proxy, "/containers/x/start")
            done.clear()
            answer = await ask(proxy, f"{create}?name=a")
            assert answer.startswith(heard), act
            assert bool(answer) == bool(heard)
            assert bool(done) is reached, act
            assert rule.hits == proxy.hits[type(act).__name__] or isinstance(act, Say)
            assert b"204" in await ask(proxy, create)
        assert [request.path for request in proxy.log][:3] == ["/containers/x/start", create, create]
        assert {request.status for request in proxy.log} == {204, None}
        await wait_until(lambda: all(request.done is not None for request in proxy.log))
        assert all(request.at <= (request.done or 0.0) for request in proxy.log)


@pytest.mark.parametrize("applied", [True, False])
async def test_a_held_request_waits_for_its_release(tmp_path: Path, *, applied: bool) -> None:
    """A test can do something between the request and the engine, or between the engine and the answer."""
    done: list[str] = []
    async with docker_wire(tmp_path, done) as proxy:
        rule = proxy.add(Hold(applied), "DELETE")
        asking = asyncio.create_task(ask(proxy, "/containers/x", "DELETE"))
        await rule.seen.wait()
        if applied:
            await wait_until(lambda: bool(done))
        assert bool(done) is applied
        assert not asking.done()
        proxy.heal()
        assert b"204" in await asking


async def test_a_stream_can_be_silenced_and_cut(tmp_path: Path) -> None:
    """Only the stream: other requests go on."""
    told = anyio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        await told.wait()
        writer.write(b"second")
        await reader.read()
        writer.close()

    upstream = await asyncio.start_unix_server(stream, tmp_path / "engine.sock")
    async with DockerProxy(f"unix://{tmp_path}/proxy.sock", f"unix://{tmp_path}/engine.sock") as proxy:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "proxy.sock")
        writer.write(b"GET /v1.41/events?since=1 HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"first")
        assert proxy.silence("/other") == 0
        assert proxy.silence("/events") == 1
        told.set()
        with anyio.move_on_after(0.2) as limit:
            await reader.read(1)
        assert limit.cancelled_caught
        assert proxy.cut("/events") == 1
        assert await reader.read() == b""
        writer.close()
    upstream.close()
