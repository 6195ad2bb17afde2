"""The engine's list of containers, read as it comes.

What this is: an answer of any length, decoded piece by piece, so that a list of 100,000 containers (over 100 MB) is
never held as a whole. What it is not: the request. The invariant: what comes out is what the whole answer holds; a
piece is cut only where one container ends and the next one begins.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from reactor.runtime.docker_answers import state_named
from reactor.runtime.labels import LABEL, Labels, Member
from reactor.runtime.protocol import Container
from reactor.session import ContainerId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PIECE: Final = 1 << 20
"""Bytes that are decoded at once: a few milliseconds in which no other thread of the process runs."""
_SEAM: Final = b'},{"Id":"'
"""Between two containers. Inside of a string its quotes would be escaped; inside of a container it leaves a piece that
does not decode, which is read on then."""
_IN_COMMON: Final = tuple(
    f"{LABEL}{name}" for name in ("prefix", "deployment", "host", "db", "template", "ttl", "pool")
)
"""Labels that many containers share."""


class _Listed(msgspec.Struct, gc=False, frozen=True):
    """What is wanted of one entry; the rest, which is most of it, is passed over."""

    Id: str
    State: str
    Created: int
    Names: list[str] | None = None
    ImageID: str | None = None
    Labels: dict[str, str] | None = None


_decoder: Final = msgspec.json.Decoder(list[_Listed])


def containers_in(chunks: Iterable[bytes], wanted: Mapping[str, str]) -> list[Container]:
    """Return the containers of a list answer that bear the wanted labels; raises `ValueError` for any other answer.

    The labels are looked at again: what the list holds may have been removed, and a proxy may drop the filter.
    """
    found: list[Container] = []
    shared: dict[str, str] = {}
    for entry in _entries(chunks):
        labels = entry.Labels or {}
        if all(labels.get(key) == value for key, value in wanted.items()):
            found.append(_container(entry, labels, shared))
    return found


def _entries(chunks: Iterable[bytes]) -> Iterator[_Listed]:
    held, enough = bytearray(), _PIECE
    for chunk in chunks:
        held += chunk
        seam = held.rfind(_SEAM) if len(held) >= enough else -1
        if seam < 0:
            continue
        try:
            whole = _decoder.decode(held[: seam + 1] + b"]")
        except msgspec.DecodeError:
            enough = len(held) + _PIECE
            continue
        held[: seam + 2], enough = b"[", _PIECE
        yield from whole
    try:
        yield from _decoder.decode(held)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error


def _container(entry: _Listed, labels: dict[str, str], shared: dict[str, str]) -> Container:
    for name in _IN_COMMON:  # kept once: they would be most of what a long list takes
        if (value := labels.get(name)) is not None:
            labels[name] = shared.setdefault(value, value)
    image = entry.ImageID or ""
    session = Labels.parse(labels)
    return Container(
        container_id=ContainerId(entry.Id),
        name=(entry.Names or [""])[0].removeprefix("/"),
        labels=session,
        member=None if session is not None else Member.parse(labels),
        image_id=shared.setdefault(image, image),
        state=state_named(entry.State),
        created_at=datetime.fromtimestamp(entry.Created, UTC),
    )
