"""The `docker` package, made fit: connections, API version, credentials, and closing a stream.

What this is: the door to that package, typed by hand (it has no types). What it is not: requests and answers
(`docker_client.py`). The invariant: no API version is assumed; the engine is asked which one it speaks.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import docker
import docker.auth
import requests.adapters
import urllib3
from docker.errors import DockerException
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool
from docker.types import CancellableStream
from docker.utils import kwargs_from_env

from reactor.errors import ConfigError, Unavailable
from reactor.runtime.docker_errors import one_line, translated

if TYPE_CHECKING:
    from collections.abc import Mapping

THREADS: Final = 32
"""Calls in flight at once. Our own limit: the process's shared one would let a stuck engine stop everything else."""
OLDEST_API: Final = "1.25"
"""The first with `Init`, without which a program that ignores SIGTERM costs the whole stop grace."""
CONNECT_LIMIT: Final = 5.0
CUT: Final = (OSError, ValueError, AttributeError, urllib3.exceptions.HTTPError, requests.RequestException)
"""What reading from a stream raises when it breaks, or when it is closed under the reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """A connected session, the base of every URL (with the API version), and what error messages call the engine."""

    session: requests.Session
    base: str
    where: str

    def registry_headers(self, image: str) -> dict[str, str]:
        """Return the credentials that this user's Docker configuration holds for the image's registry. Blocking."""
        registry, _ = docker.auth.resolve_repository_name(image)
        header = docker.auth.get_config_header(cast("docker.APIClient", self.session), registry)
        return {"X-Registry-Auth": header.decode()} if header else {}


class _Connection(UnixHTTPConnection):
    """The package's own leaves the socket open when nobody listens."""

    def connect(self) -> None:
        """Connect to the engine's socket."""
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.settimeout(CONNECT_LIMIT)
            opened.connect(self.unix_socket)
        except OSError:
            opened.close()
            raise
        self.sock = opened


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        return _Connection(self.base_url, self.socket_path, int(CONNECT_LIMIT))


class _Adapter(UnixHTTPAdapter):
    """One pool of connections for the socket.

    The package's own keeps a pool for each URL, so it connects anew for each container, and closes the oldest of 25
    pools under the feet of a thread that has just chosen it.
    """

    def get_connection(self, url: str | bytes, proxies: Mapping[str, str] | None = None) -> _Pool:
        """Return the pool of the socket, whatever the URL."""
        del url, proxies
        with self.pools.lock:
            pool = cast("_Pool | None", self.pools.get("socket"))
            if pool is None:
                pool = _Pool("http+unix://socket", self.socket_path, int(CONNECT_LIMIT), maxsize=THREADS)
                self.pools["socket"] = pool
            return pool


def open_transport(host: str | None, *, tls_verify: bool, cert_path: str | None) -> Transport:
    """Reach the engine as the Docker SDK would and ask for its API version. Blocking, at most ten seconds.

    Raises `Unavailable`, `PermissionRefused`, or `ConfigError` for an address or certificates that cannot work.
    """
    where = host or "unix:///var/run/docker.sock"
    environment = {"DOCKER_HOST": host or "", "DOCKER_CERT_PATH": cert_path or ""}
    if tls_verify:
        environment["DOCKER_TLS_VERIFY"] = "1"
    try:
        options = cast("dict[str, Any]", kwargs_from_env(environment=environment))
        api = docker.APIClient(version=OLDEST_API, **options)
    except (DockerException, ValueError) as error:
        raise ConfigError(f"Docker cannot be used with DOCKER_HOST = {where}: {one_line(str(error))}") from error
    session, base = cast("requests.Session", api), str(api.base_url)
    if base == "http+docker://localhost":
        path = str(cast("Any", session.get_adapter(base)).socket_path)
        session.trust_env = False  # a proxy or a .netrc has no say on a socket, and reading them costs a millisecond
        session.mount("http+docker://", _Adapter(f"http+unix://{path}"))
    elif base.startswith("http"):
        session.mount(base, requests.adapters.HTTPAdapter(pool_maxsize=THREADS))
    try:
        return Transport(session=session, base=f"{base}/v{_version(session, base, where)}", where=where)
    except BaseException:
        session.close()
        raise


def _version(session: requests.Session, base: str, where: str) -> str:
    with translated(where):
        answer = session.get(f"{base}/version", timeout=(CONNECT_LIMIT, CONNECT_LIMIT))
        said = answer.json()
    version = str(cast("Mapping[str, object]", said).get("ApiVersion", "")) if isinstance(said, dict) else ""
    parts = version.split(".")
    if not answer.ok or len(parts) != 2 or not all(part.isdigit() for part in parts):  # noqa: PLR2004 (major.minor)
        raise Unavailable(f"what answers at {where} is no Docker engine ({answer.status_code}); is DOCKER_HOST right?")
    if [int(part) for part in parts] < [int(part) for part in OLDEST_API.split(".")]:
        raise Unavailable(f"Docker at {where} is too old: it speaks API {version}, {OLDEST_API} is needed; update it")
    return version


def hang_up(response: requests.Response) -> None:
    """Shut the stream's socket, which wakes the thread that reads from it; closing the response alone would not."""
    try:
        CancellableStream(iter(()), response).close()
    except CUT:
        return  # it ended by itself meanwhile
