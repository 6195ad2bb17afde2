"""What every runtime promises, proved on the Docker engine, on local processes, and on the fake that stands in.

What this is: one suite for all three. What it is not: what only one of them does. It keeps this: a flow that is right
with the fake meets the same answers from the real ones.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from reactor.errors import SpawnFailed
from reactor.ready import wait_ready
from reactor.runtime.protocol import ContainerGone, ContainerState, NameTaken, Removal
from reactor.session import ContainerId, SessionId
from reactor.templates import Ready, ReadyKind
from tests.runtime.kits import AT_ONCE, MISSING, OVER, STUBBORN, Kit
from tests.waiting import wait_until

STARTED = Ready(kind=ReadyKind.STARTED)


async def _is(kit: Kit, container_id: ContainerId, state: ContainerState) -> bool:
    found = await kit.runtime.inspect(container_id)
    return found is not None and found.state is state


async def test_a_created_container_is_there_and_does_not_run(kit: Kit) -> None:
    """Create alone starts nothing; the container is found by id and by name, with its labels."""
    spec = kit.spec()
    container_id = await kit.runtime.create(spec)
    found = await kit.runtime.inspect(container_id)
    assert found is not None
    assert found.state is ContainerState.CREATED
    assert not found.running
    assert (found.container_id, found.name, found.labels) == (container_id, spec.name, spec.labels)
    assert abs(datetime.now(UTC) - found.created_at) < timedelta(minutes=5)
    assert await kit.runtime.inspect(spec.name) == found


async def test_a_started_container_runs_and_a_second_start_changes_nothing(kit: Kit) -> None:
    """Start is idempotent."""
    container_id = await kit.run()
    await kit.runtime.start(container_id)
    assert await _is(kit, container_id, ContainerState.RUNNING)
    assert (await wait_ready(kit.runtime, container_id, STARTED, deadline=anyio.current_time() + 30)).running


async def test_what_is_not_there_is_none(kit: Kit) -> None:
    """An unknown id and an unknown name are both gone, which is an answer and no error."""
    assert await kit.runtime.inspect("f" * 64) is None
    assert await kit.runtime.inspect("mcp-no-such-name") is None


async def test_a_taken_name_tells_its_holder(kit: Kit) -> None:
    """The name is the mutex against a second spawn: the answer says who has it."""
    container_id = await kit.runtime.create(kit.spec())
    with pytest.raises(NameTaken) as taken:
        await kit.runtime.create(kit.spec())
    assert taken.value.holder == container_id


async def test_twenty_parallel_creates_of_one_name_make_one_container(kit: Kit) -> None:
    """Exactly one caller gets a container, and all others learn its id."""
    made: list[ContainerId] = []
    taken: list[ContainerId | None] = []

    async def create() -> None:
        try:
            made.append(await kit.runtime.create(kit.spec()))
        except NameTaken as error:
            taken.append(error.holder)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(create)
    assert len(made) == 1
    assert set(taken) <= {made[0], None}
    assert len(taken) == 19
    assert [
        one.container_id for one in await kit.runtime.containers(prefix=kit.prefix, deployment=kit.deployment)
    ] == made


async def test_only_exactly_matching_labels_are_listed(kit: Kit) -> None:
    """Another prefix, deployment or session is not ours, however similar; running or not does not matter."""
    wanted = await kit.runtime.create(kit.spec("s1"))
    running = await kit.run("s10")
    others = [
        kit.labels("s1", deployment=f"{kit.deployment}2"),
        kit.labels("s1", prefix="other"),
        kit.labels("s1", prefix=f"{kit.prefix}x"),
    ]
    for labels in others:
        await kit.runtime.create(kit.spec(labels=labels))
    found = await kit.runtime.containers(prefix=kit.prefix, deployment=kit.deployment)
    assert {one.container_id for one in found} == {wanted, running}
    of_session = await kit.runtime.containers(prefix=kit.prefix, deployment=kit.deployment, session_id=SessionId("s1"))
    assert [one.container_id for one in of_session] == [wanted]
    assert of_session[0].labels is not None
    assert (of_session[0].address, of_session[0].exit_code) == (None, None)


async def test_a_removed_container_is_gone_and_its_name_is_free(kit: Kit) -> None:
    """Remove answers when it is over: inspect says none, a second removal finds nothing, the name can be used."""
    container_id = await kit.run()
    assert await kit.runtime.remove(container_id, grace=AT_ONCE) is Removal.REMOVED
    assert await kit.runtime.inspect(container_id) is None
    assert await kit.runtime.remove(container_id, grace=AT_ONCE) is Removal.ABSENT
    assert await kit.runtime.create(kit.spec()) != container_id


async def test_a_container_that_never_started_can_be_removed(kit: Kit) -> None:
    """A spawn that was lost between create and start leaves nothing behind."""
    container_id = await kit.runtime.create(kit.spec())
    assert await kit.runtime.remove(container_id, grace=timedelta(seconds=5)) is Removal.REMOVED
    assert await kit.runtime.inspect(container_id) is None


@pytest.mark.parametrize("grace", [AT_ONCE, timedelta(seconds=1)], ids=["at once", "with grace"])
async def test_of_ten_parallel_removals_exactly_one_removes(kit: Kit, grace: timedelta) -> None:
    """All return only when the container is gone, and one of them did it."""
    container_id = await kit.run()
    answers: list[Removal] = []

    async def remove() -> None:
        answers.append(await kit.runtime.remove(container_id, grace=grace))
        assert await kit.runtime.inspect(container_id) is None

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(remove)
    assert sorted(answers) == [Removal.ABSENT] * 9 + [Removal.REMOVED]


async def test_a_late_start_of_a_removed_container_meets_nothing(kit: Kit) -> None:
    """The fence between create and start holds: who was overtaken cannot bring a container back."""
    container_id = await kit.runtime.create(kit.spec())
    await kit.runtime.remove(container_id, grace=AT_ONCE)
    with pytest.raises(ContainerGone):
        await kit.runtime.start(container_id)
    assert await kit.runtime.inspect(container_id) is None


async def test_a_start_beside_a_removal_leaves_nothing(kit: Kit) -> None:
    """Whichever comes first, the container is gone in the end."""
    for _ in range(5):
        container_id = await kit.runtime.create(kit.spec())

        async def start(container_id: ContainerId = container_id) -> None:
            try:
                await kit.runtime.start(container_id)
            except ContainerGone:
                return

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start)
            await kit.runtime.remove(container_id, grace=AT_ONCE)
        assert await kit.runtime.inspect(container_id) is None


async def test_a_program_that_ignores_the_stop_signal_is_removed_after_the_grace(kit: Kit) -> None:
    """SIGTERM is a request, SIGKILL is not."""
    container_id = await kit.run(template=kit.template(STUBBORN))
    assert await kit.runtime.remove(container_id, grace=timedelta(milliseconds=300)) is Removal.REMOVED
    assert await kit.runtime.inspect(container_id) is None


async def test_a_frozen_container_counts_as_running_and_is_removed(kit: Kit) -> None:
    """Paused is not dead."""
    container_id = await kit.run()
    kit.operator.freeze(container_id)
    assert await _is(kit, container_id, ContainerState.RUNNING)
    assert await kit.runtime.remove(container_id, grace=timedelta(milliseconds=300)) is Removal.REMOVED
    assert await kit.runtime.inspect(container_id) is None


async def test_a_program_that_ends_at_once_is_told_with_its_exit_code_and_last_words(kit: Kit) -> None:
    """The spawn fails with what a person needs to see; the container is still there, to be removed."""
    container_id = await kit.run(template=kit.template(OVER))
    with pytest.raises(SpawnFailed, match=r"exit code 3.*last words"):
        await wait_ready(
            kit.runtime, container_id, Ready(kind=ReadyKind.TCP, port=9), deadline=anyio.current_time() + 30
        )
    found = await kit.runtime.inspect(container_id)
    assert found is not None
    assert (found.state, found.exit_code, found.address) == (ContainerState.DEAD, 3, None)
    with pytest.raises(NameTaken):
        await kit.runtime.create(kit.spec())
    assert await kit.runtime.remove(container_id, grace=timedelta(seconds=1)) is Removal.REMOVED


async def test_a_command_that_does_not_exist_fails_the_spawn_and_leaves_nothing_once_removed(kit: Kit) -> None:
    """An engine may say so at start, or a moment later: in both cases it is SpawnFailed."""
    container_id = await kit.runtime.create(kit.spec(template=kit.template(MISSING)))
    never = Ready(kind=ReadyKind.TCP, port=9)

    async def spawn() -> None:
        await kit.runtime.start(container_id)
        await wait_ready(kit.runtime, container_id, never, deadline=anyio.current_time() + 30)

    with pytest.raises(SpawnFailed):
        await spawn()
    assert await kit.runtime.remove(container_id, grace=AT_ONCE) is Removal.REMOVED
    assert await kit.runtime.containers(prefix=kit.prefix, deployment=kit.deployment) == []


async def test_a_killed_container_is_dead_but_still_there(kit: Kit) -> None:
    """Dead is not gone: the name stays taken until somebody removes it."""
    container_id = await kit.run()
    kit.operator.kill(container_id)
    await wait_until(lambda: _is(kit, container_id, ContainerState.DEAD))
    found = await kit.runtime.inspect(container_id)
    assert found is not None
    assert found.exit_code == 137
    assert "137" in found.detail


async def test_events_tell_starts_and_deaths_of_our_deployment_only(kit: Kit) -> None:
    """A listener learns of its own containers, and of nobody else's."""
    async with kit.runtime.events(prefix=kit.prefix, deployment=kit.deployment) as events:
        other = await kit.runtime.create(kit.spec(labels=kit.labels(deployment=f"{kit.deployment}2")))
        await kit.runtime.start(other)
        container_id = await kit.run("s7")
        with anyio.fail_after(20):
            first = await anext(events)
            assert (first.container_id, first.session_id, first.started) == (container_id, SessionId("s7"), True)
            kit.operator.kill(container_id)
            second = await anext(events)
            assert (second.container_id, second.session_id, second.started) == (container_id, SessionId("s7"), False)


async def test_a_removal_is_told_as_a_death(kit: Kit) -> None:
    """Whoever removes a running container, a listener hears of it."""
    container_id = await kit.run()
    async with kit.runtime.events(prefix=kit.prefix, deployment=kit.deployment) as events:
        await kit.runtime.remove(container_id, grace=AT_ONCE)
        with anyio.fail_after(20):
            async for event in events:
                if not event.started:
                    assert event.container_id == container_id
                    break


async def test_a_silent_event_stream_closes_at_once(kit: Kit) -> None:
    """Shutting down never waits for an event: neither leaving the body nor a cancel in it hangs."""
    with anyio.fail_after(20):
        async with kit.runtime.events(prefix=kit.prefix, deployment=kit.deployment):
            pass
        with anyio.move_on_after(0.05) as scope:
            async with kit.runtime.events(prefix=kit.prefix, deployment=kit.deployment) as events:
                await anext(events)
        assert scope.cancelled_caught


async def test_an_error_inside_the_event_listener_leaves_as_it_is(kit: Kit) -> None:
    """The caller meets its own exception, not a group around it."""
    with pytest.raises(KeyError, match="mine"):
        async with kit.runtime.events(prefix=kit.prefix, deployment=kit.deployment):
            raise KeyError("mine")


async def test_the_engine_is_the_same_at_every_look(kit: Kit) -> None:
    """A host name is bound to this identity, so it may not change by itself."""
    first = await kit.runtime.engine()
    assert first == await kit.runtime.engine()
    assert first.engine_id
    assert first.name
    assert first.runtime == kit.runtime.name


async def test_two_sessions_have_two_containers(kit: Kit) -> None:
    """Removing one leaves the other alone."""
    one, two = await kit.run("a"), await kit.run("A")
    await kit.runtime.remove(one, grace=AT_ONCE)
    assert await _is(kit, two, ContainerState.RUNNING)
    spec = kit.spec("A")
    found = await kit.runtime.inspect(spec.name)
    assert found is not None
    assert found.labels is not None
    assert replace(found.labels, token=spec.labels.token) == spec.labels


async def test_closing_twice_is_fine_and_leaves_containers_alone(kit: Kit) -> None:
    """Letting go of an engine ends nothing."""
    container_id = await kit.run()
    await kit.runtime.aclose()
    await kit.runtime.aclose()
    assert await _is(kit, container_id, ContainerState.RUNNING)
