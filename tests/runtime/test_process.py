"""What only the process runtime does: being found again after a kill -9, and ending every process of a container."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from reactor.errors import PermissionRefused, SpawnFailed
from reactor.runtime import process_host
from reactor.runtime.process import ProcessRuntime
from reactor.runtime.process_group import MARKER
from reactor.runtime.process_store import Leader, Store
from reactor.runtime.protocol import ContainerState, Removal
from reactor.session import ContainerId
from reactor.templates import Template, parse_ready
from tests.runtime.kits import AT_ONCE, IDLE, Kit, ProcessOperator
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
CREATOR = """
import asyncio, os, pathlib, signal, sys
from reactor.runtime import process_store
from reactor.runtime.process import ProcessRuntime
from tests.runtime.kits import AT_ONCE, Kit

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

async def main(state_dir, deployment, moment):
    if moment == "before the name":
        pathlib.Path.hardlink_to = die
    if moment == "before the note":
        process_store.Store.note_leader = die
    kit = Kit(ProcessRuntime(pathlib.Path(state_dir)), None, deployment=deployment)
    container_id = await kit.run()
    if moment == "before the files":
        process_store.shutil.rmtree = die
        await kit.runtime.remove(container_id, grace=AT_ONCE)
    die()

asyncio.run(main(*sys.argv[1:]))
"""


def _killed_creator(kit: Kit, state_dir: Path, moment: str) -> None:
    """Run a program that makes a container and is killed with -9 at that moment."""
    command = [sys.executable, "-c", CREATOR, str(state_dir), kit.deployment, moment]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


def _marked(container_id: str) -> list[psutil.Process]:
    """Return the living processes of a container, by looking at all."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == container_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _stranger() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"], start_new_session=True)


@pytest.mark.parametrize("moment", ["after the start", "before the note"])
async def test_a_container_outlives_its_killed_creator_and_is_found_again(
    process: Kit, state_dir: Path, moment: str
) -> None:
    """By its note, or where the creator had no time for one, by its marker; then it can be removed."""
    _killed_creator(process, state_dir, moment)
    (found,) = await process.runtime.containers(prefix=process.prefix, deployment=process.deployment)
    assert found.running
    assert found.labels is not None
    assert (found.name, found.labels.session) == (process.spec().name, "s1")
    await process.runtime.start(found.container_id)
    assert len(_marked(found.container_id)) == 1
    assert await process.runtime.remove(found.container_id, grace=AT_ONCE) is Removal.REMOVED
    assert _marked(found.container_id) == []


async def test_a_create_killed_before_it_had_the_name_is_in_nobodys_way(process: Kit, state_dir: Path) -> None:
    """It is listed by nobody, its name is free, and its files go when they are old."""
    _killed_creator(process, state_dir, "before the name")
    (leftover,) = (state_dir / "containers").iterdir()
    assert await process.runtime.containers(prefix=process.prefix) == []
    assert await process.runtime.inspect(leftover.name) is None
    assert leftover.exists()
    os.utime(leftover, (0, 0))
    container_id = await process.run()
    await process.runtime.containers(prefix=process.prefix)
    assert [path.name for path in (state_dir / "containers").iterdir()] == [container_id]


async def test_a_removal_killed_between_name_and_files_is_over(process: Kit, state_dir: Path) -> None:
    """The processes are ended before the name is freed, so that a free name means a free id."""
    _killed_creator(process, state_dir, "before the files")
    (leftover,) = (state_dir / "containers").iterdir()
    assert _marked(leftover.name) == []
    assert await process.runtime.inspect(leftover.name) is None
    await process.run()
    await process.runtime.remove(ContainerId(leftover.name), grace=AT_ONCE)
    assert not leftover.exists()
    assert len(await process.runtime.containers(prefix=process.prefix)) == 1


async def test_a_removal_ends_every_process_of_the_container(process: Kit) -> None:
    """Children that left the group carry the marker; children without it are in the session; all ignore SIGTERM."""
    stay = "trap '' TERM; while :; do sleep 1; done"
    script = f'setsid sh -c "{stay}" & env -i sh -c "{stay}" & {stay}'
    container_id = await process.run(template=process.template(("sh", "-c", script)))
    assert isinstance(process.operator, ProcessOperator)
    leader = psutil.Process(process.operator.leader(container_id))
    await wait_until(lambda: len([child for child in leader.children(recursive=True) if child.name() == "sleep"]) == 3)
    family = [leader, *leader.children(recursive=True)]
    await process.runtime.remove(container_id, grace=timedelta(milliseconds=200))
    assert [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


async def test_what_the_leader_left_behind_is_ended_too(process: Kit) -> None:
    """A dead first process is a dead container, whatever it left running."""
    container_id = await process.run(template=process.template(("sh", "-c", "sleep 1000 & exit 0")))

    async def dead() -> bool:
        found = await process.runtime.inspect(container_id)
        return found is not None and found.state is ContainerState.DEAD

    await wait_until(dead)
    await wait_until(lambda: [one.name() for one in _marked(container_id)] == ["sleep"])
    await process.runtime.remove(container_id, grace=timedelta(seconds=5))
    assert _marked(container_id) == []


async def test_the_stop_signal_lets_a_program_end_by_itself(process: Kit, tmp_path: Path) -> None:
    """Within the grace a program may write down what it has."""
    script = f"trap 'echo bye > {tmp_path}/last; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    container_id = await process.run(template=process.template(("sh", "-c", script)))

    async def up() -> bool:
        return await process.runtime.last_output(container_id) == "up"

    await wait_until(up)
    await process.runtime.remove(container_id, grace=timedelta(seconds=20))
    assert (tmp_path / "last").read_text() == "bye\n"


async def test_a_zombie_is_dead_to_everybody(process: Kit, state_dir: Path) -> None:
    """A program that ended is not held alive by a parent that has not waited for it."""
    container_id = await process.run()
    process.operator.kill(container_id)
    other = ProcessRuntime(state_dir)

    async def dead() -> bool:
        found = await other.inspect(container_id)
        return found is not None and found.state is ContainerState.DEAD

    await wait_until(dead)


async def test_a_number_that_now_belongs_to_another_process_is_not_touched(process: Kit, state_dir: Path) -> None:
    """The note of a first process holds when it was born; a later process of that number is a stranger."""
    container_id = await process.run()
    process.operator.kill(container_id)
    with _stranger() as stranger:
        store = Store(state_dir)
        store.note_leader(container_id, Leader(pid=stranger.pid, born="another boot:1"))
        found = await process.runtime.inspect(container_id)
        assert found is not None
        assert found.state is ContainerState.DEAD
        await process.runtime.remove(container_id, grace=timedelta(seconds=1))
        assert stranger.poll() is None
        stranger.kill()


async def test_a_program_gets_its_ports_and_session_and_none_of_our_secrets(
    process: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PORT_8000 and PORT name the local port; the template's environment comes on top; ours stays here."""
    monkeypatch.setenv("REDIS_URL", "redis://:secret@localhost")
    script = "echo $PORT_8000 $PORT $PORT_9 $LEVEL $SESSION_ID x$REDIS_URL; sleep 1000"
    template = process.template(("sh", "-c", script), ports=("8000/tcp", "9"), environment={"LEVEL": "info"})
    container_id = await process.run("user-7", template)
    found = await process.runtime.inspect(container_id)
    assert found is not None
    assert found.address is not None
    first, second = found.address.ports["8000/tcp"], found.address.ports["9/tcp"]
    assert {first.host, second.host} == {"127.0.0.1"}
    assert first.port != second.port

    async def said() -> bool:
        line = f"{first.port} {first.port} {second.port} info user-7 x"
        return await process.runtime.last_output(container_id) == line

    await wait_until(said)


async def test_each_container_runs_in_a_directory_of_its_own(process: Kit, state_dir: Path) -> None:
    """What a program writes beside itself goes with its container."""
    container_id = await process.run(template=process.template(("sh", "-c", "pwd > here; echo $HOME; exec sleep 1000")))
    home = state_dir / "containers" / container_id / "work"
    await wait_until(lambda: (home / "here").exists() and (home / "here").read_text() == f"{home}\n")
    await process.runtime.remove(container_id, grace=AT_ONCE)
    assert not home.exists()


async def test_a_long_log_is_emptied(process: Kit, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that prints for ever does not fill the disk as long as somebody looks."""
    monkeypatch.setattr(process_host, "LOG_LIMIT", 1000)
    container_id = await process.run(template=process.template(("sh", "-c", "while :; do echo line; done")))
    log = state_dir / "containers" / container_id / "log"
    await wait_until(lambda: log.stat().st_size > 100_000)
    process.operator.freeze(container_id)
    await process.runtime.inspect(container_id)
    assert log.stat().st_size == 0


async def test_a_template_without_a_command_cannot_be_made(process: Kit) -> None:
    """There is no image to take one from."""
    with pytest.raises(SpawnFailed, match="no command"):
        await process.runtime.create(process.spec(template=process.template(())))


@pytest.mark.parametrize(
    "template, problem",
    [
        (Template(name="t"), "command is missing"),
        (Template(name="t", command=IDLE, ready=parse_ready("healthy")), "healthy"),
        (Template(name="t", command=IDLE, ready=parse_ready("tcp:8000")), "8000/tcp"),
        (Template(name="t", command=IDLE, ready=parse_ready("http:8000/"), ports=("8000/tcp",)), None),
        (Template(name="t", command=IDLE), None),
    ],
)
async def test_a_template_that_cannot_run_here_is_a_problem(
    process: Kit, template: Template, problem: str | None
) -> None:
    """Contradictions are found before the first acquire."""
    found = process.runtime.problems(template)
    assert (found is None) if problem is None else (found is not None and problem in found)


async def test_the_state_directory_is_private(tmp_path: Path) -> None:
    """It is made for its owner alone, and one that others may enter is refused: they could name processes to kill."""
    ProcessRuntime(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(PermissionRefused, match="chmod 700"):
        ProcessRuntime(tmp_path / "open")


async def test_the_state_directory_is_the_users_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """XDG_STATE_HOME counts, else ~/.local/state; each directory is an engine of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    first = await ProcessRuntime().engine()
    assert first.root == str(tmp_path / "xdg" / "session-reactor")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    second = await ProcessRuntime().engine()
    assert second.root == str(tmp_path / ".local" / "state" / "session-reactor")
    assert first.engine_id != second.engine_id
