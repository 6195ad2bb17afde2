"""Sessions that were copied, and an engine that only answers, are what the product takes them for."""

import json
import sys

import anyio

from bench.child import Child
from bench.fake import serve
from bench.loads.fake_engine import FakeEngine
from bench.loads.flood import resp
from bench.population import Group
from bench.scene import Scene, scene
from reactor.crew import open_reader
from reactor.registry import Record
from reactor.runtime.docker_list import containers_in
from reactor.session import State
from tests.waiting import block_until


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _read(place: Scene, group: Group) -> list[object]:
    async def read() -> list[object]:
        async with open_reader(place.settings) as reader:
            found = await reader.records([group.id(n) for n in range(group.count)])
            return list(found.values())

    return anyio.run(read)


def test_a_copied_session_is_a_session_to_the_product() -> None:
    """Its record is read as one that runs, with its own generation, container and deadline."""
    with scene(_say) as place:
        place.learn()
        group = place.group(3, place.now_ms() + 1_000_000, step_ms=10)
        place.seed(group)
        records = _read(place, group)
        for n, record in enumerate(records):
            assert isinstance(record, Record)
            assert (record.state, record.generation) == (State.RUNNING, group.base + n)
            assert record.container_id == group.container_id(n)
            assert record.token == group.labels(n).token
            assert len(record.session_id) == 36
        due = place.client.zrange(f"mcp:host:{group.host}:due", 0, -1, withscores=True)
        assert due == [(group.id(n), group.deadline(n) + 1) for n in range(3)]


def test_the_product_finds_nothing_to_repair_among_copies() -> None:
    """A reactor on the no-op runtime compares both sides, and plans nothing; what is left out in one is found."""
    with scene(_say) as place:
        place.learn()
        place.seed(place.group(40, place.now_ms() + 1_000_000, age_s=600))
        with place.start_reactor(listed=True) as sidecar:
            sidecar.hear()
            assert sidecar.ask("reconcile")["planned"] == 0
        place.seed(place.group(40, place.now_ms() + 1_000_000, age_s=600, without_record=20, without_key=20))
        with place.start_reactor(listed=True) as sidecar:
            sidecar.hear()
            due = f"mcp:host:{place.learn().host}:due"
            block_until(lambda: place.client.zcard(due) == 40 + 36, 20, "those without a key have ended")


def test_the_engine_that_only_answers_lists_what_a_group_has() -> None:
    """As the product reads the list it is the group's containers; one that was removed is gone."""
    with scene(_say) as place:
        place.learn()
        group = place.group(3, place.now_ms() + 1_000_000)
    engine = FakeEngine([group], "bench")
    told = containers_in([engine.listed()], {})
    assert [(c.container_id, c.name, c.labels, c.state) for c in told] == [
        (c.container_id, c.name, c.labels, c.state) for c in group.containers()
    ]
    path = f"/v1.41/containers/{group.container_id(1)}"
    assert engine.answer("DELETE", f"{path}?force=1")[0] == 204
    assert engine.answer("GET", f"{path}/json")[0] == 404
    assert [item["Id"] for item in json.loads(engine.listed())] == [group.container_id(0), group.container_id(2)]


def test_the_product_talks_to_the_engine_that_only_answers() -> None:
    """A reactor with its own Docker client starts on it, and compares both sides."""
    with scene(_say, noop=False) as place:
        place.env["DOCKER_HOST"] = f"unix://{place.directory}/docker.sock"
        with serve(place, []):
            place.learn()
        group = place.group(20, place.now_ms() + 1_000_000, age_s=600)
        place.seed(group)
        with serve(place, [group]), place.start_reactor() as sidecar:
            sidecar.hear()
            assert sidecar.ask("reconcile")["planned"] == 0


def test_a_child_ends_with_its_block() -> None:
    """However it is left, and what it knows nothing of it says so."""
    with scene(_say) as place:
        with place.reactor(settle=False) as sidecar:
            assert isinstance(sidecar, Child)
            assert "error" in sidecar.ask("something")
        assert sidecar.process.returncode is not None


def test_a_command_is_written_as_redis_reads_it() -> None:
    """An array of bulk strings."""
    assert resp("SET", "k", "") == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"
