"""What a server answers, and the glob that it matches names with.

What this is: values. What it is not: a command. The invariant: an error is a value until somebody has to be told.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

Reply = Any
"""bytes, int, None, a list of replies, `Status` or `Refusal`."""


@dataclass(frozen=True, slots=True)
class Status:
    """A simple string."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error reply, as a value."""

    text: str


class RefusedError(Exception):
    """An error reply, on its way out of a command."""


OK = Status(b"OK")
SYNTAX = "ERR syntax error"
NOT_INT = "ERR value is not an integer or out of range"


@cache
def matcher(pattern: bytes) -> Callable[[bytes], bool]:
    """Return what tells whether a name matches a glob (`*` and `?`; the product's ids hold no bracket)."""
    found = re.compile(fnmatch.translate(pattern.decode("latin-1").replace("[", "[[]"))).match
    return lambda name: found(name.decode("latin-1")) is not None
