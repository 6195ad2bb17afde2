"""A program whose tasks all take from one pool at once: `python -m tests.pool.takers URL HOST SHAPE ID ID ...`.

It is not an acquire: no engine is asked.
It keeps this: for each id it prints one line, the id and the container that it took (`-` where there was none).
"""

import sys

import anyio

from reactor.keys import Keys
from reactor.registry import Evidence, RedisLink, SessionRegistry, Terms
from reactor.registry.verdicts import Spawn
from reactor.session import Deployment, HostName, SessionId, new_token
from reactor.templates import Template


async def main(url: str, host: str, shape: str, *ids: str) -> None:
    """Reserve each id, then take for it; twice, as if the first answer had been lost."""
    link, keys = RedisLink(url), Keys("mcp")
    evidence = Evidence(link, keys, HostName(host), Deployment("test"))
    registry = SessionRegistry(link, keys, evidence, host=HostName(host), runtime="fake", terms=Terms())
    await evidence.witness()

    async def take(session_id: SessionId) -> None:
        token = new_token()
        granted = await registry.reserve(session_id, token, template="default", ttl=Template(name="default").ttl)
        assert isinstance(granted, Spawn)
        first = await registry.take(session_id, token, "default", shape)
        again = await registry.take(session_id, token, "default", shape)
        assert first == again or first is None
        print(session_id, first or "-", flush=True)

    async with anyio.create_task_group() as tasks:
        for session_id in ids:
            tasks.start_soon(take, SessionId(session_id))
    await link.aclose()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], *sys.argv[4:])
