"""The product's own Lua, run by Lua 5.1 as Redis does.

What this is: `redis.call` and its relatives over a simulated server, and the conversion of values both ways. What it
is not: a sandbox. The invariant: a script sees one instant; what it returns is converted as Redis converts it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

from lupa import lua51 as _lua51

from faultlab.sim.admission import WRONG_TYPE
from faultlab.sim.replies import Refusal, RefusedError, Reply, Status
from faultlab.sim.store import WrongTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Caller = Callable[[list[bytes]], Reply]

lua51: Any = _lua51  # its stubs are those of the newest Lua
_GLUE = b"""
local py_call, py_sha = ...
redis = {}
function redis.call(...)
  local refused, reply = py_call(...)
  if refused then error({ err = refused }, 0) end
  return reply
end
function run(chunk)
  local done, answer = pcall(chunk)
  if not done and type(answer) ~= 'table' then answer = { err = 'ERR ' .. tostring(answer) } end
  return done, answer
end
function redis.error_reply(text)
  if string.sub(text, 1, 1) == '-' then text = string.sub(text, 2) end
  if not string.find(text, ' ') then text = 'ERR ' .. text end
  return { err = text }
end
function redis.status_reply(text) return { ok = text } end
function redis.sha1hex(text) return py_sha(text) end
"""


class ScriptFlags:
    """What the first line of a script says it may do."""

    def __init__(self, body: bytes) -> None:
        """Read the shebang."""
        first = body.split(b"\n", 1)[0]
        flags = first.partition(b"flags=")[2].decode().split(",") if first.startswith(b"#!") else []
        self.has_shebang = first.startswith(b"#!")
        self.writes = "no-writes" not in flags
        self.allow_oom = "allow-oom" in flags or not self.writes
        self.allow_stale = "allow-stale" in flags


class Lua:
    """One Lua state; scripts are compiled once."""

    def __init__(self) -> None:
        """Start a state with the `redis` table."""
        self._lua: Any = lua51.LuaRuntime(
            encoding=None, register_eval=False, register_builtins=False, unpack_returned_tuples=True
        )
        self._table: Any = self._lua.table_from
        self._caller: Caller | None = None
        self._compiled: dict[bytes, tuple[Any, ScriptFlags]] = {}
        self._globals: Any = self._lua.globals()
        self._lua.execute(_GLUE, self._call, _sha1)

    def close(self) -> None:
        """Let go of the state, which holds this object as this object holds it."""
        self._globals[b"redis"] = None
        self._compiled.clear()
        self._lua.execute(b"collectgarbage()")
        self._lua = self._globals = self._table = None

    def flags(self, body: bytes) -> ScriptFlags:
        """Return what a script may do."""
        return self._prepared(body)[1]

    def _prepared(self, body: bytes) -> tuple[Any, ScriptFlags]:
        if body not in self._compiled:
            text = b"--" + body if body.startswith(b"#!") else body
            try:
                chunk = self._lua.compile(text)
            except lua51.LuaSyntaxError as error:
                raise RefusedError(f"ERR Error compiling script (new function): {error}") from error
            self._compiled[body] = (chunk, ScriptFlags(body))
        return self._compiled[body]

    def run(self, body: bytes, keys: Sequence[bytes], args: Sequence[bytes], caller: Caller) -> Reply:
        """Run a script; raises `RefusedError` for an error that a command in it met."""
        chunk, _ = self._prepared(body)
        self._caller = caller
        self._globals[b"KEYS"] = self._table(list(keys))
        self._globals[b"ARGV"] = self._table(list(args))
        try:
            done, answer = self._globals[b"run"](chunk)
        finally:
            self._caller = None
        if done:
            return self._from_lua(answer)
        raise RefusedError(f"{answer[b'err'].decode()} script: {_sha1(body).decode()}, on @user_script:0.")

    def _call(self, *args: Any) -> tuple[Any, Any]:
        """Return what was refused, or the reply: an error of a command is one of the script, which may catch it."""
        assert self._caller is not None
        try:
            words = [arg if type(arg) is bytes else _argument(arg) for arg in args]
            reply = self._caller(words)
            return None, reply if type(reply) in (bytes, int) else self._to_lua(reply)
        except RefusedError as error:
            return str(error).encode(), None
        except WrongTypeError:
            return WRONG_TYPE.encode(), None

    def _to_lua(self, reply: Reply) -> Any:
        match reply:
            case None:
                return False
            case Status(text):
                return self._table({b"ok": text})
            case list():
                parts = cast("list[Reply]", reply)
                return self._table([part if type(part) is bytes else self._to_lua(part) for part in parts])
            case _:
                return reply

    def _from_lua(self, value: Any) -> Reply:
        match value:
            case None | False:
                return None
            case True:
                return 1
            case bytes():
                return value
            case int() | float():
                return int(value)
            case _ if lua51.lua_type(value) == "table":
                return self._from_table(value)
            case _:
                return None

    def _from_table(self, table: Any) -> Reply:
        if (error := table[b"err"]) is not None:
            return Refusal(error.decode())
        if (status := table[b"ok"]) is not None:
            return Status(status)
        found: list[Reply] = []
        for index in range(1, len(table) + 1):
            part = table[index]
            if part is None:
                break
            found.append(self._from_lua(part))
        return found


def _sha1(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def _argument(value: Any) -> bytes:
    match value:
        case bytes():
            return value
        case bool():
            raise RefusedError("ERR Lua redis lib command arguments must be strings or integers")
        case int():
            return b"%d" % value
        case float():
            return b"%d" % int(value) if value.is_integer() and abs(value) < 1e17 else b"%.17g" % value
        case _:
            raise RefusedError("ERR Lua redis lib command arguments must be strings or integers")
