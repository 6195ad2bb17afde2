"""What two servers hold and say, put into one form: moments by how far off they are, ids by the order of their coming.

What this is: a comparison of values that cannot be equal (two clocks, two generators). What it is not: lenient;
whatever is no time and no random id has to be the same. It keeps this: two moments are alike only when they are within
`NEAR_MS`, and every lease, TTL and grace in a walk differs from every other by more.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

NEAR_MS = 4000
"""Within which two servers live through the same scene."""
FAR_MS = 10**9
"""How far from now a time may lie; a number beyond is none, such as a random id that happens to be all digits."""
SPANS = ("lag_ms", "took_ms", "outage_ms")
"""Fields that say how long something took."""
_RANDOM = re.compile(r"[0-9a-f]{16}|[0-9a-f]{40}|[0-9a-f]{8}")
_ADDRESS = re.compile(r"Redis at \S+:\d+")
_DOUBT = re.compile(r"(outage|mass|db|run|role|unseen|evicted|clock):(.+)")


@dataclasses.dataclass(frozen=True)
class Moment:
    """A time, in ms from now."""

    ms: float

    def __eq__(self, other: object) -> bool:
        """Whether both are about the same time."""
        return isinstance(other, Moment) and abs(self.ms - other.ms) < NEAR_MS

    __hash__ = None  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A generation, by its place among all that were met."""

    place: int


@dataclasses.dataclass(frozen=True)
class Named:
    """A random id, by when it was first met."""

    place: int


class Names:
    """Puts the values of one server into the common form."""

    def __init__(self) -> None:
        """Begin without having met any."""
        self._ids: dict[str, int] = {}
        self._generations: list[int] = []

    def plain(self, value: object, now_ms: int) -> Any:
        """Return a value without this server's own times and ids; generations are ranked by `ranked` afterwards."""
        match value:
            case bool() | None:
                return value
            case timedelta():
                return Moment(value.total_seconds() * 1000)
            case datetime():
                return Moment(value.timestamp() * 1000 - now_ms)
            case int() | float():
                time = self._time(value, now_ms)
                return value if time is None else time
            case str():
                return self._text(value, now_ms)
            case _:
                return self._compound(value, now_ms)

    def _compound(self, value: object, now_ms: int) -> Any:
        match value:
            case Mapping():
                pairs = cast("Mapping[object, object]", value)
                return {self.plain(name, now_ms): self._field(name, one, now_ms) for name, one in pairs.items()}
            case list() | tuple():
                return [self.plain(one, now_ms) for one in cast("Sequence[object]", value)]
            case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
                fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
                return type(value).__name__, self.plain(fields, now_ms)
            case Exception():
                return type(value).__name__, _ADDRESS.sub("Redis at", str(value))
            case _:
                return repr(value)

    def _field(self, name: object, value: object, now_ms: int) -> object:
        if name in SPANS and isinstance(value, str):
            return Moment(int(value))
        return self.plain(value, now_ms)

    def _time(self, value: float, now_ms: int) -> object | None:
        if abs(value / 1000 - now_ms) < FAR_MS:
            self._generations.append(int(value))
            return int(value)
        return Moment(value - now_ms) if abs(value - now_ms) < FAR_MS else None

    def _text(self, value: str, now_ms: int) -> object:
        if value.isdigit() and (time := self._time(int(value), now_ms)) is not None:
            return time
        if (doubt := _DOUBT.fullmatch(value)) is not None:
            return doubt[1], *(self._text(part, now_ms) for part in doubt[2].split(":"))
        if _RANDOM.fullmatch(value) is not None:
            return Named(self._ids.setdefault(value[:8], len(self._ids)))
        return value

    def ranked(self, value: Any) -> Any:
        """Replace each generation by its place among all that this server made."""
        order = {one: place for place, one in enumerate(sorted(set(self._generations)))}
        return _replaced(value, order)


def _replaced(value: Any, order: Mapping[int, int]) -> Any:
    match value:
        case int() if not isinstance(value, bool) and value in order:
            return Ranked(order[value])
        case dict():
            pairs = cast("dict[Any, Any]", value)
            return {name: _replaced(one, order) for name, one in pairs.items()}
        case list() | tuple():
            kind = cast("type[list[Any]]", type(cast("object", value)))
            return kind(_replaced(one, order) for one in cast("list[Any]", value))
        case _:
            return value


def differences(left: Any, right: Any, path: str = "") -> Iterator[str]:
    """Yield where two plain values differ, one line each."""
    if isinstance(left, dict) and isinstance(right, dict):
        one, other = cast("dict[Any, Any]", left), cast("dict[Any, Any]", right)
        for name in sorted({*one, *other}, key=repr):
            yield from differences(one.get(name, "missing"), other.get(name, "missing"), f"{path}.{name}")
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        these, those = cast("list[Any]", left), cast("list[Any]", right)
        if len(these) != len(those):
            yield f"{path}: {these} != {those}"
            return
        for index, (a, b) in enumerate(zip(these, those, strict=True)):
            yield from differences(a, b, f"{path}[{index}]")
    elif left != right:
        yield f"{path}: {left} != {right}"
