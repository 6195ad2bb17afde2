"""Images made from nothing: an idle one from the static busybox, and stand-ins for base images that are not pulled.

No registry is asked when the machine has busybox and debootstrap; elsewhere the real images are pulled.
It keeps this: an image that the engine already has under a tag is used as it is, and never replaced; of several
processes that need one, one makes it and the others wait.
"""

import fcntl
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.services.engine import IMAGE_LABEL, Engine

IDLE = "reactor-test/idle:latest"
DEBIAN = "reactor-test/debian:latest"
PYTHON = "python:3.13-slim"
CACHE = Path(__file__).parents[2] / ".cache"
DOCKERFILES = Path(__file__).parents[1] / "images"
MACHINE_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
LABEL = f"LABEL {IMAGE_LABEL}=image"
PACKAGES = "ca-certificates,python3,python3-venv,python3-pip"


@contextmanager
def _alone() -> Generator[None]:
    """Keep every other process of this clone's tests out while an image is made."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "images.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def idle(engine: Engine) -> str:
    """Return the tag of a small image with a shell and the usual tools; it sleeps unless told otherwise."""
    with _alone():
        return _idle(engine)


def _idle(engine: Engine) -> str:
    if engine.has_image(IDLE):
        return IDLE
    busybox = _static_busybox()
    if busybox is None:
        source = f'FROM busybox:stable\n{LABEL}\nCMD ["sleep", "86400"]\n'
        engine.run("build", "--tag", IDLE, "-", stdin=source.encode())
    else:
        engine.run("import", "--change", 'CMD ["sleep", "86400"]', "--change", LABEL, "-", IDLE, stdin=_root(busybox))
    return IDLE


def python_base(engine: Engine, tag: str = PYTHON) -> str:
    """Return the tag of a Python base image: the engine's own one, or a stand-in made with debootstrap.

    The stand-in has Debian's Python 3.11, `python`, `pip` that may install, and this machine's certificates and package
    index. Making it takes a minute the first time (then some seconds, from .cache/).
    """
    with _alone():
        return _python_base(engine, tag)


def _python_base(engine: Engine, tag: str) -> str:
    if engine.has_image(tag):
        return tag
    if shutil.which("debootstrap") is None:
        engine.run("pull", tag)
        return tag
    if not engine.has_image(DEBIAN):
        engine.run("import", "--change", LABEL, "-", DEBIAN, stdin=_debian())
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        shutil.copy(DOCKERFILES / "python.Dockerfile", context / "Dockerfile")
        shutil.copy(MACHINE_CERTIFICATES, context / "ca-certificates.crt")
        (context / "pip.conf").write_text(_package_index())
        engine.run("build", "--build-arg", f"BASE={DEBIAN}", "--tag", tag, name)
    return tag


def redis_base(engine: Engine, tag: str) -> str:
    """Return `tag`, which holds this machine's redis-server and redis-cli, a shell, and a user `redis`."""
    with _alone():
        return _redis_base(engine, tag)


def _redis_base(engine: Engine, tag: str) -> str:
    if engine.has_image(tag):
        return tag
    busybox, server, client = _static_busybox(), shutil.which("redis-server"), shutil.which("redis-cli")
    if busybox is None or server is None or client is None:
        engine.run("pull", tag)
        return tag
    files = [Path(server), Path(client), *_libraries(server), *_libraries(client)]
    content = _root(busybox, {str(path): path for path in files}, users=["redis:x:999:999::/data:/bin/sh"])
    changes = ['CMD ["redis-server"]', "EXPOSE 6379", "WORKDIR /data", "VOLUME /data", "USER redis", LABEL]
    engine.run("import", *(word for change in changes for word in ("--change", change)), "-", tag, stdin=content)
    return tag


def _static_busybox() -> Path | None:
    found = shutil.which("busybox")
    if sys.platform != "linux" or found is None or _libraries(found):
        return None
    return Path(found)


def _libraries(program: str) -> list[Path]:
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", done.stdout)]


def _root(busybox: Path, files: dict[str, Path] | None = None, users: list[str] | None = None) -> bytes:
    """Return a tar archive of a whole file system: busybox under each of its names, and these files."""
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", dereference=True) as archive:
        for directory, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("data", 0o777)):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        archive.add(busybox, "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(entry)
        passwd = "\n".join(["root:x:0:0::/:/bin/sh", *(users or []), "nobody:x:65534:65534::/:/bin/sh", ""]).encode()
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(passwd)
        archive.addfile(entry, io.BytesIO(passwd))
        for name, path in (files or {}).items():
            archive.add(path, name.lstrip("/"), recursive=False)
    return content.getvalue()


def _debian() -> Path:
    """Return the archive of a small Debian with Python, made once."""
    archive = CACHE / f"debian-python-{os.uname().machine}.tar"
    if archive.exists():
        return archive
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="srdebian.") as name:
        root = Path(name) / "root"
        script = (
            'debootstrap --variant=minbase --include="$1" bookworm "$2" $3 >"$2.log" 2>&1 '
            '|| { tail -n 5 "$2.log"; exit 1; }\n'
            'rm -rf "$2"/var/cache/apt/* "$2"/var/lib/apt/lists/* "$2"/usr/share/doc "$2"/usr/share/locale\n'
            'tar -C "$2" --exclude=./dev --exclude=./proc --exclude=./sys -cf "$4" .'
        )
        fresh = archive.with_suffix(f".{os.getpid()}")
        # In a mount namespace of its own: what debootstrap mounts is gone with it, even if it is killed.
        command = ["unshare", "--mount", "sh", "-c", script, "sh", PACKAGES, str(root), _debian_mirror(), str(fresh)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"debootstrap: {done.stdout}{done.stderr}")
        fresh.rename(archive)
    return archive


def _debian_mirror() -> str:
    """Return the mirror that this machine uses for Debian 12 itself; nothing: debootstrap's own choice."""
    command = ["apt-get", "indextargets", "--format", "$(CODENAME) $(ORIGIN) $(REPO_URI)"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    found = re.search(r"^bookworm Debian (\S+)$", done.stdout, re.MULTILINE)
    return found[1] if found else ""


def _package_index() -> str:
    """Return a pip.conf that names the package index this machine uses, where it names one over the network."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    lines = ["[global]", "disable-pip-version-check = true"]
    for name in ("index-url", "extra-index-url", "trusted-host", "proxy"):
        found = re.findall(rf"^\S+\.{name}='(.*)'$", listed, re.MULTILINE)
        value = " ".join(word for word in (found[-1] if found else "").split() if not word.startswith("file:"))
        if value:
            lines.append(f"{name} = {value}")
    return "\n".join([*lines, ""])
