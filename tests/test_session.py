"""The nouns: what is an id, what a session shows of itself."""

import string
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import InvalidSessionId, ReactorError
from reactor.session import (
    Address,
    ContainerId,
    Endpoint,
    Generation,
    HostName,
    Session,
    SessionId,
    State,
    from_ms,
    iso,
    milliseconds,
    new_session_id,
    new_token,
    parse_session_id,
)

FIRST = string.ascii_letters + string.digits
REST = FIRST + "_.-"


@given(st.text(alphabet=FIRST, min_size=1, max_size=1), st.text(alphabet=REST, max_size=127))
def test_an_id_is_kept_byte_for_byte(head: str, tail: str) -> None:
    """Nothing is normalised."""
    assert parse_session_id(head + tail) == head + tail


@given(st.text())
def test_whatever_becomes_an_id_is_safe_in_a_key_a_glob_and_a_label(text: str) -> None:
    """Either it is refused, or it has only letters, digits and `_.-`, and begins with neither of these."""
    if text and len(text) <= 128 and text[0] in FIRST and set(text) <= set(REST):
        assert parse_session_id(text) == text
        return
    with pytest.raises(InvalidSessionId) as refused:
        parse_session_id(text)
    assert refused.value.exit_code == 64
    assert str(refused.value).isascii()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["", "*", "?", "[a]", "{x}", "}:lock", "..", ".a", "-a", "_a", "a/b", "a b", " a", "a\n", "a\0b", "é", "a" * 129],
)
def test_these_are_no_ids(text: str) -> None:
    """Each would mean something to a glob, a path, a shell or a key."""
    with pytest.raises(InvalidSessionId):
        parse_session_id(text)


def test_the_longest_id_has_128_characters() -> None:
    """One more is refused above."""
    assert parse_session_id("a" * 128) == "a" * 128


def test_a_made_id_is_valid_and_random() -> None:
    """It has 128 bits; a token has 64."""
    made = {new_session_id() for _ in range(100)}
    assert len(made) == 100
    assert {parse_session_id(one) for one in made} == made
    assert {len(one) for one in made} == {32}
    assert {len(new_token()) for _ in range(100)} == {16}


def _session(**changes: Any) -> Session:
    values: dict[str, Any] = {
        "session_id": SessionId("s"), "state": State.RUNNING, "generation": Generation(1_763_812_345_678_901),
        "container_id": ContainerId("c"), "host": HostName("h"), "runtime": "docker", "template": "default",
        "heartbeat_key": "k", "ttl": timedelta(minutes=15), "expires_in": timedelta(minutes=10),
        "started_at": from_ms(0), "address": None,
    }  # fmt: skip
    return Session(**values | changes)


def test_a_session_shows_what_the_json_of_the_command_line_promises() -> None:
    """Durations in milliseconds, times in ISO 8601 with Z, ports by name; `created` on acquire only."""
    address = Address(ip="10.0.0.2", ports={"8000/tcp": Endpoint(host="127.0.0.1", port=32768)})
    shown = _session(address=address, created=True).as_dict()

    assert list(shown) == [
        "session_id", "state", "generation", "container_id", "host", "runtime", "template", "heartbeat_key", "ttl_ms",
        "expires_in_ms", "started_at", "last_active", "address", "created",
    ]  # fmt: skip
    assert shown["ttl_ms"] == 900_000
    assert shown["expires_in_ms"] == 600_000
    assert shown["started_at"] == "1970-01-01T00:00:00.000Z"
    assert shown["address"] == {"ip": "10.0.0.2", "ports": {"8000/tcp": {"host": "127.0.0.1", "port": 32768}}}
    assert "created" not in _session().as_dict()
    assert _session(expires_in=None, container_id=None).as_dict()["expires_in_ms"] is None


def test_last_active_is_derived_from_what_is_left() -> None:
    """Now, less the TTL, plus the rest; never before the start, and the start where there is no heartbeat."""
    before = datetime.now(UTC)
    derived = _session().last_active
    after = datetime.now(UTC)

    assert before - timedelta(minutes=5) <= derived <= after - timedelta(minutes=5)
    assert _session(started_at=after).last_active == after
    assert _session(expires_in=None).last_active == from_ms(0)


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_redis_clock_readings_are_shown_to_the_millisecond(epoch_ms: int) -> None:
    """Reading and showing lose nothing."""
    assert datetime.fromisoformat(iso(from_ms(epoch_ms))).timestamp() * 1000 == pytest.approx(epoch_ms, abs=0.5)


def test_milliseconds_are_rounded_down() -> None:
    """A TTL is never made longer."""
    assert milliseconds(timedelta(microseconds=1999)) == 1


def test_every_error_has_an_exit_code_of_the_contract() -> None:
    """And a docstring that says what it means."""

    def family(kind: type[ReactorError]) -> list[type[ReactorError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in family(child))]

    for kind in family(ReactorError):
        assert kind.exit_code in {1, 64, 69, 70, 75, 77, 78}
        assert kind.__doc__
