"""A Docker engine's HTTP over its socket, with nothing between: the limit that the product is held against.

What this is: one connection that is kept, and the requests of a bench. What it is not: the product's client; not a
line is shared. The invariant: an answer is returned whole, or an `OSError` or `ValueError` is raised.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

LIMIT_S = 120.0
OK, CREATED, GONE = 200, 201, 204


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class EngineApi:
    """One connection to an engine; for one thread."""

    def __init__(self, path: Path) -> None:
        """Note the socket; it is connected to with the first request."""
        self._connection = _Connection(path)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._connection.close()

    def send(self, method: str, path: str, body: object = None, *, limit: float = LIMIT_S) -> tuple[int, Any]:
        """Send one request; returns the status and what the answer holds (bytes where it is no JSON)."""
        self._connection.timeout = limit
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, body=data, headers={"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return answer.status, json.loads(content) if is_json and content else content

    def lines(self, path: str) -> Iterator[Any]:
        """Yield the lines of an endless answer."""
        self._connection.timeout = None
        self._connection.request("GET", path)
        for line in self._connection.getresponse():
            if line.strip():
                yield json.loads(line)

    def create(self, name: str, body: object) -> str:
        """Make a container and return its ID."""
        status, answer = self.send("POST", f"/containers/create?name={name}", body)
        if status != CREATED:
            raise ValueError(f"create answered {status}: {answer}")
        return str(answer["Id"])

    def start(self, container: str) -> None:
        """Start a container."""
        self._must(GONE, "POST", f"/containers/{container}/start")

    def remove(self, container: str) -> None:
        """Kill and remove a container, in one request."""
        self._must(GONE, "DELETE", f"/containers/{container}?force=1&v=1")

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        self._must(GONE, "POST", f"/containers/{container}/rename?name={name}")

    def _must(self, expected: int, method: str, path: str) -> None:
        status, answer = self.send(method, path)
        if status != expected:
            raise ValueError(f"{method} {path} answered {status}: {answer}")


def spawn_many(path: Path, names: Sequence[str], body: object, hands: int = 4) -> list[str]:
    """Create and start containers of one shape, some at once; returns their IDs."""
    made: list[str] = []

    def one(engine: EngineApi, name: str) -> None:
        container = engine.create(name, body)
        made.append(container)
        engine.start(container)

    _in_hands(path, names, one, hands)
    return made


def remove_many(path: Path, containers: Sequence[str], hands: int) -> float:
    """Remove containers by force, `hands` at once; returns the seconds that it took for all."""
    began = time.monotonic()
    _in_hands(path, containers, EngineApi.remove, hands)
    return time.monotonic() - began


def _in_hands(path: Path, items: Sequence[str], work: Any, hands: int) -> None:
    waiting = list(reversed(items))
    failures: list[Exception] = []

    def hand() -> None:
        with EngineApi(path) as engine:
            while waiting and not failures:
                try:
                    work(engine, waiting.pop())
                except IndexError:
                    return  # another hand took the last one
                except (OSError, ValueError) as error:
                    failures.append(error)

    threads = [threading.Thread(target=hand) for _ in range(hands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
