"""A real Docker engine and a simulated one, asked the same in the same way.

What this is: what a scene of the contract works with, and who lets it play on which engine. What it is not: the claims.
It keeps this: a scene leaves no container of its own behind.
"""

import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, cast

import anyio

from faultlab.sim.boxes import Program
from faultlab.sim.clock import Virtual
from faultlab.sim.docker import EngineLine
from faultlab.sim.engine import SimEngine
from faultlab.sim.loop import SimLoop
from faultlab.sim.ports import Ports
from reactor.runtime.docker_client import Answer, DockerClient
from reactor.session import ContainerId
from tests.runtime.kits import MISSING, OVER, STUBBORN, DockerOperator, Kit, Operator
from tests.services.engine import Engine
from tests.waiting import wait_until

Json = dict[str, Any]
LABEL = "session-reactor-contract"


@dataclass(frozen=True)
class Bench:
    """One engine on the wire, with a label that only one scene uses."""

    client: DockerClient
    operator: Operator
    image: str
    mark: str

    async def ask(self, method: str, path: str, body: object = None, **params: str) -> Answer:
        """Send one request."""
        return await self.client.call(method, path, params=params, body=body)

    async def make(self, name: str, command: tuple[str, ...] = (), **labels: str) -> str:
        """Create a container with an anonymous volume; return its id."""
        answer = await self.create(name, command, **labels)
        assert answer.status == 201, answer
        return str(answer.body["Id"])

    async def create(
        self, name: str, command: tuple[str, ...] = (), *, image: str | None = None, **labels: str
    ) -> Answer:
        """Ask for a container, and return the answer."""
        body: Json = {
            "Image": image or self.image,
            "Labels": {LABEL: self.mark, **labels},
            "Volumes": {"/data": {}},
            "HostConfig": {"NetworkMode": "none", "Init": True},
        }
        if command:
            body["Cmd"] = list(command)
        return await self.ask("POST", "/containers/create", body, name=self.name(name))

    def name(self, short: str) -> str:
        """Return a name that no other scene uses."""
        return f"{self.mark}-{short}"

    async def run(self, name: str, command: tuple[str, ...] = (), **labels: str) -> str:
        """Create and start a container; return its id."""
        box_id = await self.make(name, command, **labels)
        assert (await self.ask("POST", f"/containers/{box_id}/start")).status == 204
        return box_id

    async def state(self, box_id: str) -> str:
        """Return a container's state."""
        return str((await self.ask("GET", f"/containers/{box_id}/json")).body["State"]["Status"])

    async def becomes(self, box_id: str, state: str) -> None:
        """Wait until a container is in a state."""

        async def is_so() -> bool:
            return await self.state(box_id) == state

        await wait_until(is_so, what=f"{box_id[:6]} is {state}")

    async def listed(self, *labels: str, **params: str) -> list[Json]:
        """Return what the list shows of this scene's containers with these labels too."""
        filters = json.dumps({"label": [f"{LABEL}={self.mark}", *labels]})
        answer = await self.ask("GET", "/containers/json", filters=filters, **params)
        assert answer.status == 200
        return cast("list[Json]", answer.body)

    async def volumes(self) -> set[str]:
        """Return the names of all volumes."""
        found = cast("list[Json]", (await self.ask("GET", "/volumes")).body["Volumes"] or [])
        return {str(volume["Name"]) for volume in found}

    @asynccontextmanager
    async def heard(self, **filters: list[str]) -> AsyncGenerator[list[Json]]:
        """Listen to this scene's containers; the list grows as the engine tells."""
        told: list[Json] = []
        wanted = json.dumps({"label": [f"{LABEL}={self.mark}"], "type": ["container"], **filters})

        async def listen(stands: Callable[[], None]) -> None:
            async with self.client.lines("GET", "/events", params={"filters": wanted}, silence=60) as lines:
                stands()
                async for line in lines:
                    told.append(line)  # noqa: PERF401 (looked at while it grows)

        async with anyio.create_task_group() as tasks:
            ready = anyio.Event()
            tasks.start_soon(listen, ready.set)
            await ready.wait()
            yield told
            tasks.cancel_scope.cancel()

    async def clean(self) -> None:
        """Remove what is left."""
        for one in await self.listed(all="1"):
            await self.ask("DELETE", f"/containers/{one['Id']}", force="1", v="1")


Scene = Callable[[Bench], Awaitable[None]]


@dataclass(frozen=True)
class SimOperator:
    """Acts on the simulated engine."""

    engine: SimEngine

    def kill(self, container_id: ContainerId) -> None:
        """End its program."""
        self.engine.die(container_id)

    def freeze(self, container_id: ContainerId) -> None:
        """Stop its program from doing anything."""
        self.engine.pause(container_id)


class SimBench:
    """A simulated engine alone, in virtual time."""

    def __init__(self) -> None:
        """Start it; its clock begins with this machine's, as the claims compare them."""
        self.loop = SimLoop(Random(1))
        began = datetime.now(UTC).timestamp() - self.loop.time()
        self.engine = SimEngine("h1", self.loop, Random(1), lambda: began + self.loop.time())
        self.engine.images = {"idle"}
        self.engine.programs = {
            STUBBORN: Program(ignores_term=True),
            OVER: Program(ends_after=0.01, exit_code=3, says=b"last words\n"),
            MISSING: Program(ends_after=0.01, exit_code=127),
        }
        self.line = EngineLine(self.engine, Ports(), Random(1))

    def play(self, scene: Coroutine[Any, Any, None]) -> None:
        """Let a scene play to its end."""
        try:
            with Virtual(self.loop, 1):
                self.loop.run_until_complete(scene)
            assert self.loop.failures == []
        finally:
            self.loop.close()


def on_sim(scene: Scene) -> None:
    """Play a scene on the simulated engine."""
    sim = SimBench()

    async def whole() -> None:
        await scene(Bench(sim.line.client(), SimOperator(sim.engine), "idle", "contract"))

    sim.play(whole())


def on_docker(engine: Engine, image: str, scene: Scene) -> None:
    """Play a scene on the real one."""

    async def whole() -> None:
        client = await DockerClient.connect(engine.host, tls_verify=False, cert_path=None)
        bench = Bench(client, DockerOperator(engine), image, f"contract-{secrets.token_hex(4)}")
        try:
            await scene(bench)
        finally:
            await bench.clean()
            await client.aclose()

    anyio.run(whole)


def sim_kit(sim: SimBench) -> Kit:
    """Return the tools of the runtimes' own contract for the simulated engine."""
    return Kit(sim.line.runtime(), SimOperator(sim.engine))
