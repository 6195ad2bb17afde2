"""What a request is called in a history: a script by the name of its file.

What this is: names for a person, and for the digest. What it is not: a decision. The invariant: one script, one name.
"""

from __future__ import annotations

from functools import cache

from reactor.registry.scripts import Script, load_script


@cache
def _scripts() -> dict[bytes, str]:
    loaded = [(load_script(script), script.value) for script in Script]
    bodies = {script.body.encode(): name for script, name in loaded}
    return bodies | {script.sha.encode(): name for script, name in loaded}


def script_name(body_or_sha: bytes) -> str:
    """Return which of the product's scripts this is."""
    return _scripts().get(body_or_sha, "script")


def label(words: list[bytes]) -> str:
    """Return what a command is called."""
    name = words[0].decode("latin-1").lower()
    return script_name(words[1]) if name in ("eval", "evalsha") else name
