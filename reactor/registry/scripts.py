"""The Lua scripts: each file of `lua/` once, as a function behind the shared helpers.

What this is: text and digest. What it is not: how they are called (link) or what they mean (each script's header).
The invariant: a script's digest is that of the text which is sent, so EVALSHA and EVAL run the same thing; several
calls of one script in one EVALSHA have the effect of as many EVALSHAs in a row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Call = tuple["Sequence[str]", "Sequence[str | int]"]
"""The keys and arguments of one call of a script."""


class Script(StrEnum):
    """The scripts by file name."""

    RESERVE = "reserve"
    RENEW = "renew"
    COMMIT = "commit"
    ABORT = "abort"
    REGISTER = "register"
    EXAMINE = "examine"
    EXTEND = "extend"
    FINISH = "finish"
    ADOPT_ORPHAN = "adopt_orphan"
    REQUEST_END = "request_end"
    READDRESS = "readdress"
    NEXT_DUE = "next_due"
    WALK = "walk"
    POSTPONE = "postpone"
    HASTEN = "hasten"
    DROP_STRAY = "drop_stray"
    MEND = "mend"
    BIND_ENGINE = "bind_engine"
    SAMPLE = "sample"
    WITNESS = "witness"
    WATCH = "watch"
    FORGET = "forget"
    RENAME_HOST = "rename_host"
    REHOST = "rehost"
    TAKE = "take"
    SLOT = "slot"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class LoadedScript:
    """What EVAL sends, and the digest under which Redis keeps it."""

    body: str
    sha: str


@cache
def load_script(name: Script) -> LoadedScript:
    """Return a script ready to send; what it takes is made by `joined`."""
    folder = files("reactor.registry") / "lua"
    shared = (folder / "shared.lua").read_text("utf-8")
    shebang, _, rest = (folder / f"{name.value}.lua").read_text("utf-8").partition("\n")
    body = f"{shebang}\n{shared}\nlocal function one(KEYS, ARGV)\n{rest}\nend\nreturn each(one, KEYS, ARGV)\n"
    return LoadedScript(body, hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest())


def joined(calls: Sequence[Call]) -> tuple[list[str], list[str | int]]:
    """Return the keys and arguments of one EVALSHA that makes these calls; each has as many keys and arguments."""
    keys = [key for call in calls for key in call[0]]
    return keys, [len(calls), *(arg for call in calls for arg in call[1])]
