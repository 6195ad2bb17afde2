"""What a killed engine does to its own containers is told from what anybody else does to a decoy."""

import json
from typing import Any

from faultlab.decoys import outlived


def _described(*, running: bool = True, **more: Any) -> str:
    state = {"Running": running, "Status": "running", "Pid": 7, "ExitCode": 0, "FinishedAt": "", "Paused": False}
    return json.dumps({"Id": "d", "Name": "/decoy", "State": state | more.pop("state", {}), **more})


DEAD = {"Running": False, "Status": "exited", "Pid": 0, "ExitCode": 137, "FinishedAt": "now"}


def test_a_program_that_died_with_its_engine_is_explained() -> None:
    """D23: the fields that tell of its death, and no others."""
    assert outlived(_described(), _described())
    assert outlived(_described(), _described(state=DEAD))
    assert not outlived(_described(), _described(state={**DEAD, "Paused": True}))


def test_what_a_killed_engine_does_not_do_is_seen() -> None:
    """S3, D23: a decoy that is renamed, removed, or started."""
    assert not outlived(_described(), _described(state=DEAD, Name="/other"))
    assert not outlived(_described(), "status 404")
    created = _described(running=False, state={"Status": "created", "Pid": 0})
    assert outlived(created, created)
    assert not outlived(created, _described())
