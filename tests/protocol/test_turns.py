"""Turns that reactors take: each says that it is there, and knows older data by a turn lower than its own."""

from typing import Any

import pytest

from tests.protocol.actor import HOST
from tests.protocol.scene import Scene


async def test_a_look_that_a_turn_overtakes_finds_no_loss(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reactor says that it is there while its own sample is on the way: what the sample holds is no older data."""
    actor = await scene.actor()
    await actor.acquire()
    evidence, ask = actor.registry.evidence, actor.link.ask
    before = scene.redis.hgetall(scene.keys.meta)

    async def overtaken(*args: Any) -> Any:
        sample = await ask(*args)
        await evidence.watch(watched_ms=5000, ahead_ms=0)
        return sample

    for _ in range(3):
        await evidence.watch(watched_ms=5000, ahead_ms=0)
        with monkeypatch.context() as patched:
            patched.setattr(actor.link, "ask", overtaken)
            await evidence.witness()
    assert scene.redis.hgetall(scene.keys.meta) == before
    assert not scene.redis.hget(scene.keys.seen(HOST), "quarantine")
