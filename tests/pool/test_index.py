"""The index alone, on a real Redis: who may take, list, doom and register, whatever the engine does."""

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
import redis

from reactor.errors import SessionLost
from reactor.keys import Keys
from reactor.registry import Doomed, Evidence, RedisLink, SessionRegistry, Terms
from reactor.registry.verdicts import Spawn, Wait
from reactor.runtime.protocol import Container, ContainerState, Labels, Member
from reactor.session import ContainerId, DatabaseId, Deployment, Generation, HostName, SessionId, Token
from tests.services.redis import RedisServer

ROOT = Path(__file__).parents[2]
HOST = HostName("h1")
KEYS = Keys("mcp")
ID = SessionId("s-1")
A, B, SHAPE = Token("aaaa"), Token("bbbb"), "shape-1"
TTL = timedelta(minutes=10)


@pytest.fixture
async def registry(redis_server: RedisServer) -> AsyncIterator[SessionRegistry]:
    """One host that has witnessed an empty Redis; leases are short enough to run out."""
    link = RedisLink(redis_server.url)
    evidence = Evidence(link, KEYS, HOST, Deployment("test"))
    terms = Terms(spawn_lease=timedelta(milliseconds=1))
    found = SessionRegistry(link, KEYS, evidence, host=HOST, runtime="fake", terms=terms)
    await evidence.witness()
    yield found
    await link.aclose()


async def listed(registry: SessionRegistry, number: int, db: str = "") -> Member:
    """List a container that nobody made; return what it would say of itself."""
    token = Token(f"m-{number}")
    slot = await registry.slot("default", token, 100, timedelta(minutes=1))
    assert slot is not None
    member = Member(
        prefix="mcp", deployment=Deployment("test"), host=HOST, db=DatabaseId(db or registry.evidence.db),
        template="default", ttl=TTL, token=token, shape=SHAPE, made_us=slot.now_us,
    )  # fmt: skip
    assert await registry.stock(member, ContainerId(f"c-{number}"), slot.entry)
    return member


async def granted(registry: SessionRegistry, token: Token) -> Spawn:
    """Reserve the session for a spawn, where that must be granted."""
    answer = await registry.reserve(ID, token, template="default", ttl=TTL)
    assert isinstance(answer, Spawn)
    return answer


async def test_fifty_takers_in_two_processes_get_fifty_containers(
    registry: SessionRegistry, redis_server: RedisServer
) -> None:
    """Each gets another one, and the same one when it asks again; the fifty-first gets none."""
    for number in range(49):
        await listed(registry, number)
    ids = [f"s-{number}" for number in range(50)]
    command = [sys.executable, "-m", "tests.pool.takers", redis_server.url, HOST, SHAPE]
    told: list[str] = []
    async with anyio.create_task_group() as tasks:

        async def run(half: list[str]) -> None:
            told.extend((await anyio.run_process([*command, *half], cwd=ROOT)).stdout.decode().splitlines())

        tasks.start_soon(run, ids[:25])
        tasks.start_soon(run, ids[25:])
    taken = {line.split()[0]: line.split()[1] for line in told}
    assert sorted(taken) == sorted(ids)
    assert sorted(taken.values()) == sorted(["-", *(f"c-{number}" for number in range(49))])


async def test_only_the_token_of_a_start_takes(registry: SessionRegistry) -> None:
    """Neither a stranger nor one whose spawn was overtaken; the container waits on."""
    await listed(registry, 1)
    with pytest.raises(SessionLost):
        await registry.take(ID, A, "default", SHAPE)
    await granted(registry, A)
    with pytest.raises(SessionLost):
        await registry.take(ID, B, "default", SHAPE)
    assert await registry.take(ID, A, "default", SHAPE) == "c-1"


async def test_another_shape_and_another_databases_container_are_not_taken(registry: SessionRegistry) -> None:
    """The template changed; or Redis was rewound to when it still waited, and somebody may have it."""
    await listed(registry, 1)
    await listed(registry, 2, db="another")
    await granted(registry, A)
    assert await registry.take(ID, A, "default", "shape-2") is None
    assert await registry.take(ID, A, "default", SHAPE) == "c-1"
    await registry.abort(ID, A, "")
    await granted(registry, B)
    assert await registry.take(ID, B, "default", SHAPE) is None


async def test_a_pool_is_never_filled_beyond_its_size(registry: SessionRegistry) -> None:
    """Those that are ready count, those in the making too; the same maker gets the same slot again."""
    await listed(registry, 1)
    first = await registry.slot("default", Token("m-2"), 2, timedelta(minutes=1))
    again = await registry.slot("default", Token("m-2"), 2, timedelta(minutes=1))
    assert first is not None
    assert again is not None
    assert first.entry == again.entry
    assert await registry.slot("default", Token("m-3"), 2, timedelta(minutes=1)) is None


async def test_a_slot_that_was_taken_away_lists_nothing(registry: SessionRegistry, redis_server: RedisServer) -> None:
    """Whoever made the container in vain removes it: it is nobody's."""
    token = Token("m-1")
    slot = await registry.slot("default", token, 1, timedelta(minutes=1))
    assert slot is not None
    member = await listed(registry, 2)
    assert await registry.mark("default", token, (slot.entry, ""), "doomed")
    late = replace(member, token=token)
    assert not await registry.stock(late, ContainerId("c-9"), slot.entry)
    with redis.Redis.from_url(redis_server.url) as client:
        client.delete(KEYS.pool(HOST, "default"))
    assert not await registry.stock(late, ContainerId("c-9"), slot.entry)


async def test_what_was_taken_since_it_was_judged_is_not_doomed(registry: SessionRegistry) -> None:
    """The judgement names what both indices said; a doomed one is never taken."""
    first, second = await listed(registry, 1), await listed(registry, 2)
    index = await registry.pool_index(["default"])
    await granted(registry, A)
    assert await registry.take(ID, A, "default", SHAPE) == "c-1"
    assert not await registry.mark("default", first.token, (index.entry(first).raw, ""), "doomed")
    assert await registry.mark("default", second.token, (index.entry(second).raw, ""), "doomed")
    await registry.abort(ID, A, "")
    await granted(registry, B)
    assert await registry.take(ID, B, "default", SHAPE) is None


async def test_a_start_that_names_a_container_is_not_followed_by_another(registry: SessionRegistry) -> None:
    """Its lease is over, and yet the next caller waits: the container goes first, or nobody would know of it."""
    await listed(registry, 1)
    await granted(registry, A)
    assert await registry.take(ID, A, "default", SHAPE) == "c-1"
    answer = await registry.reserve(ID, B, template="default", ttl=TTL)
    while isinstance(answer, Wait) and answer.lease_left >= timedelta(0):
        answer = await registry.reserve(ID, B, template="default", ttl=TTL)
    assert isinstance(answer, Wait)
    assert answer.lease_left < timedelta(0)


async def test_a_container_of_the_pool_is_committed_by_a_record_that_names_it(registry: SessionRegistry) -> None:
    """Not by one that does not: Redis may have lost the take, and a janitor removed what no record named."""
    await listed(registry, 1)
    spawn = await granted(registry, A)
    with pytest.raises(SessionLost):
        await registry.save(ID, A, container_id=ContainerId("c-1"), db=spawn.db, address=None, taken=True)
    assert await registry.take(ID, A, "default", SHAPE) == "c-1"
    with pytest.raises(SessionLost):
        await registry.save(ID, A, container_id=ContainerId("c-2"), db=spawn.db, address=None)
    saved = await registry.save(ID, A, container_id=ContainerId("c-1"), db=spawn.db, address=None, taken=True)
    assert saved.container_id == "c-1"


def found(member: Member) -> Container:
    """The container of a member, as an engine shows it."""
    return Container(
        container_id=ContainerId("c-1"), name="n", labels=None, member=member, state=ContainerState.RUNNING,
        created_at=datetime.now(UTC),
    )  # fmt: skip


def labels(spawn: Spawn, token: Token) -> Labels:
    """What the spawn that finds it would write on its own container."""
    return Labels(
        prefix="mcp", deployment=Deployment("test"), host=HOST, db=DatabaseId("before"), session=ID,
        generation=Generation(spawn.generation), template="default", ttl=TTL, token=token,
    )  # fmt: skip


async def test_one_found_after_a_data_loss_becomes_what_the_spawn_made(registry: SessionRegistry) -> None:
    """With the generation of that reserve; a judgement from before finds that it changed."""
    member = replace(await listed(registry, 1), token=Token("m-9"), db=DatabaseId("before"))
    spawn = await granted(registry, A)
    record = await registry.register(found(member), labels(spawn, A), instead_of=A, member=member)
    assert record is not None
    assert (record.generation, record.container_id) == (spawn.generation, "c-1")
    assert await registry.taken_by(member.token) == ID
    assert not await registry.mark("default", member.token, ("", ""), "doomed")


async def test_one_of_this_very_database_or_a_doomed_one_is_not_registered(registry: SessionRegistry) -> None:
    """The first was never this session's, the second is being removed."""
    here = await listed(registry, 1)
    spawn = await granted(registry, A)
    same = replace(labels(spawn, A), db=DatabaseId(registry.evidence.db))
    assert await registry.register(found(here), same, instead_of=A, member=here) is None
    gone = replace(here, token=Token("m-9"), db=DatabaseId("before"))
    assert await registry.mark("default", gone.token, ("", ""), "doomed")
    with pytest.raises(Doomed):
        await registry.register(found(gone), labels(spawn, A), instead_of=A, member=gone)
