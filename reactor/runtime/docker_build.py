"""An image made from files, by the engine itself: for the demo, which brings its own.

What this is: one build request, without the `docker` command. What it is not: part of a session's life; nothing here is
called by a flow. The invariant: an image is there only if the engine says so afterwards, whatever the build printed.
"""

from __future__ import annotations

import io
import json
import tarfile
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from reactor.errors import ImageMissing
from reactor.runtime.docker_client import DockerClient
from reactor.runtime.docker_errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SILENCE: Final = 300.0
"""Seconds. An installation of packages may say nothing for minutes."""


async def build_image(
    client: DockerClient,
    tag: str,
    files: Mapping[str, bytes],
    *,
    arguments: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Build `tag` from `files` (one is the Dockerfile) unless the engine has it; each step is said as it begins.

    Raises `ImageMissing` when it cannot be built, with the engine's last words, and `Unavailable`. Cancelled, the
    engine stops building. Twice is fine.
    """
    if await has_image(client, tag):
        return
    params = {
        "t": tag,
        "rm": "1",
        "forcerm": "1",
        "buildargs": json.dumps(dict(arguments)),
        # A package index or proxy on the machine's own loopback is reached in this way, and in no other.
        "networkmode": "host",
    }
    said = ""
    async with client.lines(
        "POST",
        "/build",
        params=params,
        silence=SILENCE,
        headers={"Content-Type": "application/x-tar"},
        body=_archive(files),
    ) as lines:
        async for line in lines:
            if text := one_line(str(line.get("stream", ""))):
                if text.startswith("Step "):
                    say(text)
                said = text
            said = one_line(str(line.get("error", ""))) or said
    if not await has_image(client, tag):
        raise ImageMissing(f"image {tag} cannot be built: {said or 'the engine broke off'}")


async def has_image(client: DockerClient, tag: str) -> bool:
    """Return whether the engine has this image."""
    answer = await client.call("GET", f"/images/{quote(tag, safe='/:@')}/json")
    if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
        raise client.unknown("image", answer)
    return answer.status == HTTPStatus.OK


def _archive(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()
