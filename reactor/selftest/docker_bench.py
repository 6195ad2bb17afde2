"""The user's engine, seen from beside: its own events, everybody's containers, and the image that a selftest brings.

What this is: requests that the product does not send. What it is not: the way in or out of a session. The invariant:
what is removed here is an image with this program's own tag; containers are only looked at, but for one decoy.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

import anyio

from reactor.errors import ConfigError, ImageMissing, Unavailable
from reactor.runtime.docker import DockerRuntime
from reactor.runtime.docker_client import DockerClient, container_path
from reactor.runtime.docker_errors import understood
from reactor.runtime.labels import LABEL
from reactor.selftest.bench import TEMPLATE, TTL, is_of
from reactor.selftest.judge import KINDS, Happening
from reactor.selftest.own import BARE, REPOSITORY, Found
from reactor.selftest.program import PATH, program_for, root_of
from reactor.session import ContainerId
from reactor.templates import Template

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from reactor.selftest.bench import Bench
    from reactor.selftest.own import Own
    from reactor.settings import Settings

SILENCE: Final = 600.0
IMPORT_SILENCE: Final = 120.0
_AGAIN: Final = 0.2
_EVENTS: Final = json.dumps({"type": ["container"], "event": list(KINDS)})


@asynccontextmanager
async def open_docker(settings: Settings, own: Own, chosen: Template | None) -> AsyncGenerator[Bench]:
    """Connect, and have an image there: the user's own template, or one that is made here out of 200 bytes."""
    reach = {"tls_verify": settings.docker_tls_verify, "cert_path": settings.docker_cert_path}
    runtime = await DockerRuntime.connect(settings.docker_host, **cast("Any", reach))
    try:
        client = await DockerClient.connect(settings.docker_host, **cast("Any", reach))
        try:
            engine = await runtime.engine()
            template = chosen or await _brought(client, own)
            about = f"docker: Docker {engine.version} on {engine.name}, image {template.image}"
            yield DockerBench(runtime, client, template, about)
        finally:
            # Also where it was interrupted before anybody could look for leftovers.
            with anyio.CancelScope(shield=True), suppress(Unavailable):
                await _drop(client, own.image)
            await client.aclose()
    finally:
        await runtime.aclose()


async def _brought(client: DockerClient, own: Own) -> Template:
    """Import the image of this run, and return the template for it."""
    answer = await client.call("GET", "/version")
    if answer.status != HTTPStatus.OK:
        raise client.unknown("version", answer)
    with understood(client.where):
        system, processor = str(answer.body["Os"]), str(answer.body["Arch"])
    program = program_for(processor) if system == "linux" else None
    if program is None:
        raise ConfigError(
            f"the selftest brings no image for {system} on {processor}: name a template of yours with --template"
        )
    params = {
        "fromSrc": "-",
        "repo": REPOSITORY,
        "tag": own.mark,
        "changes": f'ENTRYPOINT ["{PATH}"]',
        "message": "a program that waits",
    }
    said = ""
    async with client.lines(
        "POST",
        "/images/create",
        params=params,
        silence=IMPORT_SILENCE,
        headers={"Content-Type": "application/x-tar"},
        body=root_of(program),
    ) as lines:
        async for line in lines:
            said = str(line.get("error", "")) or said
    answer = await client.call("GET", f"/images/{quote(own.image, safe='/:@')}/json")
    if answer.status != HTTPStatus.OK:
        raise ImageMissing(f"image {own.image} cannot be imported: {said or answer.message}")
    return Template(name=TEMPLATE, image=own.image, ttl=TTL, memory=64 * 1024 * 1024, pids=16)


class DockerBench:
    """One Docker engine, with its event stream."""

    def __init__(self, runtime: DockerRuntime, client: DockerClient, template: Template, about: str) -> None:
        """Take what is connected; the caller closes it."""
        self.runtime = runtime
        self.template = template
        self.about = about
        self._client = client

    async def everything(self) -> dict[ContainerId, Found]:
        """Return all containers of the engine."""
        answer = await self._client.call("GET", "/containers/json", params={"all": "1"})
        if answer.status != HTTPStatus.OK:
            raise self._client.unknown("list", answer)
        with understood(self._client.where):
            return {each.container_id: each for each in map(_found, answer.body)}

    async def fingerprint(self, container_id: ContainerId) -> object:
        """Return the engine's whole description."""
        return await self._client.look(container_id)

    async def plant_bare(self, own: Own) -> ContainerId | None:
        """Start a container without a label, as somebody else's would be."""
        host = {"NetworkMode": "none", "Init": True, "CapDrop": ["ALL"]}
        body = {"Image": self.template.image, "Cmd": list(self.template.command) or None, "HostConfig": host}
        answer = await self._client.call("POST", "/containers/create", params={"name": own.decoy(BARE)}, body=body)
        if answer.status != HTTPStatus.CREATED:
            raise self._client.unknown("create", answer)
        container_id = ContainerId(answer.body["Id"])
        answer = await self._client.call("POST", f"{container_path(container_id)}/start")
        if answer.status != HTTPStatus.NO_CONTENT:
            raise self._client.unknown("start", answer)
        return container_id

    async def watch(self, own: Own, tell: Callable[[Happening], None], clock: Callable[[], float]) -> None:
        """Follow the engine's events; after a broken stream, from where it broke."""
        seen: set[tuple[int, str, str]] = set()
        since = ""
        while True:
            try:
                params = {"filters": _EVENTS} | ({"since": since} if since else {})
                async with self._client.lines("GET", "/events", params=params, silence=SILENCE) as events:
                    async for event in events:
                        stamp = int(event["timeNano"])
                        since = f"{stamp // 10**9}.{stamp % 10**9:09}"
                        key = (stamp, event["Action"], event["Actor"]["ID"])
                        if key not in seen and is_of(event["Actor"]["Attributes"], own):
                            seen.add(key)
                            tell(_happening(event, clock()))
            except Unavailable:
                pass  # the engine is away; what it did meanwhile is told later
            await anyio.sleep(_AGAIN)

    async def images(self) -> list[str]:
        """Return the tags of the images that selftests brought."""
        params = {"filters": json.dumps({"reference": [REPOSITORY]})}
        answer = await self._client.call("GET", "/images/json", params=params)
        if answer.status != HTTPStatus.OK:
            raise self._client.unknown("images", answer)
        return [tag for image in answer.body for tag in cast("list[str]", image.get("RepoTags") or [])]

    async def drop_image(self, tag: str) -> None:
        """Remove an image by its tag; twice is fine."""
        await _drop(self._client, tag)


async def _drop(client: DockerClient, tag: str) -> None:
    answer = await client.call("DELETE", f"/images/{quote(tag, safe='/:@')}")
    if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
        raise client.unknown("image removal", answer)


def _found(item: Mapping[str, Any]) -> Found:
    names = cast("list[str]", item.get("Names") or [""])
    return Found(
        container_id=ContainerId(item["Id"]),
        name=names[0].removeprefix("/"),
        image=str(item.get("Image", "")),
        labels=cast("dict[str, str]", item.get("Labels") or {}),
        state=str(item.get("State", "")),
    )


def _happening(event: Mapping[str, Any], at_ms: float) -> Happening:
    actor = event["Actor"]
    return Happening(
        at_ms=at_ms,
        engine_s=int(event["timeNano"]) / 1e9,
        kind=event["Action"],
        container_id=ContainerId(actor["ID"]),
        session_id=str(actor["Attributes"].get(f"{LABEL}session", "")),
    )
