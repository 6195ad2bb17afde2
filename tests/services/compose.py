"""`docker compose`, as a user types it: the machine's own, else the plugin of a Debian package, put into .cache/.

It does not install anything on the machine, and does not know what is composed.
It keeps this: a command that fails raises, with what compose said; the mirror is the one this machine uses itself.
"""

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.services.engine import Engine

COMMAND_TIMEOUT_S = 600.0
SUITE = "trixie"
"""The Debian release whose package holds the plugin, which needs none of that release's libraries."""
PACKAGE = "docker-compose"
PLUGIN = Path("usr/libexec/docker/cli-plugins/docker-compose")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CACHE = Path(__file__).parents[2] / ".cache" / "compose"


class ComposeError(Exception):
    """Compose, or the way to it, said no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose:
    """One project: compose files, a name, and the variables they take. Runs in the directory of the first file."""

    engine: Engine
    project: str
    files: tuple[Path, ...]
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> str:
        """Run `docker compose ARGUMENTS` and return its output without the last line end."""
        chosen = [word for file in self.files for word in ("--file", str(file))]
        done = subprocess.run(
            ["docker", "compose", "--project-name", self.project, *chosen, *arguments],
            cwd=self.files[0].parent,
            env={
                **os.environ,
                **_with_plugin(),
                # The classic builder: it needs no further plugin.
                "DOCKER_BUILDKIT": "0",
                "DOCKER_HOST": self.engine.host,
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr + done.stdout).strip()[-4000:]
            raise ComposeError(f"docker compose {' '.join(arguments)}: exit {done.returncode}\n{said}")
        return done.stdout.rstrip("\n")


def _with_plugin() -> dict[str, str]:
    """Return what the environment needs so that `docker compose` is there."""
    if _answers({}):
        return {}
    added = {"DOCKER_CONFIG": str(CACHE)}
    if not _answers(added):
        _fetch(CACHE / "cli-plugins" / PLUGIN.name)
        if not _answers(added):
            raise ComposeError("the plugin from Debian does not run here: install Docker Compose")
    return added


def _answers(added: Mapping[str, str]) -> bool:
    done = subprocess.run(
        ["docker", "compose", "version"], env={**os.environ, **added}, capture_output=True, check=False
    )
    return done.returncode == 0


def _fetch(target: Path) -> None:
    """Unpack the plugin to `target`, through an apt that knows nothing of this machine but its mirror."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="srcompose.") as name:
        root = Path(name)
        configuration = _private_apt(root)
        _must("apt-get", "-c", str(configuration), "update", cwd=root)
        _must("apt-get", "-c", str(configuration), "download", PACKAGE, cwd=root)
        (package,) = root.glob("*.deb")
        _must("dpkg-deb", "-x", str(package), "unpacked", cwd=root)
        fresh = target.with_suffix(f".{os.getpid()}")
        fresh.write_bytes((root / "unpacked" / PLUGIN).read_bytes())
        fresh.chmod(0o755)
        fresh.rename(target)


def _private_apt(root: Path) -> Path:
    """Return an apt configuration whose sources, lists, status and cache all lie in `root`."""
    for directory in ("sources", "lists/partial", "cache/archives/partial"):
        (root / directory).mkdir(parents=True)
    (root / "status").touch()
    (root / "sources" / "debian.sources").write_text(
        f"Types: deb\nURIs: {_mirror()}\nSuites: {SUITE}\nComponents: main\nSigned-By: {KEYRING}\n"
    )
    configuration = root / "apt.conf"
    configuration.write_text(
        f'Dir::State::lists "{root}/lists";\n'
        f'Dir::State::status "{root}/status";\n'
        f'Dir::Cache "{root}/cache";\n'
        'Dir::Etc::sourcelist "/dev/null";\n'
        f'Dir::Etc::sourceparts "{root}/sources";\n'
        'Dir::Etc::preferencesparts "/dev/null";\n'
        'Acquire::Languages "none";\n'
        'APT::Sandbox::User "root";\n'
    )
    return configuration


def _mirror() -> str:
    """Return the mirror from which this machine takes Debian."""
    listed = ""
    if KEYRING.exists():
        listed = _must("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)")
    found = re.search(r"^Debian Debian (\S+)$", listed, re.MULTILINE)
    if found is None:
        raise ComposeError(f"docker compose is missing on this {platform.system()}: install the Docker Compose plugin")
    return found[1]


def _must(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise ComposeError(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return done.stdout
