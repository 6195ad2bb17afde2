"""The product's own scripts give the same on the simulated Redis as on a real one, whatever comes in whatever order.

What this is: random walks over the registry's verbs, and the commands and losses that befall its keys, on both servers;
replies, keyspace notifications, wake-ups and everything that is stored are compared after each step. What it is not: a
judgement of the protocol. It keeps this: nothing in a walk hangs on how fast it is taken.
"""

from datetime import timedelta
from random import Random
from typing import Any, cast

import anyio
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from faultlab.sim.clock import ServerClock, Virtual
from faultlab.sim.loop import SimLoop
from faultlab.sim.ports import Ports
from faultlab.sim.redis import SimRedis
from faultlab.sim.wire import Network
from reactor.registry.verdicts import Mode
from tests.services.redis import Flavour, RedisServer
from tests.sim.pair import ALL, emptied, flavoured
from tests.sim.plain import differences
from tests.sim.walk import Args, walk

pytestmark = pytest.mark.slow  # the newest Python is enough

Step = tuple[str, Args]


def _step(name: str, **args: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.fixed_dictionaries(dict(args)))


session = st.sampled_from(["a", "a", "a", "b"])
host = st.sampled_from(["h1", "h1", "h1", "h2"])
token = st.sampled_from(["t1", "t1", "t2"])
claim = st.sampled_from(["c1", "c1", "c2"])
container = st.sampled_from(["box1", "box1", "box2"])
db = st.sampled_from(["same", "same", "other"])
generation = st.sampled_from(["record", "record", "old", "new", "none"])
verb = st.sampled_from([
    "next_due", "due_among", "drop_stray", "postpone", "mend", "hasten", "note", "records", "doubts", "is_watched",
    "witness", "heartbeat", "bound_db", "walk",
])  # fmt: skip
mode = st.sampled_from([Mode.CLAIM, Mode.CLAIM, Mode.END, Mode.LOOK, Mode.DELETED])
made = {"host": host, "token": token, "generation": generation, "container": container, "db": db}
beat, record, seen = "mcp:session:a:heartbeat", "mcp:session:a", "mcp:host:h1:seen"
command = st.sampled_from([
    ["PERSIST", beat], ["EXPIRE", beat, 10**7], ["EXPIRE", beat, 3600], ["EXPIRE", beat, 0], ["DEL", beat],
    ["SET", beat, "1"], ["HSET", beat, "f", "v"], ["DEL", record], ["HSET", record, "schema", "9"],
    ["EXPIRE", record, 10**6], ["SET", record, "no hash"], ["HSET", record, "graces", "3"], ["DEL", "mcp:host:h1:due"],
    ["ZREM", "mcp:host:h1:due", "a"], ["HDEL", seen, "quarantine"], ["HSET", seen, "evicted", "7"],
    ["HSET", seen, "replid", "x"],
])  # fmt: skip
yes = st.just(True)  # noqa: FBT003 (a strategy's value)
way_in = [
    _step("reserve", host=host, session=session, token=token, waited=generation),
    _step("renew", host=host, session=session, token=token, db=db),
    _step("save", host=host, session=session, token=token, container=container, db=db),
]
way_out = [
    _step("examine", host=host, session=session, token=claim, mode=mode, generation=generation,
          expected=st.sampled_from([None, None, "box1", "box2"])),
    _step("delete", host=host, session=session, token=claim),
    _step("extend", host=host, session=session, token=claim, lease=st.sampled_from([None, 60, -60])),
    _step("overdue", session=session),
]  # fmt: skip
rare = [
    _step("abort", host=host, session=session, token=token, error=st.sampled_from(["", "SpawnFailed: no"])),
    _step("register", session=session, instead_of=st.sampled_from([None, "t1"]), running=yes, **made),
    _step("adopt_orphan", session=session, running=st.booleans(), **made),
    _step("readdress", host=host, session=session, container=container, running=yes, token=token,
          generation=generation, db=db),
    _step("request_end", host=host, session=session, of=host, generation=generation),
    _step("look", host=host),
    _step("upkeep", host=host, session=session, verb=verb),
    _step("watch", host=host, watched_ms=st.sampled_from([0, 60_000]), ahead_ms=st.sampled_from([0, 1_200_000])),
    _step("bind_engine", host=host, engine=st.sampled_from(["E1", "E2"]), anew=st.booleans()),
    _step("rename", host=host, old=host, engine=st.sampled_from(["E1", "E2"])),
    _step("forget", host=host, force=st.booleans()),
    _step("command", words=command),
    _step("run_out", session=session),
    _step("pass_lease", session=session),
    _step("lose", what=st.sampled_from(["all", "meta", "seen"])),
]  # fmt: skip
steps = st.lists(st.one_of(*way_in, *way_in, *way_in, *way_out, *way_out, *rare), min_size=4, max_size=22)
LIFE: list[Step] = [
    ("reserve", {"host": "h1", "session": "a", "token": "t1", "waited": "none"}),
    ("renew", {"host": "h1", "session": "a", "token": "t1", "db": "same"}),
    ("save", {"host": "h1", "session": "a", "token": "t1", "container": "box1", "db": "same"}),
    ("look", {"host": "h1"}),
    ("overdue", {"session": "a"}),
    (
        "examine",
        {"host": "h1", "session": "a", "token": "c1", "mode": Mode.CLAIM, "generation": "none", "expected": None},
    ),
    ("extend", {"host": "h1", "session": "a", "token": "c1", "lease": None}),
    ("delete", {"host": "h1", "session": "a", "token": "c1"}),
    ("reserve", {"host": "h2", "session": "a", "token": "t2", "waited": "none"}),
]
"""One whole life, so that each run walks at least that."""


def on_sim(taken: list[Step], lifetime: timedelta | None, flavour: Flavour) -> list[Any]:
    """Take the steps on the simulated server."""
    loop = SimLoop(Random(1))
    server = SimRedis(ServerClock(loop), Random(1))
    server.flags = ALL
    flavoured(server, flavour)
    loop.network = Network(loop, server, Ports(), Random(1))
    try:
        with Virtual(loop, 1):
            return loop.run_until_complete(walk("redis://sim:6379", taken, lifetime=lifetime))
    finally:
        loop.network = None
        loop.close()
        server.lua.close()


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(taken=steps, lifetime=st.sampled_from([None, timedelta(hours=2)]))
@example(taken=LIFE, lifetime=None)
@example(taken=LIFE, lifetime=timedelta(hours=2))
def test_the_scripts_give_the_same_on_both(server: RedisServer, taken: list[Step], lifetime: timedelta | None) -> None:
    """Each verb's answer, what is published, and every key after it."""
    emptied(server)
    real = anyio.run(lambda: walk(server.url, taken, lifetime=lifetime))
    sim = on_sim(taken, lifetime, server.flavour)
    for (name, _), theirs, ours in zip(taken, real, sim, strict=True):
        assert list(differences(theirs, ours)) == [], name
        event(f"{name} {_word(theirs[1])}")


def _word(reply: Any) -> str:
    parts = list(cast("list[object]", reply)) if isinstance(reply, tuple | list) else [cast("object", reply)]
    return str(parts[0] if parts else "")[:20]
