"""The Docker engine under test, seen from outside: through the `docker` command, not through the code under test.

It does not start an engine (bin/test does) and knows nothing of sessions.
It keeps this: a command that fails raises, with what the engine said.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

COMMAND_TIMEOUT_S = 600.0
IMAGE_LABEL = "session-reactor-test"


class EngineError(Exception):
    """The engine, or the docker command, said no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that answered; `host` is its address as DOCKER_HOST takes it."""

    host: str

    @classmethod
    def from_environment(cls) -> Self:
        """Return the engine that DOCKER_HOST names (or the default one); raise EngineError if none answers."""
        engine = cls(host=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
        if shutil.which("docker") is None:
            raise EngineError("the docker command is missing (on Debian: apt-get install docker.io)")
        engine.run("version", "--format", "{{.Server.Version}}")
        return engine

    def run(self, *arguments: str, stdin: bytes | Path | None = None) -> str:
        """Run one docker command and return its output without the last line end."""
        # The classic builder: the engine of Debian 12 has it, and it needs no plugin.
        environment = {**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}
        command = ["docker", *arguments]
        content = stdin.read_bytes() if isinstance(stdin, Path) else stdin or b""
        done = subprocess.run(
            command, input=content, capture_output=True, env=environment, timeout=COMMAND_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise EngineError(f"docker {arguments[0]}: {done.stderr.decode(errors='replace').strip()[-2000:]}")
        return done.stdout.decode(errors="replace").rstrip("\n")

    def containers(self, labels: Mapping[str, str] | None = None, *, running: bool = False) -> Sequence[str]:
        """Return the full IDs of the containers with these labels; all states unless `running`."""
        filters = [word for name, value in (labels or {}).items() for word in ("--filter", f"label={name}={value}")]
        everything = [] if running else ["--all"]
        return self.run("ps", "--quiet", "--no-trunc", *everything, *filters).split()

    def inspect(self, name_or_id: str) -> dict[str, Any]:
        """Return what the engine knows of one container or image; raise EngineError if it is not there."""
        answer: list[dict[str, Any]] = json.loads(self.run("inspect", name_or_id))
        return answer[0]

    def labels(self, container: str) -> dict[str, str]:
        """Return the labels of a container."""
        return cast("dict[str, str]", self.inspect(container)["Config"]["Labels"])

    def has_image(self, tag: str) -> bool:
        """Return whether the engine has this image."""
        return bool(self.run("image", "ls", "--quiet", tag))

    def remove(self, *containers: str) -> None:
        """Remove containers by force; one that is already gone is not an error."""
        for container in containers:
            try:
                self.run("rm", "--force", "--volumes", container)
            except EngineError as error:
                if "No such container" not in str(error) and "already in progress" not in str(error):
                    raise
