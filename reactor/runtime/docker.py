"""The Docker engine as a runtime.

What this is: the protocol's verbs as requests to the engine, and what each answer (201, 204, 304, 400, 404, 409, 500)
means. What it is not: policy; nothing here decides that a container should go. The invariant: a container is gone only
when the engine says "no such container", removal is by ID, and all that is ambiguous leaves as `Unavailable`.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from reactor.errors import ImageMissing, SpawnFailed, Unavailable
from reactor.runtime.docker_answers import inspected, last_line, state_of
from reactor.runtime.docker_client import DockerClient, Json, container_path
from reactor.runtime.docker_errors import understood
from reactor.runtime.docker_events import proved_events
from reactor.runtime.docker_list import containers_in
from reactor.runtime.docker_profile import create_body
from reactor.runtime.docker_reach import Reach, find_reach
from reactor.runtime.docker_removal import remove
from reactor.runtime.labels import LABEL
from reactor.runtime.protocol import (
    Container,
    ContainerGone,
    ContainerSpec,
    ContainerState,
    Engine,
    EngineEvent,
    NameTaken,
    Removal,
    Route,
)
from reactor.session import ContainerId, Deployment, HostName, SessionId

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from datetime import timedelta

    from reactor.templates import Template

PULL_SILENCE: Final = 120.0


class DockerRuntime:
    """Containers of one Docker engine. Made by `connect`; `aclose` lets go of the connections."""

    def __init__(self, client: DockerClient, reach: Reach) -> None:
        """Take a connected client, and what can be reached from here."""
        self._client = client
        self._reach = reach

    @classmethod
    async def connect(
        cls, host: str | None = None, *, tls_verify: bool = False, cert_path: str | None = None
    ) -> DockerRuntime:
        """Reach the engine; the arguments are DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.

        Raises `Unavailable` (not there, refused, too old), `PermissionRefused` (the socket may not be opened by this
        user) or `ConfigError` (an address or certificates that cannot work).
        """
        client = await DockerClient.connect(host, tls_verify=tls_verify, cert_path=cert_path)
        runtime = cls(client, Reach(remote=True, addresses=False))
        try:
            info = await runtime._info()
            runtime._reach = await find_reach(client.look, info, remote=client.is_remote)
        except BaseException:
            await client.aclose()
            raise
        return runtime

    @property
    def name(self) -> str:
        """`docker`."""
        return "docker"

    async def engine(self) -> Engine:
        """Return which engine this is."""
        info = await self._info()
        with understood(self._client.where):
            return Engine(
                name=HostName(info["Name"]),
                engine_id=info["ID"],
                root=info["DockerRootDir"],
                version=info["ServerVersion"],
                runtime=self.name,
            )

    async def create(self, spec: ContainerSpec) -> ContainerId:
        """Make a container without starting it. See the protocol for what it raises."""
        answer = await self._client.call(
            "POST", "/containers/create", params={"name": spec.name}, body=create_body(spec)
        )
        if answer.status == HTTPStatus.CREATED:
            with understood(self._client.where):
                return ContainerId(answer.body["Id"])
        if answer.status == HTTPStatus.CONFLICT:
            holder = await self._client.look(spec.name)
            with understood(self._client.where):
                raise NameTaken(None if holder is None else ContainerId(holder["Id"]))
        what = f"template {spec.template.name!r}"
        if answer.status == HTTPStatus.NOT_FOUND and "no such image" in answer.message.lower():
            raise ImageMissing(f'{what}: image {spec.template.image!r} is not there; pull it, or set pull = "missing"')
        # A volume that cannot be is refused with 500 by some versions.
        if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR or answer.message.startswith("invalid "):
            raise SpawnFailed(f"{what}: the engine refuses it: {answer.message}")
        raise self._client.unknown("create", answer)

    async def start(self, container_id: ContainerId) -> None:
        """Start it; already started is fine. Raises `ContainerGone` or `SpawnFailed`.

        The same failure is a 400, 404 or 500 depending on the engine's version, so the container itself is asked.
        """
        answer = await self._client.call("POST", f"{container_path(container_id)}/start")
        if answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            return
        found = await self._client.look(container_id)
        with understood(self._client.where):
            if found is None or found["State"]["Status"] in ("removing", "dead"):
                raise ContainerGone
            if state_of(found) is ContainerState.RUNNING:
                return
            if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR or found["State"].get("Error"):
                raise SpawnFailed(f"the container does not start: {answer.message}")
        raise self._client.unknown("start", answer)

    async def rename(self, container_id: ContainerId, name: str) -> None:
        """Give it another name; one that bears it already is fine. Raises `ContainerGone`, `NameTaken`."""
        answer = await self._client.call("POST", f"{container_path(container_id)}/rename", params={"name": name})
        if answer.status == HTTPStatus.NO_CONTENT:
            return
        if answer.no_container:
            raise ContainerGone
        # The refusal is a 400, 409 or 500 depending on the engine's version, so the name itself is asked about.
        holder = await self._client.look(name)
        with understood(self._client.where):
            if holder is not None and holder["Id"] == container_id:
                return
            if holder is not None or answer.status == HTTPStatus.CONFLICT:
                raise NameTaken(None if holder is None else ContainerId(holder["Id"]))
        raise self._client.unknown("rename", answer)

    async def image_id(self, image: str) -> str | None:
        """Return which image a name stands for now; None where there is none."""
        answer = await self._client.call("GET", f"/images/{quote(image, safe='/:@')}/json")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise self._client.unknown("image", answer)
        with understood(self._client.where):
            return str(answer.body["Id"])

    async def inspect(self, id_or_name: str) -> Container | None:
        """Return the container, or None if the engine says that there is none."""
        found = await self._client.look(id_or_name)
        with understood(self._client.where):
            return None if found is None else inspected(found, self._reach)

    async def containers(
        self, *, prefix: str, deployment: Deployment | None = None, session_id: SessionId | None = None
    ) -> list[Container]:
        """Return the containers with exactly these labels, running or not, in one request."""
        wanted = _labels(prefix, deployment, session_id)
        params = {"all": "1", **_filters(wanted)}
        read = partial(containers_in, wanted=wanted)
        answer = await self._client.call("GET", "/containers/json", params=params, read=read)
        if answer.status != HTTPStatus.OK:
            raise self._client.unknown("list", answer)
        return cast("list[Container]", answer.body)

    async def remove(self, container_id: ContainerId, *, grace: timedelta) -> Removal:
        """Stop it within `grace`, then remove it with its anonymous volumes until the engine has it no more.

        Without a grace it is one request. `ABSENT` also when another's removal finished first.
        """
        return await remove(self._client, container_id, grace.total_seconds())

    async def pull(self, image: str) -> None:
        """Fetch an image; raises `ImageMissing` when it cannot be had. A cancel stops the download."""
        repository, tag = _reference(image)
        headers = await self._client.registry_headers(image)
        params = {"fromImage": repository, "tag": tag}
        said = ""
        try:
            async with self._client.lines(
                "POST", "/images/create", params=params, silence=PULL_SILENCE, headers=headers
            ) as progress:
                async for line in progress:
                    said = str(line.get("error") or said)
        except Unavailable as error:
            said = str(error)
        answer = await self._client.call("GET", f"/images/{quote(image, safe='/:@')}/json")
        if answer.status == HTTPStatus.NOT_FOUND:
            raise ImageMissing(f"image {image!r} cannot be pulled: {said or 'the download broke off'}")
        if answer.status != HTTPStatus.OK:
            raise self._client.unknown("pull", answer)

    @asynccontextmanager
    async def events(self, *, prefix: str, deployment: Deployment) -> AsyncGenerator[AsyncIterator[EngineEvent]]:
        """Listen to starts and deaths of our containers; the last two seconds before are told too.

        The iterator ends when the stream breaks, or when the engine remembers what it did not tell: a gap, to be
        followed by a reconcile.
        """
        async with proved_events(self._client, _labels(prefix, deployment, None)) as found:
            yield found

    def problems(self, template: Template) -> str | None:
        """Return why this template cannot run here, or None."""
        if not template.image:
            return "image is missing: the docker runtime needs one"
        for volume in template.volumes:
            target = volume.split(":")[1] if ":" in volume else volume
            if not target.startswith("/"):
                return f"volume {volume!r} has no absolute path in the container; write NAME_OR_PATH:/path"
        return self._reach.problem(template)

    def routes(self, container: Container, port: int) -> tuple[Route, ...]:
        """Return the ways from here to a TCP port of the container, best first."""
        return self._reach.routes(container, port)

    async def last_output(self, container_id: ContainerId) -> str:
        """Return the last line that the container wrote, or nothing."""
        params = {"stdout": "1", "stderr": "1", "tail": "5"}
        answer = await self._client.call("GET", f"{container_path(container_id)}/logs", params=params)
        return last_line(answer.body) if answer.status == HTTPStatus.OK else ""

    async def aclose(self) -> None:
        """Let go of connections; containers stay. Twice is fine."""
        await self._client.aclose()

    async def _info(self) -> Json:
        answer = await self._client.call("GET", "/info")
        if answer.status != HTTPStatus.OK:
            raise self._client.unknown("info", answer)
        return cast("Json", answer.body)


def _labels(prefix: str, deployment: Deployment | None, session_id: SessionId | None) -> dict[str, str]:
    wanted = {"prefix": prefix, "deployment": deployment, "session": session_id}
    return {f"{LABEL}{key}": value for key, value in wanted.items() if value is not None}


def _filters(wanted: dict[str, str]) -> dict[str, str]:
    return {"filters": json.dumps({"label": [f"{key}={value}" for key, value in wanted.items()]})}


def _reference(image: str) -> tuple[str, str]:
    """Split `NAME:TAG` and `NAME@DIGEST`; without either it is `latest`, never all tags."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, colon, tag = image.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (image, "latest")
