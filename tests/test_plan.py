"""The plan as a table: each finding of a reconcile with its action, and everything that is no finding."""

from dataclasses import replace
from datetime import timedelta

import pytest

from reactor.errors import ForeignData
from reactor.plan import Action, Kind, PlanLine, plan
from reactor.session import ContainerId, Deployment, Generation, HostName, SessionId, State
from tests.protocol.views import (
    C1,
    C2,
    DEAD,
    NOW_MS,
    OLD,
    OLDER,
    OTHER,
    STOPPED,
    YOUNG,
    Row,
    S,
    before,
    container,
    record,
    view,
)

CONTAINERS = [
    Row(id="a container without our labels", containers=[replace(container(), labels=None)]),
    Row(
        id="another deployment's, without a record", containers=[container(deployment=Deployment("e"))],
        expected=(Action.IGNORE, Kind.FOREIGN),
    ),
    Row(
        id="another deployment's, from another database", containers=before(deployment=Deployment("e")),
        expected=(Action.IGNORE, Kind.FOREIGN),
    ),
    Row(id="no record, this database", containers=[container()], expected=(Action.REMOVE, Kind.ORPHAN)),
    Row(id="no record, this database, young", containers=[container(YOUNG)], expected=(Action.REMOVE, Kind.ORPHAN)),
    Row(
        id="no record, this database, stopped", containers=[container(state=STOPPED)],
        expected=(Action.REMOVE, Kind.ORPHAN),
    ),
    Row(
        id="no record, and no database id", containers=[container()], view={"db": None},
        expected=(Action.WAIT, Kind.ORPHAN),
    ),
    Row(id="no record, another database, young", containers=before(YOUNG), expected=(Action.WAIT, Kind.ORPHAN)),
    Row(
        id="no record, another database, young, stopped", containers=before(YOUNG, state=STOPPED),
        expected=(Action.WAIT, Kind.ORPHAN),
    ),
    Row(id="no record, another database, old", containers=before(), expected=(Action.ADOPT, Kind.ORPHAN)),
    Row(
        id="no record, another database, old, stopped", containers=before(state=STOPPED),
        expected=(Action.REMOVE, Kind.ORPHAN),
    ),
    Row(id="its own running record", containers=[container()], found=record()),
    Row(id="its own record, from before a restart", containers=before(), found=record()),
    Row(id="its own starting record", containers=[container()], found=record(State.STARTING)),
    Row(id="its own ending record", containers=[container()], found=record(State.ENDING)),
    Row(
        id="its own record names another container, young", containers=[container(YOUNG)],
        found=record(generation=YOUNG, container_id=C2), view={"inspected": {C2: container(YOUNG)}},
        expected=(Action.WAIT, Kind.DUPLICATE),
    ),
    Row(
        id="its own record names another container, old", containers=[container()], found=record(container_id=C2),
        view={"inspected": {C2: container()}}, expected=(Action.REMOVE, Kind.DUPLICATE),
    ),
    Row(
        id="its own ended record", containers=[container()], found=record(State.ENDED),
        expected=(Action.REMOVE, Kind.STALE_GENERATION),
    ),
    Row(
        id="its own ended record, from before a restart", containers=before(), found=record(State.ENDED),
        expected=(Action.REMOVE, Kind.STALE_GENERATION),
    ),
    *(
        Row(
            id=f"a newer {state.value} record", containers=[container(OLDER)],
            found=record(state, token=OTHER, container_id=C2), view={"inspected": {C2: container()}},
            expected=(Action.REMOVE, Kind.STALE_GENERATION),
        )
        for state in State
    ),
    *(
        Row(
            id=f"a newer {state.value} record, runs since before a data loss", containers=before(OLDER),
            found=record(state, token=OTHER), expected=(Action.WAIT, Kind.ORPHAN),
        )
        for state in (State.STARTING, State.ENDING)
    ),
    Row(
        id="a newer ended record, runs since before a data loss", containers=before(OLDER),
        found=record(State.ENDED, token=OTHER), expected=(Action.ADOPT, Kind.ORPHAN),
    ),
    Row(
        id="a newer ended record, runs since before a data loss, young", containers=before(YOUNG),
        found=record(State.ENDED, Generation(YOUNG + 1), token=OTHER), expected=(Action.WAIT, Kind.ORPHAN),
    ),
    Row(
        id="a newer running record, runs since before a data loss", containers=before(OLDER),
        found=record(token=OTHER, container_id=C2), view={"inspected": {C2: container()}},
        expected=(Action.REMOVE, Kind.STALE_GENERATION),
    ),
    Row(
        id="a newer record, from before a data loss, stopped, old", containers=before(OLDER, state=STOPPED),
        found=record(State.STARTING, token=OTHER), expected=(Action.REMOVE, Kind.STALE_GENERATION),
    ),
    Row(
        id="a newer record, from before a data loss, stopped, young", containers=before(YOUNG, state=STOPPED),
        found=record(State.STARTING, Generation(YOUNG + 1), token=OTHER), expected=(Action.WAIT, Kind.ORPHAN),
    ),
    *(
        Row(
            id=f"an older {state.value} record, {age}", containers=[container(generation)],
            found=record(state, OLDER, token=OTHER, container_id=C2), view={"inspected": {C2: container()}},
            expected=(action, Kind.DUPLICATE),
        )
        for state in (State.RUNNING, State.ENDED)
        for age, generation, action in (("young", YOUNG, Action.WAIT), ("old", OLD, Action.REMOVE))
    ),
    *(
        Row(
            id=f"an older {state.value} record: a spawn may be in flight", containers=[container()],
            found=record(state, OLDER, token=OTHER),
        )
        for state in (State.STARTING, State.ENDING)
    ),
    Row(
        id="an older ended record, runs since before a rewind, old", containers=before(),
        found=record(State.ENDED, OLDER, token=OTHER), expected=(Action.ADOPT, Kind.ORPHAN),
    ),
    Row(
        id="an older ended record, runs since before a rewind, young", containers=before(YOUNG),
        found=record(State.ENDED, OLDER, token=OTHER), expected=(Action.WAIT, Kind.ORPHAN),
    ),
    Row(
        id="an older running record, runs since before a rewind", containers=before(),
        found=record(State.RUNNING, OLDER, token=OTHER, container_id=C2), view={"inspected": {C2: container()}},
        expected=(Action.WAIT, Kind.ORPHAN),
    ),
    Row(
        id="an equal generation of another token, old", containers=[container()],
        found=record(token=OTHER, container_id=C2), view={"inspected": {C2: container()}},
        expected=(Action.REMOVE, Kind.DUPLICATE),
    ),
    Row(
        id="an unreadable record", containers=[container()], found=ForeignData("schema 9"),
        expected=(Action.IGNORE, Kind.FOREIGN),
    ),
]  # fmt: skip

RECORDS = [
    Row(id="all is well", found=record(), containers=[container()]),
    Row(id="a tombstone", found=record(State.ENDED)),
    Row(id="another host's session", found=record(host=HostName("h2"), heartbeat_left=None), view={"due": frozenset()}),
    Row(id="an unreadable one", found=ForeignData("schema 9"), expected=(Action.IGNORE, Kind.FOREIGN)),
    Row(id="a tombstone for ever", found=record(State.ENDED, has_ttl=False), expected=(Action.REPAIR, Kind.IMMORTAL)),
    *(
        Row(
            id=f"a {state.value} record with a TTL", found=record(state, has_ttl=True),
            expected=(Action.REPAIR, Kind.STUCK),
        )
        for state in (State.STARTING, State.RUNNING, State.ENDING)
    ),
    *(
        Row(
            id=f"a {state.value} record that nobody would look at", found=record(state), view={"due": frozenset()},
            expected=(Action.REPAIR, Kind.STUCK),
        )
        for state in (State.STARTING, State.RUNNING, State.ENDING)
    ),
    *(
        Row(id=f"a {state.value} record under a lease", found=record(state, lease_until_ms=NOW_MS))
        for state in (State.STARTING, State.ENDING)
    ),
    *(
        Row(
            id=f"a {state.value} record after its lease", found=record(state, lease_until_ms=NOW_MS - 1),
            expected=(Action.END, Kind.STUCK),
        )
        for state in (State.STARTING, State.ENDING)
    ),
    Row(id="its container is gone", found=record(), view={"inspected": {C1: None}}, expected=(Action.END, Kind.LOST)),
    Row(id="its container is dead", found=record(), view={"inspected": {C1: DEAD}}, expected=(Action.END, Kind.DEAD)),
    Row(id="its container runs, though not listed", found=record(), view={"inspected": {C1: container()}}),
    Row(
        id="gone, and without a heartbeat", found=record(heartbeat_left=None), view={"inspected": {C1: None}},
        expected=(Action.END, Kind.LOST),
    ),
    Row(id="no heartbeat key", found=record(heartbeat_left=None), expected=(Action.END, Kind.EXPIRED)),
    Row(id="its end was asked for", found=record(end_requested=True), expected=(Action.END, Kind.STUCK)),
    Row(id="a heartbeat key for ever", found=record(immortal=True), expected=(Action.REPAIR, Kind.IMMORTAL)),
]  # fmt: skip


@pytest.mark.parametrize("row", [*CONTAINERS, *RECORDS], ids=lambda row: row.id)
def test_each_finding_has_its_action(row: Row) -> None:
    """One line with a reason for a person, or none."""
    lines = plan(view(row))

    assert [(line.action, line.kind) for line in lines] == ([] if row.expected is None else [row.expected])
    assert all(line.reason and line.session_id == S for line in lines)


def test_every_action_and_kind_has_a_row() -> None:
    """The table leaves no word of the contract out."""
    seen = {row.expected for row in [*CONTAINERS, *RECORDS] if row.expected is not None}

    assert {action for action, _ in seen} == set(Action)
    assert {kind for _, kind in seen} == set(Kind)


def test_a_view_with_nothing_in_it_yields_nothing() -> None:
    """No container, no record, no plan."""
    assert plan(view(Row(id="empty"))) == []


def test_a_heartbeat_key_without_a_record_is_removed() -> None:
    """It names no container, so the brake does not count it."""
    (line,) = plan(view(Row(id="stray", view={"strays": frozenset({S})})))

    assert (line.action, line.kind, line.container_id, line.unasked) == (Action.REMOVE, Kind.ORPHAN, None, False)


def test_lines_are_ordered_by_session_container_and_kind() -> None:
    """Two plans over the same view are the same, whatever the order in which it was read."""
    found = {SessionId(name): record(session_id=SessionId(name), heartbeat_left=None, immortal=True) for name in "ba"}
    containers = [replace(container(session=SessionId("c")), container_id=ContainerId(name)) for name in ("z", "y")]
    lines = plan(view(Row(id="many", containers=containers, view={"records": found, "due": frozenset("ab")})))

    assert [(line.session_id, line.container_id) for line in lines] == [
        ("a", "c1"),
        ("b", "c1"),
        ("c", "y"),
        ("c", "z"),
    ]


def test_one_record_may_need_several_repairs() -> None:
    """Each is a line of its own."""
    lines = plan(view(Row(id="x", found=record(has_ttl=True, immortal=True), view={"due": frozenset()})))

    assert [(line.action, line.kind) for line in lines] == [
        (Action.REPAIR, Kind.IMMORTAL),
        (Action.REPAIR, Kind.STUCK),
        (Action.REPAIR, Kind.STUCK),
    ]


def test_the_brake_counts_what_redis_did_not_ask_for() -> None:
    """Orphans, stale ones, duplicates and the lost; not what expired, what died, what is repaired or only looked at."""
    lines = [line for row in [*CONTAINERS, *RECORDS] for line in plan(view(row))]
    counted = {(line.action, line.kind) for line in lines if line.unasked}

    assert counted == {
        (Action.REMOVE, Kind.ORPHAN),
        (Action.REMOVE, Kind.STALE_GENERATION),
        (Action.REMOVE, Kind.DUPLICATE),
        (Action.END, Kind.LOST),
    }


def test_waiting_and_foreign_things_are_no_drift() -> None:
    """A dry run that finds only these says that there is none."""
    for row in [*CONTAINERS, *RECORDS]:
        for line in plan(view(row)):
            assert line.is_drift is (line.action not in (Action.WAIT, Action.IGNORE))


def test_a_line_shows_what_the_json_of_the_command_line_promises() -> None:
    """Age in seconds, null where it is not known."""
    line = PlanLine(
        action=Action.REMOVE, kind=Kind.ORPHAN, session_id=S, reason="why", age=timedelta(milliseconds=1500)
    )

    assert line.as_dict() == {
        "action": "remove", "kind": "orphan", "session_id": "s", "container_id": None, "generation": None,
        "reason": "why", "age_s": 1.5,
    }  # fmt: skip
