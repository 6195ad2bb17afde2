"""The Docker runtime on a bad wire, and before an engine that answers badly: unknown is never taken for gone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from reactor.errors import PermissionRefused, Unavailable
from reactor.runtime.docker import DockerRuntime
from reactor.runtime.docker_client import DockerClient
from reactor.runtime.protocol import NameTaken, Removal
from reactor.session import ContainerId, Deployment
from tests.runtime.kits import AT_ONCE, Kit
from tests.runtime.wire import Request, forward, reply, says, serve, stub
from tests.services.engine import Engine

CONTAINER = ContainerId("c" * 64)
GONE = says(f"No such container: {CONTAINER}", 404)


async def test_a_create_whose_answer_is_lost_is_found_by_the_next_one(
    docker: Kit, engine: Engine, tmp_path: Path
) -> None:
    """The outcome is unknown to the caller; repeating it names what the first one made, by its token."""
    lost: list[str] = []

    async def losing(request: Request) -> bytes | None:
        answer = await forward(engine, request)
        if request.method == "POST" and "/containers/create" in request.target and not lost:
            lost.append(request.target)
            return None
        return answer

    async with serve(tmp_path / "d.sock", losing) as host:
        runtime = await DockerRuntime.connect(host)
        spec = docker.spec()
        with pytest.raises(Unavailable):
            await runtime.create(spec)
        with pytest.raises(NameTaken) as taken:
            await runtime.create(spec)
        found = await runtime.inspect(taken.value.holder or "")
        assert found is not None
        assert found.labels == spec.labels
        await runtime.aclose()


async def test_a_cancelled_create_is_waited_for(docker: Kit, engine: Engine, tmp_path: Path) -> None:
    """A cancel returns only when the engine has answered: nothing is made behind the caller's back afterwards."""
    arrived, release = anyio.Event(), anyio.Event()

    async def slow(request: Request) -> bytes | None:
        if "/containers/create" in request.target:
            arrived.set()
            await release.wait()
        return await forward(engine, request)

    async with serve(tmp_path / "d.sock", slow) as host:
        runtime = await DockerRuntime.connect(host)
        ended = anyio.Event()

        async def create() -> None:
            try:
                await runtime.create(docker.spec())
            finally:
                ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create)
            await arrived.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
                assert not ended.is_set()
                release.set()
        listed = await runtime.containers(prefix=docker.prefix, deployment=docker.deployment)
        assert len(listed) == 1
        await runtime.aclose()


async def test_only_the_engines_own_words_mean_gone(tmp_path: Path) -> None:
    """A 404 of a proxy, a 500, a cut wire and half an answer all leave the question open."""
    answers = [
        says("page not found", 404),
        reply(404, b"<html>not found</html>", content_type="text/html"),
        says("database is locked", 500),
        None,
        reply(200, {"Id": CONTAINER})[:-8],
        reply(200, b'{"Id": ', content_type="application/json"),
        reply(200, {"unexpected": True}),
    ]
    async with serve(tmp_path / "s.sock", stub(lambda _: answers[0])) as host:
        runtime = await DockerRuntime.connect(host)
        while answers:
            with pytest.raises(Unavailable):
                await runtime.inspect(CONTAINER)
            answers.pop(0)
        answers.append(GONE)
        assert await runtime.inspect(CONTAINER) is None
        await runtime.aclose()


async def test_a_removal_is_tried_again_after_a_500_and_given_up_in_the_end(tmp_path: Path) -> None:
    """A file system that lets go late costs a moment; one that never does ends in Unavailable."""
    busy = says("unable to remove filesystem: device or resource busy", 500)
    answers = [busy, busy, reply(204)]
    async with serve(tmp_path / "s.sock", stub(lambda _: answers.pop(0))) as host:
        runtime = await DockerRuntime.connect(host)
        assert await runtime.remove(CONTAINER, grace=AT_ONCE) is Removal.REMOVED
        answers.extend([busy] * 10)
        with pytest.raises(Unavailable, match="busy"):
            await runtime.remove(CONTAINER, grace=AT_ONCE)
        assert len(answers) == 6
        await runtime.aclose()


async def test_a_removal_in_progress_that_fails_is_taken_over(tmp_path: Path) -> None:
    """409 means wait; if the other one did not get it done, ours does."""
    asked: list[str] = []

    def answer(request: Request) -> bytes | None:
        asked.append(request.method)
        if request.method == "DELETE":
            return reply(204) if asked.count("DELETE") > 1 else says("removal is already in progress", 409)
        return reply(200, {"Id": CONTAINER, "State": {"Status": "dead"}})

    async with serve(tmp_path / "s.sock", stub(answer)) as host:
        runtime = await DockerRuntime.connect(host)
        assert await runtime.remove(CONTAINER, grace=AT_ONCE) is Removal.REMOVED
        assert asked.count("DELETE") == 2
        await runtime.aclose()


async def test_without_a_grace_a_removal_is_one_request(tmp_path: Path) -> None:
    """The way out is short: no look before, none after."""
    asked: list[str] = []

    def answer(request: Request) -> bytes | None:
        asked.append(f"{request.method} {request.target}")
        return reply(204)

    async with serve(tmp_path / "s.sock", stub(answer)) as host:
        runtime = await DockerRuntime.connect(host)
        await runtime.remove(CONTAINER, grace=timedelta(0))
        assert asked == [f"DELETE /v1.41/containers/{CONTAINER}?force=1&v=1"]
        await runtime.aclose()


async def test_an_engine_that_does_not_answer_in_time_is_unavailable(tmp_path: Path) -> None:
    """Each call ends by its own limit."""
    never = anyio.Event()

    async def silent(request: Request) -> bytes | None:
        if request.target == "/version":
            return reply(200, {"ApiVersion": "1.41"})
        await never.wait()
        return None

    async with serve(tmp_path / "s.sock", silent) as host:
        client = await DockerClient.connect(host, tls_verify=False, cert_path=None)
        with pytest.raises(Unavailable, match="unknown"):
            await client.call("GET", "/info", limit=0.1)
        await client.aclose()
        never.set()


async def test_a_refusal_by_a_proxy_or_plugin_is_permission_refused(tmp_path: Path) -> None:
    """403 is no answer about a container."""
    async with serve(tmp_path / "s.sock", stub(lambda _: says("authorization denied", 403))) as host:
        runtime = await DockerRuntime.connect(host)
        with pytest.raises(PermissionRefused, match="authorization denied"):
            await runtime.inspect(CONTAINER)
        await runtime.aclose()


async def test_a_broken_event_stream_ends_and_a_refused_one_is_unavailable(tmp_path: Path) -> None:
    """The package turns a broken stream into a normal end, so the end itself is the gap."""
    labels = {"session-reactor.prefix": "mcp", "session-reactor.deployment": "d", "session-reactor.session": "s1"}
    line = b'{"Type":"container","Action":"die","Actor":{"ID":"x","Attributes":%s}}\n'
    event = line % str(labels).replace("'", '"').encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    streams = [head + b"%x\r\n%s\r\n" % (len(event), event) + b"ff\r\nhalf a ch", says("no", 500)]

    def answer(request: Request) -> bytes | None:
        return reply(200) if request.target.endswith("_ping") else streams.pop(0)

    async with serve(tmp_path / "s.sock", stub(answer)) as host:
        runtime = await DockerRuntime.connect(host)
        with anyio.fail_after(20):
            async with runtime.events(prefix="mcp", deployment=Deployment("d")) as events:
                assert [event.started async for event in events] == [False]
            with pytest.raises(Unavailable):
                async with runtime.events(prefix="mcp", deployment=Deployment("d")):
                    pass
        await runtime.aclose()


async def test_a_proxy_that_drops_the_filter_cannot_make_foreign_containers_ours(tmp_path: Path) -> None:
    """What is listed is looked at again, key by key."""
    ours = {"session-reactor.prefix": "mcp", "session-reactor.deployment": "d"}
    listed = [
        {"Id": "1", "Names": ["/a"], "State": "running", "Created": 1, "Labels": {"session-reactor.prefix": "mcp"}},
        {"Id": "2", "Names": ["/b"], "State": "running", "Created": 1, "Labels": None},
        {"Id": "3", "Names": ["/c"], "State": "exited", "Created": 1, "Labels": ours},
    ]
    async with serve(tmp_path / "s.sock", stub(lambda _: reply(200, listed))) as host:
        runtime = await DockerRuntime.connect(host)
        found = await runtime.containers(prefix="mcp", deployment=Deployment("d"))
        assert [one.container_id for one in found] == ["3"]
        await runtime.aclose()


async def test_an_answer_of_another_shape_is_unknown_whatever_was_asked(tmp_path: Path) -> None:
    """What is JSON and no engine's (a proxy's page) is Unavailable: it never ends the sidecar with a bug."""
    strange: list[object] = [{"unexpected": True}, [7], ["x"], "words", 7, {"Id": 7, "State": "running"}, {"State": []}]
    for status in (200, 201, 409):
        for shape in strange:
            async with serve(tmp_path / "s.sock", stub(lambda _, s=status, body=shape: reply(s, body))) as host:
                runtime = await DockerRuntime.connect(host)
                for ask in (
                    lambda r=runtime: r.inspect(CONTAINER),
                    lambda r=runtime: r.start(CONTAINER),
                    lambda r=runtime: r.remove(CONTAINER, grace=timedelta(seconds=1)),
                    lambda r=runtime: r.containers(prefix="mcp"),
                ):
                    with pytest.raises(Unavailable):
                        await ask()
                await runtime.aclose()
