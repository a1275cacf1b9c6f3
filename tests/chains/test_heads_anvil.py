"""Heads on Anvil, with its reorgs and behind a proxy that lies."""

from collections.abc import AsyncIterator, Iterator

import pytest

from chains.client import EvmClient
from chains.config import load_chains
from chains.heads import HeadFollower, HeadPolicy
from chains.headstate import Added, FinalityViolated, Finalized, Skipped
from chains.rpc.transport import HttpTransport
from chains.tx.memory import MemoryState, MemoryUnitOfWork
from tests.chains.test_heads import CHAIN, STORE, advance, events
from tests.clock import FakeClock
from tests.faults.node import Node, bare_node
from tests.faults.proxy import FaultProxy
from tests.faults.rules import Freeze, Rule


@pytest.fixture
def node() -> Iterator[Node]:
    with bare_node() as running:
        running.mine(20)
        yield running


@pytest.fixture
async def proxy(node: Node) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(node.url) as running:
        yield running


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[EvmClient]:
    transport = HttpTransport(proxy.url, name="anvil")
    yield EvmClient(load_chains()["ethereum"], transport)
    await transport.close()


def on_anvil(client: EvmClient) -> HeadFollower[MemoryState]:
    return HeadFollower(
        client,
        chain_id=CHAIN,
        store=STORE,
        uow=MemoryUnitOfWork(),
        policy=HeadPolicy(final_depth=1, use_finalized_tag=True),
        clock=FakeClock(),
    )


@pytest.mark.chain
@pytest.mark.parametrize("depth", [1, 3])
async def test_F25_anvils_reorgs_are_followed(client: EvmClient, node: Node, depth: int) -> None:
    heads = on_anvil(client)
    await events(heads)
    node.mine(10)
    await events(heads)
    node.rpc("anvil_reorg", depth, [])
    step = await advance(heads)
    assert step is not None
    assert len(step.removed) == len(step.added) == depth
    assert step.violation is None
    assert heads.tip == (await client.head()).ref


@pytest.mark.chain
async def test_F29_anvils_reorg_past_finalized_is_a_violation(client: EvmClient, node: Node) -> None:
    heads = on_anvil(client)
    await events(heads)
    node.mine(10)
    happened = await events(heads)
    assert isinstance(happened[-1], Finalized)
    node.rpc("anvil_reorg", 8, [])
    violation = (await events(heads))[0]
    assert isinstance(violation, FinalityViolated)
    assert violation.was == happened[-1].block
    assert violation.now is not None
    assert violation.now.hash != violation.was.hash


@pytest.mark.chain
async def test_F39_a_frozen_node_neither_removes_nor_adds(client: EvmClient, node: Node, proxy: FaultProxy) -> None:
    heads = on_anvil(client)
    await events(heads)
    node.mine(10)
    await events(heads)
    proxy.add(Rule(action=Freeze(block=25)))
    node.mine(5)
    assert await events(heads) == []
    proxy.clear()
    assert [type(event) for event in await events(heads)] == [Added] * 5 + [Finalized]


@pytest.mark.chain
async def test_F35_on_anvil_a_thousand_missed_blocks_are_skipped_in_a_few_requests(
    client: EvmClient, node: Node, proxy: FaultProxy
) -> None:
    heads = on_anvil(client)
    await events(heads)
    node.mine(1_000)
    asked = proxy.count("eth_getBlockByNumber")
    assert isinstance((await events(heads))[0], Skipped)
    assert proxy.count("eth_getBlockByNumber") - asked <= heads.policy.window + 3
    assert heads.tip == (await client.head()).ref
