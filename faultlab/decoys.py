"""Containers and keys that are none of ours, planted beside the sessions: they must end byte for byte as they were.

What this is: neighbours that a careless program would take for its own. What it is not: a session. The invariant: a
decoy is compared whole; only what a killed engine itself changes is left out, once for each death, when the decoys of
that engine are looked at anew.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self

from faultlab.wire import ask

if TYPE_CHECKING:
    from faultlab.parts import Host
    from faultlab.world import World

LABEL = "session-reactor."
_KEYS = {
    "mcp2:session:lookalike:heartbeat": "1",
    "mcpx": "left alone",
    "other:session:x": "left alone",
}
_DEATH = frozenset({"Status", "Running", "Pid", "ExitCode", "FinishedAt"})
"""The fields of its state by which a container's program, which ran when its engine was killed, is dead afterwards."""


class Decoys:
    """The planted neighbours of one world, and what they were like."""

    def __init__(self, world: World) -> None:
        """Note where they stand."""
        self._world = world
        self._were: dict[str, str] = {}
        self._where: dict[str, Host] = {}
        self._changed: list[str] = []
        """What was different when an engine had died, and not by its death."""

    @classmethod
    async def plant(cls, world: World) -> Self:
        """Plant them on every host and in Redis, and note what they are."""
        decoys = cls(world)
        await decoys.plant_keys()
        for host in world.hosts:
            for number, labels in enumerate(_labels(world.deployment, host.name)):
                await asyncio.to_thread(decoys._put, host, number, labels)
        decoys._were = {container: await decoys._describe(container) for container in decoys._where}
        return decoys

    @property
    def containers(self) -> tuple[str, ...]:
        """Their IDs."""
        return tuple(self._where)

    async def plant_keys(self) -> None:
        """Put the foreign keys into Redis; again after it was emptied on purpose."""
        for name, value in _KEYS.items():
            await self._world.admin.set(name, value)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the foreign keys."""
        return tuple(_KEYS)

    async def engine_came_back(self, host: Host) -> None:
        """Note what a killed engine says of its decoys now: that is what they must be from here on."""
        for container in [container for container, where in self._where.items() if where is host]:
            now, was = await self._describe(container), self._were[container]
            if not outlived(was, now):
                self._changed.append(f"container {container[:12]}: {_difference(was, now)}")
            self._were[container] = now

    async def changed(self) -> list[str]:
        """Return what is different now, one line each."""
        found = list(self._changed)
        for container, was in self._were.items():
            now = await self._describe(container)
            if now != was:
                found.append(f"container {container[:12]}: {_difference(was, now)}")
        for name, value in _KEYS.items():
            if (now := await self._world.admin.get(name)) != value:
                found.append(f"key {name}: {now!r}")
        return found

    def _put(self, host: Host, number: int, labels: dict[str, str]) -> None:
        name = f"mcp-{number:020x}"
        if host.engine is not None:
            words = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
            how = ("run", "--detach") if number % 2 else ("create",)
            made = host.engine.command.run(*how, "--name", name, "--network", "none", *words, host.engine.image)
            self._where[made.split()[-1]] = host
            return
        container = f"{number:064x}".replace("0", "d", 1)
        root = host.state / "session-reactor"
        root.mkdir(mode=0o700, exist_ok=True)
        home = root / "containers" / container
        (home / "work").mkdir(parents=True)
        (home / "lock").touch()
        (root / "names").mkdir(exist_ok=True)
        spec: dict[str, Any] = {"container_id": container, "name": name, "labels": labels, "command": ["sleep", "9"]}
        spec |= {"environment": {}, "ports": {}, "created_at": 1.0}
        (home / "spec.json").write_text(json.dumps(spec))
        (root / "names" / name).hardlink_to(home / "spec.json")
        self._where[container] = host

    async def _describe(self, container: str) -> str:
        host = self._where[container]
        if host.engine is not None:
            status, found = await ask(host.engine.socket, "GET", f"/containers/{container}/json", timeout=20)
            if status != 200:
                return f"status {status}"
            found["State"].pop("Health", None)
            return json.dumps(found, sort_keys=True)
        home = host.state / "session-reactor" / "containers" / container
        there = {path.name: path.read_text() for path in sorted(home.rglob("*")) if path.is_file()}
        return json.dumps(there, sort_keys=True)


def _labels(deployment: str, host: str) -> list[dict[str, str]]:
    """Return the labels of each decoy: another deployment's, another prefix's, a look-alike's, and none at all."""
    ours = {
        f"{LABEL}prefix": "mcp",
        f"{LABEL}deployment": deployment,
        f"{LABEL}host": host,
        f"{LABEL}db": "0000000000000000",
        f"{LABEL}session": "decoy",
        f"{LABEL}generation": "1",
        f"{LABEL}template": "default",
        f"{LABEL}ttl": "3000",
        f"{LABEL}token": "0000000000000000",
    }
    lookalike = {key.replace("session-reactor.", "session-reactor2."): value for key, value in ours.items()}
    return [
        {**ours, f"{LABEL}deployment": f"{deployment}-other"},
        {**ours, f"{LABEL}deployment": f"{deployment}x"},
        {**ours, f"{LABEL}prefix": "mcp2"},
        lookalike,
        {f"{LABEL}prefix": "mcp"},
        {},
    ]


def outlived(was: str, now: str) -> bool:
    """Whether the death of its engine alone explains all that is different. Pure."""
    try:
        before, after = json.loads(was), json.loads(now)
    except ValueError:
        return was == now
    if before["State"]["Running"]:
        for found in (before, after):
            found["State"] = {name: value for name, value in found["State"].items() if name not in _DEATH}
    return before == after


def _difference(was: str, now: str) -> str:
    try:
        before, after = json.loads(was), json.loads(now)
    except ValueError:
        return now[:200]
    return ", ".join(name for name in before if before[name] != after.get(name)) or "something new"
