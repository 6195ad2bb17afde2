"""The rename of a container, on a real engine: the name is the mutex, for it as for a create."""

from collections.abc import AsyncIterator

import pytest

from reactor.crew import connect_runtime
from reactor.runtime.protocol import ContainerGone, ContainerSpec, Member, NameTaken, Runtime
from reactor.session import ContainerId, DatabaseId, Deployment, Token
from tests.pool.house import House


@pytest.fixture
async def runtime(house: House) -> AsyncIterator[Runtime]:
    """The engine, as the flows see it."""
    found = await connect_runtime(house.template(pool=1))
    yield found
    await found.aclose()


async def made(house: House, runtime: Runtime, name: str) -> ContainerId:
    """Make a container of a pool under this name."""
    template = house.template(pool=1).templates["default"]
    member = Member(
        prefix="mcp", deployment=Deployment(house.deployment), host=house.host, db=DatabaseId("b"), template="default",
        ttl=template.ttl, token=Token(name), shape=template.shape(), made_us=1,
    )  # fmt: skip
    return await runtime.create(ContainerSpec(name=f"{house.deployment}-{name}", labels=member, template=template))


async def test_a_renamed_container_keeps_its_id_and_labels(house: House, runtime: Runtime) -> None:
    """Repeated, it changes nothing: the answer to the first may have been lost."""
    container = await made(house, runtime, "first")
    for _ in range(2):
        await runtime.rename(container, f"{house.deployment}-second")
        found = await runtime.inspect(f"{house.deployment}-second")
        assert found is not None
        assert found.container_id == container
        assert found.labels is None
        assert found.member is not None
        assert found.member.token == Token("first")
        assert found.image_id == await runtime.image_id(house.image)
    assert await runtime.inspect(f"{house.deployment}-first") is None


async def test_a_name_that_is_taken_and_a_container_that_is_gone_are_told_apart(house: House, runtime: Runtime) -> None:
    """The holder is named; a removed container is gone, and an image that nobody has is none."""
    first, second = await made(house, runtime, "first"), await made(house, runtime, "second")
    with pytest.raises(NameTaken) as taken:
        await runtime.rename(first, f"{house.deployment}-second")
    assert taken.value.holder == second
    house.engine.remove(first)
    with pytest.raises(ContainerGone):
        await runtime.rename(first, f"{house.deployment}-third")
    assert await runtime.image_id(f"{house.deployment}:none") is None
