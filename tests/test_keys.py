"""Every name in Redis and on the engine, built and parsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.keys import Keys, container_name, default_deployment
from reactor.session import Deployment, HostName, SessionId

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", fullmatch=True).map(SessionId)
KEYS = Keys("mcp")
HOST = HostName("h1")


def test_the_keys_are_those_of_the_contract() -> None:
    """Clients and operators write them by hand."""
    assert KEYS.record(SessionId("u-1")) == "mcp:session:u-1"
    assert KEYS.heartbeat(SessionId("u-1")) == "mcp:session:u-1:heartbeat"
    assert KEYS.hosts == "mcp:hosts"
    assert KEYS.due(HOST) == "mcp:host:h1:due"
    assert KEYS.seen(HOST) == "mcp:host:h1:seen"
    assert KEYS.engine(HOST) == "mcp:host:h1:engine"
    assert KEYS.events == "mcp:events"
    assert KEYS.meta == "mcp:meta"
    assert KEYS.canary(HOST) == "mcp:canary:h1"
    assert KEYS.heartbeat_channels(3) == "__keyspace@3__:mcp:session:*:heartbeat"
    assert KEYS.canary_channel(3, HOST) == "__keyspace@3__:mcp:canary:h1"


@given(IDS)
def test_an_id_comes_back_from_its_keys(session_id: SessionId) -> None:
    """Both of its keys say which session, and which of the two."""
    assert KEYS.parse_session_key(KEYS.record(session_id)) == (session_id, False)
    assert KEYS.parse_session_key(KEYS.heartbeat(session_id)) == (session_id, True)


@given(IDS, IDS)
def test_two_ids_share_no_key(one: SessionId, other: SessionId) -> None:
    """Not even an id that ends in `heartbeat`."""
    if one != other:
        assert {KEYS.record(one), KEYS.heartbeat(one)}.isdisjoint({KEYS.record(other), KEYS.heartbeat(other)})


@given(st.text())
def test_a_foreign_key_is_never_taken_for_one_of_ours(name: str) -> None:
    """What does parse is built back to the same bytes."""
    parsed = KEYS.parse_session_key(name)
    if parsed is not None:
        session_id, is_heartbeat = parsed
        assert name == (KEYS.heartbeat(session_id) if is_heartbeat else KEYS.record(session_id))


@pytest.mark.parametrize(
    "name",
    ["mcp:session:", "mcp:session::heartbeat", "mcp:session:a:b", "mcp:session:a b", "mcp:hosts", "xmcp:session:a"],
)
def test_these_are_no_session_keys(name: str) -> None:
    """Neither empty ids nor anything behind another colon."""
    assert KEYS.parse_session_key(name) is None


def test_a_container_name_tells_no_neighbour_the_id() -> None:
    """It is a hash over deployment and id, the same each time, 20 hexadecimal digits long."""
    name = container_name("mcp", Deployment("d"), SessionId("secret"))

    assert name == container_name("mcp", Deployment("d"), SessionId("secret"))
    assert "secret" not in name
    assert name.startswith("mcp-")
    assert len(name) == len("mcp-") + 20
    assert name != container_name("mcp", Deployment("e"), SessionId("secret"))
    assert name != container_name("mcp", Deployment("d"), SessionId("other"))


def test_a_deployment_that_nobody_named_is_that_of_redis_database_and_prefix() -> None:
    """Every process with the same three finds the same name."""
    name = default_deployment("localhost:6379", 0, "mcp")

    assert name == default_deployment("localhost:6379", 0, "mcp")
    assert len(name) == 12
    assert (
        len({name, default_deployment("localhost:6379", 1, "mcp"), default_deployment("localhost:6379", 0, "x")}) == 3
    )
