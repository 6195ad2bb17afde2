"""The laboratory's world: Redis, engines, proxies, reactors, clients and the observer, wired together.

What this is: who is started with which settings, and the end of all of them. What it is not: what happens to them
(`faults`). The invariant: reactors and clients reach Redis and the engines only through proxies, the observer and the
clients' heartbeats only past them; leaving the world ends everything that was started in it, whatever happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

import msgspec

from faultlab.children import (
    Child,
    NotStarted,
    bury,
    bury_adopted,
    descendants,
    python,
    python_environment,
    state_of,
    until,
)
from faultlab.crowd import Crowd
from faultlab.decoys import Decoys
from faultlab.docker_proxy import DockerProxy
from faultlab.entries import Mark, Reactor, Request, Setup
from faultlab.history import Writer, now, wall_offset
from faultlab.observer.__main__ import Watched
from faultlab.parts import (
    ACQUIRE_TIMEOUT_S,
    JANITOR_S,
    PREFIX,
    READY_LIMIT,
    STOP_GRACE_S,
    TTLS,
    Door,
    Host,
    Plan,
    Sidecar,
    environment,
)
from faultlab.proxy import FaultProxy
from faultlab.servers import LabEngine, LabRedis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from faultlab import docker_proxy


class World:
    """`async with World(plan) as world`: everything runs in the body, nothing after it."""

    def __init__(self, plan: Plan) -> None:
        """Note what to build."""
        self.plan = plan
        self.history = plan.directory / "history"
        self.writer = Writer(self.history, "laboratory")
        self.deployment = f"lab-{secrets.token_hex(4)}"
        self.redis = LabRedis(plan.directory / "redis")
        self.hosts: list[Host] = []
        self.doors: list[Door] = []
        """The clients' doors, one for each host."""
        self.sidecars: list[Sidecar] = []
        self.crowd = Crowd(self)
        self.admin: Any = None
        """A plain client of Redis, past every proxy."""
        self._observer: Child | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Build everything. Raises `NotStarted` with the last words of what did not start."""
        try:
            await self._build()
        except BaseException:
            await self._tear()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        await self._tear()

    def on_leaving(self, what: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Do this, too, when the world is left."""
        self._stack.push_async_callback(what, *arguments)

    # ------------------------------------------------------------------ building

    async def _build(self) -> None:
        plan = self.plan
        for task in (asyncio.create_task(bury_adopted()), asyncio.create_task(self._notice())):
            self._stack.callback(task.cancel)
        self._stack.callback(self.redis.remove)
        await self.redis.up()
        self.admin = self.redis.client()
        self._stack.push_async_callback(self.admin.aclose)
        names = [f"h{number}" for number in range(1, plan.hosts + 1)]
        self.hosts = list(await asyncio.gather(*(self._host(name) for name in names)))
        self.decoys = await Decoys.plant(self)
        self._write_setup()
        await self._start_observer()
        self.doors = [await self._door(host, f"client-{host.name}") for host in self.hosts]
        for number in range(plan.reactors * plan.hosts):
            host = self.hosts[number % plan.hosts]
            name = f"reactor-{number + 1}"
            self.sidecars.append(Sidecar(name=name, door=await self._door(host, name)))
        for sidecar in self.sidecars:
            self.start_reactor(sidecar)
        for sidecar in self.sidecars:
            await self.ready(sidecar)

    async def _host(self, name: str) -> Host:
        directory = self.plan.directory / name
        directory.mkdir(parents=True)
        host = Host(name=name, engine=None, state=directory / "state")
        host.state.mkdir()
        if self.plan.runtime == "docker":
            host.engine = LabEngine(directory / "engine")
            self._stack.push_async_callback(host.engine.down)
            await host.engine.up()
        image = "unused" if host.engine is None else host.engine.image
        sleep = shutil.which("sleep") or "sleep"
        command = '["sleep", "86400"]' if host.engine else f'["{sleep}", "86400"]'
        (directory / "reactor.toml").write_text(
            f'[template.default]\nimage = "{image}"\ncommand = {command}\nttl = "4s"\nmax_ttl = "1h"\n'
        )
        return host

    async def _door(self, host: Host, name: str) -> Door:
        redis = FaultProxy("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{self.redis.port}")
        await self._stack.enter_async_context(redis)
        docker = None
        if host.engine is not None:
            docker = DockerProxy(f"unix://{self.plan.directory}/{name}.sock", f"unix://{host.engine.socket}")
            await self._stack.enter_async_context(docker)
        return Door(host=host, name=name, redis=redis, docker=docker)

    def _write_setup(self) -> None:
        plan = self.plan
        self.writer.write(
            Setup(
                seed=plan.seed,
                runtime=plan.runtime,
                hosts=tuple(host.name for host in self.hosts),
                reactors=plan.reactors,
                deployment=self.deployment,
                prefix=PREFIX,
                janitor_s=JANITOR_S,
                stop_grace_s=STOP_GRACE_S,
                acquire_timeout_s=ACQUIRE_TIMEOUT_S,
                ttl_max_s=max(TTLS),
                decoys=self.decoys.containers,
                decoy_keys=self.decoys.keys,
                kinds=plan.kinds,
                wall_s=wall_offset(),
            )
        )

    async def _start_observer(self) -> None:
        pids = self.plan.directory / "pids"
        pids.mkdir()
        watched = Watched(
            history=str(self.history),
            redis_url=self.redis.url,
            prefix=PREFIX,
            deployment=self.deployment,
            runtime=self.plan.runtime,
            engines={host.name: str(host.engine.socket if host.engine else host.state) for host in self.hosts},
            pids=str(pids),
        )
        orders = self.plan.directory / "observer.json"
        orders.write_bytes(msgspec.json.encode(watched))
        command = python("-m", "faultlab.observer", str(orders))
        self._observer = Child(command, self.plan.directory / "observer.log", env=python_environment())
        self._stack.push_async_callback(self._observer.end)
        if not await until((self.history / "observer.jsonl").exists, READY_LIMIT):
            raise NotStarted(f"the observer did not start: {self._observer.log[-500:]}")

    # ------------------------------------------------------------------ programs

    def start_reactor(self, sidecar: Sidecar) -> None:
        """Start a reactor; `ready` waits for it."""
        log = self.plan.directory / f"{sidecar.name}.log"
        command = python("-m", "reactor", "run", "--verbose", "--wait", "30s")
        sidecar.child = Child(command, log, env=environment(self.plan, self.deployment, sidecar.door))
        self._stack.push_async_callback(sidecar.child.end, signal.SIGKILL)
        (self.plan.directory / "pids" / f"{sidecar.name}.pid").write_text(str(sidecar.child.pid))
        self.note_reactor(sidecar, "start")

    async def ready(self, sidecar: Sidecar) -> None:
        """Wait until a reactor says so. Raises `NotStarted`."""
        child = sidecar.child
        if child is None or not await until(lambda: "action=ready" in child.log or not child.running, READY_LIMIT):
            raise NotStarted(f"{sidecar.name} is not ready within {READY_LIMIT:.0f} s")
        if not child.running:
            raise NotStarted(f"{sidecar.name} ended: {child.log[-500:]}")
        self.note_reactor(sidecar, "ready")

    async def stop_reactor(self, sidecar: Sidecar) -> None:
        """SIGTERM a reactor, and write down how it ended."""
        if sidecar.child is None:
            return
        self.note_reactor(sidecar, "signal", detail="SIGTERM")
        sidecar.child.send(signal.SIGTERM)
        code = await sidecar.child.ended(30)
        self.note_reactor(sidecar, "exit", code=code, detail="SIGTERM")

    def note_reactor(self, sidecar: Sidecar, event: str, *, code: int | None = None, detail: str = "") -> None:
        """Write down what became of a reactor."""
        pid = 0 if sidecar.child is None else sidecar.child.pid
        self.writer.write(Reactor(t=now(), name=sidecar.name, event=event, pid=pid, code=code, detail=detail))

    async def stop_observer(self) -> None:
        """End the observer; it writes down what it missed."""
        if self._observer is not None and await self._observer.end() != 0:
            raise NotStarted(f"the observer failed: {self._observer.log[-1500:]}")

    def write_requests(self) -> None:
        """Write down what the proxies passed on to the engines."""
        for door in (*self.doors, *(one.door for one in self.sidecars)):
            for one in () if door.docker is None else door.docker.log:
                self.writer.write(_request(door, one))

    def mark(self, name: str, detail: str = "") -> None:
        """Write down a point of the run."""
        self.writer.write(Mark(t=now(), name=name, detail=detail))

    async def _notice(self) -> None:
        """Write down each program that ends although nobody ended it."""
        told: set[int] = set()
        while True:
            await asyncio.sleep(0.5)
            reactors = {one.name: one.child for one in self.sidecars if one.child is not None}
            for name, child in {**reactors, **self.crowd.clients}.items():
                code = child.process.poll()
                # A client may have done its work; a reactor never has.
                ended = code is not None and (code != 0 or name in reactors)
                if ended and not child.meant and child.pid not in told:
                    told.add(child.pid)
                    last = child.log.strip().splitlines()
                    self.mark("crash", f"{name} ended with {code}: {last[-2:]}"[:400])

    # ------------------------------------------------------------------ ending

    async def _tear(self) -> None:
        self.redis.thaw()
        await self._stack.aclose()
        left = {pid for pid in descendants(os.getpid()) if state_of(pid) not in ("", "Z")}
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(state_of(pid) not in ("", "Z") for pid in left), 10)
        bury(left)


def _request(door: Door, one: docker_proxy.Request) -> Request:
    """Return what the proxy noted; an answer that its client did not wait for was not seen."""
    offset = wall_offset()
    return Request(
        t=one.at - offset,
        door=door.name,
        method=one.method,
        path=one.path,
        status=0 if one.deserted else one.status or 0,
        t_end=None if one.done is None else one.done - offset,
    )
