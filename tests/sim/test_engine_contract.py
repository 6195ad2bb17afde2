"""The simulated engine is held to a real one: the same requests, the same answers, words and events.

What this is: one set of claims on the wire, played on both. What it is not: what the product makes of an answer
(`test_engine_runtime`). It keeps this: a claim knows nothing of the engine that it is played on.
"""

import json
from collections.abc import Callable

import anyio
import pytest

from reactor.runtime.docker_client import json_lines
from tests.runtime.kits import MISSING, OVER, STUBBORN
from tests.sim.engines import LABEL, Bench, Json, Scene, on_docker, on_sim
from tests.waiting import wait_until

NOBODY = "f" * 64
Play = Callable[[Scene], None]


@pytest.fixture(params=["docker", "sim"])
def play(request: pytest.FixtureRequest) -> Play:
    """Each engine in turn."""
    if request.param == "sim":
        return on_sim
    engine, image = request.getfixturevalue("engine"), request.getfixturevalue("idle_image")
    return lambda scene: on_docker(engine, image, scene)


def test_create_takes_the_name_or_says_who_has_it(play: Play) -> None:
    """201 with an id; 409 with the holder's id for a taken name; 404 for an image that is not there."""

    async def scene(bench: Bench) -> None:
        box_id = await bench.make("a")
        assert len(box_id) == 64
        again = await bench.create("a")
        assert (again.status, box_id in again.message) == (409, True)
        assert again.message.startswith(f'Conflict. The container name "/{bench.name("a")}" is already in use by')
        without = await bench.create("b", image="no-such-image")
        assert (without.status, "No such image: no-such-image" in without.message) == (404, True)
        assert (await bench.ask("GET", f"/containers/{bench.name('b')}/json")).status == 404

    play(scene)


def test_start_says_whether_it_ran_already(play: Play) -> None:
    """204, then 304; 404 for nobody."""

    async def scene(bench: Bench) -> None:
        box_id = await bench.make("a")
        assert await bench.state(box_id) == "created"
        assert (await bench.ask("POST", f"/containers/{box_id}/start")).status == 204
        assert (await bench.ask("POST", f"/containers/{box_id}/start")).status == 304
        assert await bench.state(box_id) == "running"
        nobody = await bench.ask("POST", f"/containers/{NOBODY}/start")
        assert (nobody.status, nobody.no_container) == (404, True)

    play(scene)


def test_inspect_shows_the_same_by_id_and_by_name(play: Play) -> None:
    """Id, name, labels, state and exit code; 404 in these words for nobody."""

    async def scene(bench: Bench) -> None:
        box_id = await bench.make("a", session="s1")
        for way in (box_id, bench.name("a")):
            found = (await bench.ask("GET", f"/containers/{way}/json")).body
            labels = found["Config"]["Labels"]
            assert (found["Id"], found["Name"]) == (box_id, f"/{bench.name('a')}")
            assert (labels[LABEL], labels["session"]) == (bench.mark, "s1")
            assert (found["State"]["Status"], found["State"]["Running"], found["State"]["ExitCode"]) == (
                "created", False, 0,
            )  # fmt: skip
            assert found["NetworkSettings"]["Ports"] == {}
        nobody = await bench.ask("GET", f"/containers/{NOBODY}/json")
        assert (nobody.status, nobody.message) == (404, f"No such container: {NOBODY}")

    play(scene)


def test_the_list_shows_what_runs_and_with_all_what_does_not(play: Play) -> None:
    """Labels match exactly and all together; one without a value is matched by its name."""

    async def scene(bench: Bench) -> None:
        runs, stands = await bench.run("a", kind="x", more="1"), await bench.make("b", kind="xx")

        async def ids(*labels: str, **params: str) -> set[str]:
            return {str(one["Id"]) for one in await bench.listed(*labels, **params)}

        assert await ids() == {runs}
        assert await ids(all="1") == {runs, stands}
        assert await ids("kind=x", all="1") == {runs}
        assert await ids("kind", all="1") == {runs, stands}
        assert await ids("kind=x", "more=2", all="1") == set()
        assert await ids("kind=", all="1") == set()
        shown = {str(one["Id"]): one for one in await bench.listed(all="1")}
        assert {one["State"] for one in shown.values()} == {"running", "created"}
        assert shown[runs]["Names"] == [f"/{bench.name('a')}"]
        assert isinstance(shown[runs]["Created"], int)

    play(scene)


def test_kill_sends_a_signal_to_what_runs(play: Play) -> None:
    """204 and an end by that signal; 409 for what does not run; 404 for nobody."""

    async def scene(bench: Bench) -> None:
        box_id = await bench.run("a")
        assert (await bench.ask("POST", f"/containers/{box_id}/kill", signal="SIGTERM")).status == 204
        await bench.becomes(box_id, "exited")
        assert (await bench.ask("GET", f"/containers/{box_id}/json")).body["State"]["ExitCode"] == 143
        again = await bench.ask("POST", f"/containers/{box_id}/kill", signal="SIGTERM")
        assert (again.status, again.message.endswith(f"Container {box_id} is not running")) == (409, True)
        nobody = await bench.ask("POST", f"/containers/{NOBODY}/kill", signal="SIGTERM")
        assert (nobody.status, nobody.no_container) == (404, True)

    play(scene)


def test_a_program_that_ignores_the_stop_signal_goes_on(play: Play) -> None:
    """SIGTERM is a request, SIGKILL is not."""

    async def scene(bench: Bench) -> None:
        box_id = await bench.run("a", STUBBORN)
        async with bench.heard() as told:
            assert (await bench.ask("POST", f"/containers/{box_id}/kill", signal="SIGTERM")).status == 204
            await wait_until(lambda: "kill" in [event["Action"] for event in told])
            assert await bench.state(box_id) == "running"
            assert (await bench.ask("POST", f"/containers/{box_id}/kill", signal="SIGKILL")).status == 204
            await bench.becomes(box_id, "exited")

    play(scene)


def test_a_paused_container_counts_as_running_and_hears_the_stop_signal(play: Play) -> None:
    """The list and inspect say paused; the engine lets it go on, so that it can end."""

    async def scene(bench: Bench) -> None:
        box_id = await bench.run("a")
        bench.operator.freeze(box_id)  # pyright: ignore[reportArgumentType]
        assert await bench.state(box_id) == "paused"
        assert [one["State"] for one in await bench.listed()] == ["paused"]
        plain = await bench.ask("DELETE", f"/containers/{box_id}")
        assert (plain.status, "cannot remove a paused container" in plain.message) == (409, True)
        assert (await bench.ask("POST", f"/containers/{box_id}/kill", signal="SIGTERM")).status == 204
        await bench.becomes(box_id, "exited")

    play(scene)


def test_delete_takes_what_runs_only_by_force(play: Play) -> None:
    """409 without force; with it 204, then 404; what does not run needs none."""

    async def scene(bench: Bench) -> None:
        runs, stands = await bench.run("a"), await bench.make("b")
        plain = await bench.ask("DELETE", f"/containers/{runs}")
        assert (plain.status, plain.message.startswith(f"You cannot remove a running container {runs}.")) == (409, True)
        assert await bench.state(runs) == "running"
        assert (await bench.ask("DELETE", f"/containers/{stands}")).status == 204
        assert (await bench.ask("DELETE", f"/containers/{runs}", force="1")).status == 204
        again = await bench.ask("DELETE", f"/containers/{runs}", force="1")
        assert (again.status, again.no_container) == (404, True)
        assert (await bench.create("a")).status == 201

    play(scene)


def test_anonymous_volumes_go_only_when_that_is_said(play: Play) -> None:
    """Without `v` a removal leaves them for ever."""

    async def scene(bench: Bench) -> None:
        before = await bench.volumes()
        one = await bench.make("a")
        mine = await bench.volumes() - before
        assert len(mine) == 1
        await bench.ask("DELETE", f"/containers/{one}", force="1", v="1")
        assert not mine & await bench.volumes()
        two = await bench.make("b")
        left = await bench.volumes() - before
        await bench.ask("DELETE", f"/containers/{two}", force="1")
        assert left <= await bench.volumes()

    play(scene)


def test_of_parallel_removals_one_is_answered_204(play: Play) -> None:
    """The others hear that it is in progress, or that there is none; all removals end with it gone."""

    async def scene(bench: Bench) -> None:
        box_id = await bench.run("a")
        answers: list[tuple[int, str]] = []

        async def remove() -> None:
            answer = await bench.ask("DELETE", f"/containers/{box_id}", force="1", v="1")
            answers.append((answer.status, answer.message))

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(remove)
        said = {409: f"removal of container {box_id} is already in progress", 404: f"No such container: {box_id}"}
        others = [one for one in answers if one[0] != 204]
        assert len(others) == 5
        assert all(message == said[status] for status, message in others)
        assert (await bench.ask("GET", f"/containers/{box_id}/json")).status == 404

    play(scene)


@pytest.mark.parametrize("command, code", [(OVER, 3), (MISSING, 127)], ids=["ends", "does not exist"])
def test_a_program_that_ends_leaves_a_dead_container_that_can_be_started_again(
    play: Play, command: tuple[str, ...], code: int
) -> None:
    """Its exit code is shown, the name stays taken, a second start runs it once more."""

    async def scene(bench: Bench) -> None:
        async with bench.heard(event=["start", "die"]) as told:
            box_id = await bench.run("a", command)
            await bench.becomes(box_id, "exited")
            assert (await bench.ask("GET", f"/containers/{box_id}/json")).body["State"]["ExitCode"] == code
            assert await bench.listed() == []
            assert (await bench.create("a")).status == 409
            assert (await bench.ask("POST", f"/containers/{box_id}/start")).status == 204
            await wait_until(lambda: len(told) == 4)
        assert [event["Action"] for event in told] == ["start", "die"] * 2
        assert {event["Actor"]["Attributes"].get("exitCode") for event in told[1::2]} == {str(code)}

    play(scene)


def test_last_words_are_framed(play: Play) -> None:
    """The log is multiplexed: stream, length, data; 404 for nobody."""

    async def scene(bench: Bench) -> None:
        box_id = await bench.run("a", OVER)
        await bench.becomes(box_id, "exited")
        params = {"stdout": "1", "stderr": "1", "tail": "5"}
        assert (await bench.ask("GET", f"/containers/{box_id}/logs", **params)).body == (
            b"\x01\x00\x00\x00\x00\x00\x00\x0blast words\n"
        )
        assert (await bench.ask("GET", f"/containers/{NOBODY}/logs", **params)).status == 404

    play(scene)


def _told(events: list[Json]) -> list[tuple[str, str, str]]:
    return [(one["Action"], one["Actor"]["ID"], one["Actor"]["Attributes"]["session"]) for one in events]


def test_the_stream_tells_a_life_from_create_to_destroy(play: Play) -> None:
    """Each event names the container and carries its labels; a forced removal is a kill and a death as well."""

    async def scene(bench: Bench) -> None:
        async with bench.heard() as told:
            box_id = await bench.run("a", session="s1")
            await bench.ask("DELETE", f"/containers/{box_id}", force="1", v="1")
            await wait_until(lambda: bool(told) and told[-1]["Action"] == "destroy")
        life = ["create", "start", "kill", "die", "destroy"]
        assert _told(told) == [(action, box_id, "s1") for action in life]
        attributes: Json = told[3]["Actor"]["Attributes"]
        assert (attributes["exitCode"], attributes["name"], attributes[LABEL]) == ("137", bench.name("a"), bench.mark)
        assert all(isinstance(event["timeNano"], int) for event in told)
        assert all(event["Type"] == "container" for event in told)

    play(scene)


def test_what_happened_is_told_later_too(play: Play) -> None:
    """`since` and `until` ask for the past, with the same filters; a stream that begins in the past tells it first."""

    async def scene(bench: Bench) -> None:
        async with bench.heard() as told:
            box_id = await bench.run("a", session="s1")
            await wait_until(lambda: len(told) == 2)
        when = [int(event["timeNano"]) / 1e9 for event in told]
        between = (when[0] + when[1]) / 2
        filters = json.dumps({"label": [f"{LABEL}={bench.mark}"], "type": ["container"], "event": ["start", "die"]})
        window = {"filters": filters, "since": f"{when[0] - 1:.9f}", "until": f"{when[1] + 0.00001:.9f}"}
        answer = await bench.client.call("GET", "/events", params=window, read=json_lines)
        assert _told(answer.body) == [("start", box_id, "s1")]
        earlier = window | {"until": f"{between:.9f}"}
        assert (await bench.client.call("GET", "/events", params=earlier, read=json_lines)).body == []
        params = {"filters": filters, "since": str(int(when[0]) - 2)}
        async with bench.client.lines("GET", "/events", params=params, silence=60) as lines:
            with anyio.fail_after(20):
                assert _told([await anext(lines)]) == [("start", box_id, "s1")]

    play(scene)


def test_the_engine_says_who_it_is_and_what_time_it_is(play: Play) -> None:
    """What a host name is bound to, and the `Date` that the event stream is proved by."""

    async def scene(bench: Bench) -> None:
        info = (await bench.ask("GET", "/info")).body
        assert all(info[name] for name in ("Name", "ID", "DockerRootDir", "ServerVersion"))
        pong = await bench.ask("GET", "/_ping")
        assert (pong.status, pong.body, pong.date.endswith("GMT")) == (200, b"OK", True)

    play(scene)
