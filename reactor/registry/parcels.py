"""Calls of scripts on their way: one each, or several of one script in one EVALSHA.

What this is: the grouping of calls, and the taking apart of the answer. What it is not: the sending. The invariant:
each call gets its own answer, in the order of the calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from redis import exceptions

from reactor.registry.scripts import Call, Script, joined, load_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MOST = 50
"""Calls in one EVALSHA: Redis answers nobody else meanwhile, for a millisecond or two."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One call; its arguments are asked for when it leaves, since some say what is known at that moment."""

    script: Script
    keys: Sequence[str]
    fill: Callable[[], Sequence[str | int]]


@dataclass(frozen=True, slots=True)
class Group:
    """Calls of one script that take as many keys and arguments each; their places among all that travel."""

    script: Script
    calls: list[Call]
    places: list[int]

    @property
    def words(self) -> list[str | int]:
        """What EVALSHA takes."""
        keys, args = joined(self.calls)
        return [load_script(self.script).sha, len(keys), *keys, *args]

    def answers(self, reply: Any) -> list[Any]:
        """Return each call's answer; where Redis refused the script, that is everybody's."""
        if len(self.calls) == 1:
            return [reply]
        if isinstance(reply, exceptions.ResponseError):
            return [reply] * len(self.calls)
        return cast("list[Any]", reply)


def grouped(parcels: Sequence[Parcel]) -> Iterator[Group]:
    """Yield the calls in groups of at most `MOST`."""
    open_ones: dict[tuple[Script, int, int], Group] = {}
    for place, parcel in enumerate(parcels):
        args = parcel.fill()
        kind = parcel.script, len(parcel.keys), len(args)
        group = open_ones.get(kind)
        if group is None or len(group.calls) >= MOST:
            if group is not None:
                yield group
            group = open_ones[kind] = Group(parcel.script, [], [])
        group.calls.append((parcel.keys, args))
        group.places.append(place)
    yield from open_ones.values()
