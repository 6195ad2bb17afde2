"""The checker of S4 sees what it is there for, and nothing else."""

from tests.faultlab.tale import Tale

C1 = "/containers/" + "c1" * 32


def test_a_container_that_was_removed_twice_is_seen() -> None:
    """S4: two `destroy` of one container."""
    assert [found.check for found in Tale().born(0.0).removed(1.0).removed(2.0).judged("S4")] == ["S4"]
    assert Tale().born(0.0).removed(1.0).judged("S4") == []


def test_two_hands_at_one_container_are_seen() -> None:
    """S4: two reactors that both kill, both remove, or one of which kills what the other removes."""
    for method, path in (("DELETE", C1), ("POST", f"{C1}/kill")):
        tale = Tale().request(1.0, method, path).request(1.05, "DELETE", C1, door="r2", status=409)
        assert [found.check for found in tale.judged("S4")] == ["S4"]


def test_one_hand_after_the_other_is_none() -> None:
    """S4: the same door repeats, another one comes later, another container, another request, or data was lost."""
    first = Tale().request(1.0, "DELETE", C1)
    assert first.request(1.05, "DELETE", C1).request(1.2, "DELETE", C1, door="r2", status=404).judged("S4") == []
    other = "/containers/" + "c2" * 32
    assert Tale().request(1.0, "DELETE", C1).request(1.05, "DELETE", other, door="r2").judged("S4") == []
    assert Tale().request(1.0, "DELETE", C1).request(1.05, "POST", f"{C1}/start", door="r2").judged("S4") == []
    both = Tale().request(1.0, "DELETE", C1).request(1.05, "DELETE", C1, door="r2", status=409)
    assert both.fault(0.9, 1.5, "loses").judged("S4") == []


def test_after_an_unclear_answer_another_hand_may_probe() -> None:
    """S4, D6: a conflict, a failure, or no answer at all; a clear one that came before explains nothing."""
    for status, allowed in ((0, True), (409, True), (500, True), (204, False), (404, False)):
        tale = Tale().request(0.5, "DELETE", C1, status=status)
        tale.request(1.0, "DELETE", C1).request(1.05, "DELETE", C1, door="r2", status=409)
        assert (tale.judged("S4") == []) is allowed


def test_a_removal_by_name_is_seen() -> None:
    """S4: whoever holds the name when the request arrives would be hit."""
    assert "by its name" in Tale().request(1.0, "DELETE", "/containers/mcp-5be378c182c9").judged("S4")[0].text


def test_a_generation_that_ends_twice_is_seen() -> None:
    """S4: unless Redis lost its first end in between; another generation has an end of its own."""
    assert [found.check for found in Tale().audit(1.0, "ended").audit(5.0, "ended").judged("S4")] == ["S4"]
    assert Tale().audit(1.0, "ended").audit(5.0, "ended").fault(2.0, 3.0, "loses").judged("S4") == []
    assert Tale().audit(1.0, "ended").audit(5.0, "ended").fault(6.0, 7.0, "loses").judged("S4") != []
    assert Tale().audit(1.0, "ended").audit(5.0, "ended", generation=2).judged("S4") == []


def test_a_container_that_comes_back_by_its_labels_may_end_again() -> None:
    """S4, R20: where Redis lost the commit of its spawn, and that spawn's record ended without it; nowhere else."""

    def tale(container: str = "", *, lost: bool = True, adopted: bool = True) -> Tale:
        told = Tale().born(0.0)
        told = told.fault(0.1, 0.5, "loses") if lost else told
        told = told.audit(1.0, "ended", container=container)
        return (told.audit(1.1, "adopted") if adopted else told).audit(5.0, "ended")

    assert tale().judged("S4") == []
    assert tale("c1").judged("S4") != []
    assert tale(lost=False).judged("S4") != []
    assert tale(adopted=False).judged("S4") != []
