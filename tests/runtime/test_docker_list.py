"""A list of containers of any length is read piece by piece, and comes to the same as if it were read whole."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.runtime import docker_list
from reactor.runtime.docker_list import containers_in
from reactor.runtime.labels import LABEL
from reactor.runtime.protocol import ContainerState

MINE = {f"{LABEL}prefix": "mcp"}


def entry(number: int, **more: Any) -> dict[str, Any]:
    """Return one container as the engine lists it."""
    labels = {
        "prefix": "mcp", "deployment": "d", "host": "h", "db": "db1", "session": f"s{number}",
        "generation": str(number + 1), "template": "default", "ttl": "900000", "token": f"t{number}",
    }  # fmt: skip
    return {
        "Id": f"{number:064x}",
        "Names": [f"/mcp-{number}"],
        "Image": "idle",
        "ImageID": "sha256:1",
        "Command": 'say "}," and [{"Id":"',
        "Created": 1_800_000_000 + number,
        "Ports": [],
        "Labels": {f"{LABEL}{name}": value for name, value in labels.items()},
        "State": "running",
        "Mounts": [{"Type": "volume", "Name": "v"}],
    } | more


def in_chunks(text: bytes, size: int) -> list[bytes]:
    """Cut a body as a network does."""
    return [text[at : at + size] for at in range(0, len(text), size)]


@given(count=st.integers(0, 40), size=st.integers(1, 4000), piece=st.integers(1, 5000), spaces=st.booleans())
def test_wherever_it_is_cut_the_same_containers_come_out(count: int, size: int, piece: int, *, spaces: bool) -> None:
    """Also where the seam that is looked for is inside of a container, or, with spaces, nowhere."""
    nested = {"Mounts": [{"Type": "volume"}, {"Id": "no container"}, {"Id": "nor this"}]}
    listed = [entry(n, **(nested if n % 3 == 0 else {})) for n in range(count)]
    body = json.dumps(listed, separators=None if spaces else (",", ":")).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docker_list, "_PIECE", piece)
        found = containers_in(in_chunks(body, size), MINE)

    assert [c.container_id for c in found] == [one["Id"] for one in listed]
    assert [c.labels.session for c in found if c.labels] == [f"s{n}" for n in range(count)]
    assert all(c.state is ContainerState.RUNNING and c.name.startswith("mcp-") for c in found)


def test_what_many_have_in_common_is_kept_once() -> None:
    """A hundred thousand copies of one host's name would be most of the memory."""
    found = containers_in([json.dumps([entry(n) for n in range(3)]).encode()], MINE)
    labels = [c.labels for c in found if c.labels is not None]

    assert len({id(one.host) for one in labels}) == len({id(one.db) for one in labels}) == 1
    assert len({id(c.image_id) for c in found}) == 1


@pytest.mark.parametrize("body", [b"", b"[", b"null", b'{"message":"x"}', b'[{"Id":"a"}]', b"[{}", b"\xff", b"[1]"])
def test_what_is_no_list_of_containers_is_refused(body: bytes) -> None:
    """An answer that cannot be read says nothing about what is there."""
    with pytest.raises(ValueError, match=r"\S"):
        containers_in([body], MINE)


def test_an_answer_that_ends_early_is_refused_whatever_was_read_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers that are missing from a list would be taken for lost."""
    monkeypatch.setattr(docker_list, "_PIECE", 100)
    body = json.dumps([entry(n) for n in range(20)], separators=(",", ":")).encode()
    for cut in (1, 500, len(body) - 1):
        with pytest.raises(ValueError, match=r"\S"):
            containers_in(in_chunks(body[:cut], 64), MINE)
