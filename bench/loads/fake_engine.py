"""Something that answers as a Docker engine does, with as many containers as are asked for, at once.

What this is: the requests of a reconcile and of a removal, over a unix socket, so that the product's own client and its
decoding are what is measured. What it is not: an engine with rules (the simulation has one). The invariant: the list
is made once, before it says that it is ready; an answer costs the asker, not this process.
"""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from bench.population import Group
from bench.talk import Ear, Message, job, say

if TYPE_CHECKING:
    from reactor.session import ContainerId

_ONE = re.compile(r"/containers/([0-9a-z]+)(/json|/kill|/start)?$")
_VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.0", "Os": "linux", "Arch": "amd64"}
_ABSENT = (404, {"message": "No such container: it was removed"})


class FakeEngine:
    """Its containers, by ID."""

    def __init__(self, groups: list[Group], host: str) -> None:
        """Make them."""
        self._host = host
        self._places: dict[ContainerId, tuple[Group, int]] = {
            group.container_id(n): (group, n) for group in groups for n in range(group.count)
        }
        self._list = b""
        self.removed = 0

    def listed(self) -> bytes:
        """Return the answer to a list of all; made once until something is removed."""
        if not self._list:
            listed = [_listed(group, n) for group, n in self._places.values()]
            self._list = json.dumps(listed, separators=(",", ":")).encode()  # as the real one writes it
        return self._list

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        """Return the status and the body (bytes go as they are)."""
        path = re.sub(r"^/v1\.\d+", "", path.partition("?")[0])
        match (method, path):
            case (_, "/version"):
                return 200, _VERSION
            case (_, "/_ping"):
                return 200, b"OK"
            case (_, "/info"):
                known = {"ID": "fake", "Name": self._host, "DockerRootDir": "/fake", "ServerVersion": "20.10.0"}
                return 200, {**known, "SecurityOptions": [], "OperatingSystem": "fake"}
            case (_, "/containers/json"):
                return 200, self.listed()
            case _:
                return self._about_one(method, path)

    def _about_one(self, method: str, path: str) -> tuple[int, Any]:
        found = _ONE.search(path)
        place = self._places.get(found[1]) if found else None  # type: ignore[call-overload]
        if place is None:
            return _ABSENT
        if method == "DELETE":
            del self._places[place[0].container_id(place[1])]
            self._list = b""
            self.removed += 1
            return 204, b""
        return (200, _inspected(*place)) if method == "GET" else (204, b"")


def _listed(group: Group, n: int) -> dict[str, Any]:
    """Return one entry of the list with all that a real engine says, so that it is as long."""
    made = (group.base + n) // 1_000_000
    return {
        "Id": group.container_id(n),
        "Names": [f"/{group.name(n)}"],
        "Image": "bench",
        "ImageID": f"sha256:{'0' * 64}",
        "Command": "sleep 86400",
        "Created": made,
        "Ports": [],
        "Labels": group.labels(n).as_dict(),
        "State": "running",
        "Status": "Up 5 minutes",
        "HostConfig": {"NetworkMode": "none"},
        "NetworkSettings": {"Networks": {"none": {
            "IPAMConfig": None, "Links": None, "Aliases": None, "NetworkID": "0" * 64, "EndpointID": "1" * 64,
            "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0, "MacAddress": "", "DriverOpts": None,
        }}},
        "Mounts": [],
    }  # fmt: skip


def _inspected(group: Group, n: int) -> dict[str, Any]:
    return {
        "Id": group.container_id(n),
        "Name": f"/{group.name(n)}",
        "Created": datetime.fromtimestamp((group.base + n) / 1e6, UTC).isoformat().replace("+00:00", "Z"),
        "State": {"Status": "running", "Running": True, "ExitCode": 0, "Error": ""},
        "Config": {"Labels": group.labels(n).as_dict()},
        "HostConfig": {"NetworkMode": "none"},
        "NetworkSettings": {"Ports": {}, "Networks": {}, "IPAddress": ""},
    }


async def serve(engine: FakeEngine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while line := await reader.readline():
            method, path, _ = line.decode().split(maxsplit=2)
            length = 0
            while header := (await reader.readline()).strip():
                if header.lower().startswith(b"content-length:"):
                    length = int(header.partition(b":")[2])
            await reader.readexactly(length)
            if "/events" in path and "until=" not in path:
                writer.write(_head(200, "application/json", None))
                await reader.read()  # nothing happens here by itself
                return
            writer.write(_whole(*((200, b"") if "/events" in path else engine.answer(method, path))))
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


def _whole(status: int, body: Any) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/plain" if content == b"OK" else "application/json"
    return _head(status, kind, None if status == 204 else len(content)) + content  # noqa: PLR2004


def _head(status: int, kind: str, length: int | None) -> bytes:
    size = "Transfer-Encoding: chunked\r\n" if length is None and status == 200 else ""  # noqa: PLR2004
    size = f"Content-Length: {length}\r\n" if length is not None else size
    date = formatdate(usegmt=True)
    return f"HTTP/1.1 {status} It\r\nContent-Type: {kind}\r\nDate: {date}\r\nApi-Version: 1.41\r\n{size}\r\n".encode()


async def main(work: Message) -> None:
    """Listen until stdin ends; a question is answered with how many containers were removed."""
    ear = Ear()
    engine = FakeEngine([Group(**group) for group in work["groups"]], work["host"])
    engine.listed()
    await asyncio.start_unix_server(lambda r, w: serve(engine, r, w), work["socket"], limit=1 << 20)
    say(ok=True)
    while await ear.next() is not None:
        say(removed=engine.removed)


if __name__ == "__main__":
    asyncio.run(main(job()))
