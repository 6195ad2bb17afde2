"""The checker of L9 sees every write in the calm, and nothing else."""

from tests.faultlab.tale import Tale, simple


def _calm() -> Tale:
    """A calm from 30 to 40 s, in which the reactors say that they are there."""
    return simple().mark(30.0, "calm").mark(40.0, "stir").touch(33.0, "mcp:host:h1:seen")


def test_a_calm_in_which_only_canary_seen_and_due_are_written_is_quiet() -> None:
    """L9: what is written before and after is no matter."""
    calm = _calm().touch(34.0, "mcp:canary:h1", "set").touch(35.0, "mcp:host:h1:due", "zadd")
    assert calm.touch(29.0, "mcp:meta").touch(41.0, "mcp:meta").look(31.0, 32.0, state="ended").judged("L9") == []


def test_a_write_to_the_engine_in_the_calm_is_seen() -> None:
    """L9: as its event, or as a request on the wire, whatever came of it."""
    assert "create" in _calm().engine(35.0, "create", "c2").judged("L9")[0].text
    asked = _calm().request(35.0, "POST", "/containers/create", status=409)
    assert "POST /containers/create" in asked.judged("L9")[0].text
    assert _calm().request(29.0, "DELETE", "/containers/abc").judged("L9") == []


def test_a_write_to_redis_in_the_calm_is_seen() -> None:
    """L9: to any other key, also one that changes nothing, of a heartbeat, of a stranger, or in the audit stream."""
    for key in ("mcp:hosts", "mcp:meta", "mcp:host:h1:engine", "mcp:session:s", "mcp:session:s:heartbeat", "foreign"):
        assert [found.t for found in _calm().touch(35.0, key).judged("L9")] == [35.0], key
    assert _calm().key(35.0, "del").judged("L9") != []
    assert _calm().audit(35.0, "repaired").judged("L9") != []


def test_a_record_that_changes_in_the_calm_is_seen() -> None:
    """L9: a tombstone that is told of no more has not changed."""
    assert _calm().look(31.0, state="ended").look(32.0, session="").judged("L9") == []
    assert _calm().look(31.0, deadline=50.0).look(32.0, deadline=51.0).judged("L9") != []


def test_a_calm_in_which_nothing_was_heard_is_void() -> None:
    """The reactors write `seen` all the time: who does not hear that hears nothing."""
    deaf = simple().mark(30.0, "calm").mark(40.0, "stir")
    assert [found.check for found in deaf.judged("L9")] == ["gate"]
    assert simple().judged("L9") == []
