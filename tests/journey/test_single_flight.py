"""Two requests for one new id never start two containers, wherever they come from."""

import json
import subprocess

from tests.journey.sidecar import World

CALLERS = 50


def test_fifty_processes_acquiring_one_new_id_get_one_container(world: World) -> None:
    """The row "SETNX before spawning": 50 concurrent acquires from separate processes, 1 container, equal answers."""
    user = world.user
    callers = [
        subprocess.Popen(
            user.command("acquire", "crowd", "--json"),
            cwd=user.directory,
            env={**user.environment, "REACTOR_ACQUIRE_TIMEOUT": "110s"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(CALLERS)
    ]
    answers: list[dict[str, object]] = []
    for caller in callers:
        out, err = caller.communicate(timeout=110)
        assert (caller.returncode, err) == (0, b""), err
        answers.append(json.loads(out))
    assert len({(answer["container_id"], answer["generation"]) for answer in answers}) == 1
    assert sum(answer["created"] is True for answer in answers) == 1
    assert world.everything() == {str(answers[0]["container_id"])}
    assert [entry["event"] for entry in world.events("crowd")] == ["started"]
