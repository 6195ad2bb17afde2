"""The model's scripts answer and change what the real ones do: else its search would say nothing of the product.

From many states that the model reaches, each script is run on a real Redis and in the model, with the same arguments.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
import redis

from faultlab.model import scripts
from faultlab.model.configurations import BOUNDS, ONE, TWO, Hosts
from faultlab.model.moves import FAULTS
from faultlab.model.rules import Rules
from faultlab.model.state import SURE, Container, Redis, State, initial
from faultlab.model.world import moves
from reactor.errors import SessionLost
from reactor.registry import Evidence, RedisLink, SessionRegistry, Terms
from reactor.registry.registry import Superseded
from reactor.registry.verdicts import Claimed, Live, Mode, Spawn, Wait
from reactor.session import (
    ContainerId,
    DatabaseId,
    Deployment,
    Detector,
    Generation,
    Token,
)
from tests.faultlab.model_stage import FRESH, HOSTS, ID, KEYS, SECOND, STRANGER, Stage
from tests.services.redis import RedisServer

AS_BUILT = Rules()
EACH = 60
"""States of each configuration: spread over all that it reaches."""
CASES: tuple[tuple[Hosts, tuple[str, ...]], ...] = (
    (ONE, ("terminate",)),
    (ONE, ("heartbeat evicted", "crash")),
    (ONE, ("record evicted",)),
    (TWO, ("lease over",)),
    (TWO, ("flush",)),
)


def _reached(hosts: Hosts, faults: tuple[str, ...]) -> list[Redis]:
    """What Redis may hold in the first 30,000 states, where no script would have to ask for a witness first."""
    first = initial(hosts, tuple(faults.count(fault) for fault in FAULTS))
    known: dict[State, None] = {first: None}
    found: dict[Redis, None] = {}
    queue = [first]
    for state in queue:
        r = state.redis
        if all(standing == SURE for standing in r.standing) and r.db and all(seen == r.db for seen in r.seen):
            found[r] = None
        if len(queue) < 30_000:
            after = {move[2]: None for move in moves(state, Rules(), BOUNDS)}
            queue += [s for s in after if s not in known]
            known.update(after)
    states = list(found)
    return states[:: max(1, len(states) // EACH)]


@pytest.fixture
async def stage(redis_server: RedisServer) -> AsyncIterator[Stage]:
    """Two hosts that have witnessed a real Redis."""
    links = [RedisLink(redis_server.url) for _ in HOSTS]
    registries: list[SessionRegistry] = []
    for link, host in zip(links, HOSTS, strict=True):
        evidence = Evidence(link, KEYS, host, Deployment("test"))
        registries.append(SessionRegistry(link, KEYS, evidence, host=host, runtime="fake", terms=Terms()))
        await evidence.witness()
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        seconds, _ = client.time()
        # Generations 1, 2, ... are seconds from a while ago; what Redis calls now comes after all of them.
        yield Stage(client=client, registries=tuple(registries), base_us=(seconds - 1000) * SECOND)
        client.delete(KEYS.record(ID), KEYS.heartbeat(ID))
    for link in links:
        await link.aclose()


Case = tuple[str, scripts.Answer, Callable[[], Awaitable[str]]]


async def _answered(call: Awaitable[Any]) -> str:
    try:
        await call
    except SessionLost as error:
        return "SUPERSEDED" if isinstance(error, Superseded) else "DATA LOST"
    return "OK"


def _cases(stage: Stage, r: Redis, host: int) -> Iterator[Case]:
    yield from _way_in(stage, r, host)
    yield from _way_out(stage, r, host)
    yield from _repairs(stage, r, host)


def _way_in(stage: Stage, r: Redis, host: int) -> Iterator[Case]:
    registry, rules, record = stage.registries[host], AS_BUILT, r.record

    async def reserve(token: int) -> str:
        answer = await registry.reserve(ID, Token(f"t{token}"), template="default", ttl=timedelta(minutes=1))
        match answer:
            case Live():
                return "LIVE"
            case Wait(state, host, _, left):
                held = left > timedelta(0) or (state == "ending" and left >= timedelta(0))
                return "WAIT" if held or host != registry.host or state == "starting" else "TEAR DOWN"
            case Spawn():
                return "SPAWN AGAIN" if record.state == "starting" and record.token == token else "SPAWN"
            case _:
                return str(answer)

    for token in {record.token, STRANGER}:
        for db in (r.db, r.db + 1):
            answer = scripts.renew(rules, r, host, token, db)
            yield (
                f"renew {token} {db}",
                answer,
                lambda t=token, d=db: _answered(registry.renew(ID, Token(f"t{t}"), DatabaseId(f"db{d}"))),
            )
            made = Container(record.container or 5, record.generation, token, db)
            answer = scripts.commit(rules, r, host, token, made, db)
            yield (
                f"commit {token} {db}",
                (answer[0].removesuffix(" AGAIN"), answer[1]),
                lambda t=token, d=db: _answered(
                    registry.save(
                        ID,
                        Token(f"t{t}"),
                        container_id=ContainerId(f"c{record.container or 5}"),
                        db=DatabaseId(f"db{d}"),
                        address=None,
                    )
                ),
            )
        if token:
            answer = scripts.reserve(rules, r, host, token, FRESH)
            yield f"reserve {token}", answer, lambda t=token: reserve(t)
        for error in ("", "why"):
            answer = scripts.abort(r, host, token, error=bool(error))
            yield (
                f"abort {token} {error!r}",
                ("OK", answer[1]),
                lambda t=token, e=error: _answered(registry.abort(ID, Token(f"t{t}"), e)),
            )


def _way_out(stage: Stage, r: Redis, host: int) -> Iterator[Case]:
    registry, rules, record = stage.registries[host], AS_BUILT, r.record

    async def examine(token: int, mode: Mode, expected: int, generation: int) -> str:
        named = ContainerId(f"c{expected}") if expected else None
        meant = Generation(stage.base_us + generation * SECOND) if generation else None
        verdict = await registry.examine(
            ID, mode, Token(f"t{token}"), detector=Detector.MANUAL, expected=named, generation=meant
        )
        words = {"Alive": "LIVE"}
        return words.get(type(verdict).__name__, type(verdict).__name__.upper())

    for token in {record.claim, STRANGER} - {0}:
        ends = product((0, record.container, 99), (0, record.generation, record.generation + 1))
        for mode, expected, meant in ((Mode.CLAIM, 0, 0), *((Mode.END, *end) for end in ends)):
            answer = scripts.examine(rules, r, host, token, end=mode is Mode.END, expected=expected, generation=meant)
            name = f"examine {mode} {token} {expected} {meant}"
            yield name, answer, lambda t=token, m=mode, e=expected, g=meant: examine(t, m, e, g)
        answer = scripts.extend(r, token)
        if record.host == host:
            words = {"OK": "OK", "LOST": "SUPERSEDED"}
            yield (
                f"extend {token}",
                (words[answer[0]], answer[1]),
                lambda t=token: _answered(registry.extend(ID, Token(f"t{t}"))),
            )
            answer = scripts.finish(rules, r, host, token)
            words = {"ENDED": "OK", "LOST": "SUPERSEDED"}
            yield (
                f"finish {token}",
                (words[answer[0]], answer[1]),
                lambda t=token: _answered(registry.delete(ID, Token(f"t{t}"))),
            )


def _repairs(stage: Stage, r: Redis, host: int) -> Iterator[Case]:
    registry, rules, record = stage.registries[host], AS_BUILT, r.record

    async def register(found: Container, instead_of: int) -> str:
        token = Token(f"t{instead_of}") if instead_of else None
        answer = await registry.register(*stage.described(found), instead_of=token)
        return "REFUSED" if answer is None else "OK"

    async def adopt(found: Container) -> str:
        verdict = await registry.adopt_orphan(*stage.described(found), Token(f"t{STRANGER}"), Detector.JANITOR)
        return "CLAIMED" if isinstance(verdict, Claimed) else "REFUSED"

    async def request_end(owner: int, generation: int) -> str:
        meant = Generation(stage.base_us + generation * SECOND)
        return "OK" if await registry.request_end(ID, HOSTS[owner], meant) else "REFUSED"

    for token in {record.token or STRANGER, STRANGER}:
        for db in (r.db, r.db + 1):
            found = Container(record.container or 5, record.generation or 1, token, db, "running")
            for instead_of in {0, record.token}:
                answer = scripts.register(rules, r, host, found, instead_of)
                yield f"register {found} {instead_of}", answer, lambda f=found, i=instead_of: register(f, i)
            yield f"adopt {found}", scripts.adopt_orphan(r, host, STRANGER, found), lambda f=found: adopt(f)
    for owner in range(len(r.seen)):
        for generation in (record.generation, record.generation + 1):
            answer = scripts.request_end(rules, r, owner, generation)
            word = "OK" if answer[0] == "OK" else "REFUSED"
            yield (
                f"request_end {owner} {generation}",
                (word, answer[1]),
                lambda o=owner, g=generation: request_end(o, g),
            )


def _comparable(r: Redis) -> Redis:
    """What scripts may leave or tidy as they like: nobody asks for it again."""
    record = r.record
    if record.state in ("ended", "none"):
        record = record._replace(lease=False, graced=0)
    return r._replace(record=record)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("hosts, faults", CASES, ids=str)
async def test_each_script_does_in_the_model_what_it_does_in_redis(
    stage: Stage, hosts: Hosts, faults: tuple[str, ...]
) -> None:
    """Same state, same arguments: same word, and the same record, heartbeat and due entry afterwards."""
    compared = 0
    for r in _reached(hosts, faults):
        if r.key < 0:
            continue
        for host in range(len(hosts)):
            for name, (word, after), call in _cases(stage, r, host):
                stage.put(r)
                said = await call()
                found = stage.get(r)
                assert (said, _comparable(found)) == (word, _comparable(after)), f"{name} on {host}: {r}"
                compared += 1
    assert compared > 500
