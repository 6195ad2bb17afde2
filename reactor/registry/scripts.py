"""The Lua scripts: each file of `lua/` once, with the shared helpers put in behind its first line.

What this is: text and digest. What it is not: how they are called (link) or what they mean (each script's header).
The invariant: a script's digest is that of the text which is sent, so EVALSHA and EVAL run the same thing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files


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
    """Return a script ready to send."""
    folder = files("reactor.registry") / "lua"
    shared = (folder / "shared.lua").read_text("utf-8")
    shebang, _, rest = (folder / f"{name.value}.lua").read_text("utf-8").partition("\n")
    body = f"{shebang}\n{shared}\n{rest}"
    return LoadedScript(body, hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest())
