"""The log of `reactor run`: one line per change of state, on stderr.

What this is: how a log record looks. What it is not: what is logged, and when. The invariant: one record is one line,
whatever is in it; `REACTOR_LOG=json` makes it one JSON object.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from typing import Final

from reactor.session import from_ms, iso

_OWN: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/@%+,<>*-]+")


def log_to_stderr(*, verbose: bool = False) -> None:
    """Send this program's log to stderr from now on (and other libraries' warnings); a second call replaces it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if os.environ.get("REACTOR_LOG") == "json" else KeyValueLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("reactor").setLevel(logging.DEBUG if verbose else logging.INFO)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what the caller gave as `extra=`, and the error's text."""
    fields = {name: value for name, value in vars(record).items() if name not in _OWN}
    if record.exc_info is not None and record.exc_info[1] is not None:
        error = record.exc_info[1]
        fields["error"] = f"{type(error).__name__}: {error}"
    return fields


class KeyValueLines(logging.Formatter):
    """`TIME level message key=value ...`, quoted where a value is more than one plain word."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        words = [iso(from_ms(int(record.created * 1000))), record.levelname.lower(), _clean(record.getMessage())]
        words += [f"{name}={_word(str(value))}" for name, value in _fields(record).items()]
        return " ".join(words)


class JsonLines(logging.Formatter):
    """One JSON object per line, with `at`, `level` and `message`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        head = {"at": iso(from_ms(int(record.created * 1000))), "level": record.levelname.lower()}
        return json.dumps(head | {"message": record.getMessage()} | _fields(record), default=str)


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
