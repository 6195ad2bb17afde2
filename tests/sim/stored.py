"""Everything that a server holds below the prefix, whichever server it is.

What this is: a reading of all keys. What it is not: a comparison. It keeps this: what only one machine can have, the
readings of its clocks, is left out.
"""

from datetime import timedelta
from typing import Any, cast

UNTOLD = ("clock", "clock_boot")
"""Fields of `seen` that are readings of two machines' clocks."""


async def stored(client: Any) -> dict[str, Any]:
    """Return each key with its value and what is left of its time."""
    _, names = await client.scan(0, match="mcp:*", count=1000)
    state: dict[str, Any] = {}
    for name in sorted(names):
        left = await client.pttl(name)
        state[name] = [await _value(client, name), timedelta(milliseconds=left) if left >= 0 else left]
    return state


async def _value(client: Any, name: str) -> Any:
    match await client.type(name):
        case "hash":
            fields = await client.hgetall(name)
            return {key: value for key, value in fields.items() if key not in UNTOLD}
        case "zset":
            return await client.zrange(name, 0, -1, withscores=True)
        case "set":
            return sorted(await client.smembers(name))
        case "stream":
            entries = cast("list[tuple[str, dict[str, str]]]", await client.xrange(name))
            return [{key: value for key, value in one.items() if not key.endswith("_ms")} for _, one in entries]
        case kind:
            return [kind, await client.get(name)]
