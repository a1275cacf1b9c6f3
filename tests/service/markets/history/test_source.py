"""The chain one block behind its head: what is asked for that, and answers that cannot be used."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from chains.client import EvmClient
from chains.config import load_chains
from chains.errors import RpcError, RpcProtocolError
from chains.recent import RecentHead
from chains.sizing import Portion
from chains.types import BlockHash, BlockRef, Header, address_from_bytes
from contracts import trades
from contracts.deployments import load_deployments
from service.markets.history.model import LOGS_A_BLOCK
from service.markets.history.source import BLOCKS_AT_ONCE, ConfirmedChain
from tests.chains.forkable import ForkableChain
from tests.clock import FakeClock

POOL = address_from_bytes(b"\x01" * 20)
(V2_TOPIC,) = [topic for topic in trades.topics() if topic.hex().startswith("d78ad95f")]


class Answers:
    """A transport with the blocks of a chain, and logs that the test wrote."""

    name = "node"

    def __init__(self, chain: ForkableChain) -> None:
        self.chain = chain
        self.logs: list[Mapping[str, Any]] = []
        self.asked: list[str] = []
        self.batches: list[int] = []

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        self.asked.append(method)
        blocks = self.chain.blocks
        match method, params:
            case "eth_getBlockByNumber", ["latest", False]:
                return as_json(blocks[-1])
            case "eth_getBlockByHash", [wanted, False]:
                return next((as_json(block) for block in blocks if block.hash == wanted), None)
            case "eth_getBlockByNumber", [number, False]:
                return as_json(blocks[int(number, 16)])
            case "eth_getLogs", [{"blockHash": wanted}]:
                return [log for log in self.logs if log["blockHash"] == wanted]
            case "eth_getLogs", _:
                return self.logs
        raise AssertionError(method)

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        self.batches.append(len(calls))
        return [await self.request(*call) for call in calls]

    async def close(self) -> None: ...


def as_json(header: Header) -> dict[str, str]:
    return {
        "number": hex(header.number),
        "hash": header.hash,
        "parentHash": header.parent_hash,
        "timestamp": hex(header.timestamp_s),
        "baseFeePerGas": "0x1",
        "gasLimit": "0x1c9c380",
    }


def swap(block: BlockRef, *, log_index: int = 3, words: Sequence[int] = (5_000, 0, 0, 4_000)) -> dict[str, Any]:
    return {
        "address": POOL,
        "topics": ["0x" + V2_TOPIC.hex(), "0x" + "00" * 32, "0x" + "00" * 32],
        "data": "0x" + b"".join(word.to_bytes(32, "big") for word in words).hex(),
        "blockNumber": hex(block.number),
        "blockHash": block.hash,
        "transactionHash": "0x" + "aa" * 32,
        "logIndex": hex(log_index),
        "removed": False,
    }


@pytest.fixture
def node() -> Answers:
    return Answers(ForkableChain(40))


def source(node: Answers, recent: RecentHead | None = None) -> ConfirmedChain:
    return ConfirmedChain(EvmClient(load_chains()["ethereum"], node), deployments=load_deployments(), recent=recent)


async def test_the_head_is_the_parent_of_the_newest_block(node: Answers) -> None:
    one = source(node)
    assert await one.head() == node.chain.blocks[-2]
    assert await one.head() == node.chain.blocks[-2]
    assert node.asked.count("eth_getBlockByHash") == 1


async def test_a_next_block_needs_no_other_question_for_its_parent(node: Answers) -> None:
    one = source(node)
    await one.head()
    node.asked.clear()
    node.chain.mine()
    assert await one.head() == node.chain.blocks[-2]
    assert node.asked == ["eth_getBlockByNumber"]


async def test_after_a_reorg_the_head_is_on_the_new_branch(node: Answers) -> None:
    one = source(node)
    await one.head()
    node.chain.reorg(3, 3)
    assert await one.head() == node.chain.blocks[-2]
    node.chain.reorg(1, 1)
    assert await one.head() == node.chain.blocks[-2]


async def test_a_head_that_the_process_read_a_moment_ago_is_not_asked_for_again(node: Answers) -> None:
    clock = FakeClock()
    recent = RecentHead(clock)
    recent.note(node.chain.blocks[-1], asked_s=clock.monotonic_s())
    one = source(node, recent)
    assert await one.head() == node.chain.blocks[-2]
    assert node.asked == ["eth_getBlockByHash"]
    clock.advance_ms(5_000)
    node.chain.mine()
    assert await one.head() == node.chain.blocks[-2]


async def test_a_node_without_the_parent_of_its_head_cannot_be_used_now(node: Answers) -> None:
    node.chain.blocks[-1] = replace(node.chain.blocks[-1], parent_hash=BlockHash("0x" + "77" * 32))
    with pytest.raises(RpcProtocolError, match="parent"):
        await source(node).head()


async def test_a_chain_of_one_block_is_its_own_head() -> None:
    node = Answers(ForkableChain(1))
    assert await source(node).head() == node.chain.blocks[0]


async def test_trades_are_asked_by_hash_a_batch_at_a_time(node: Answers) -> None:
    refs = [block.ref for block in node.chain.blocks]
    node.logs = [swap(refs[3]), swap(refs[30])]
    found = await source(node).trades_of(frozenset({POOL}), refs)
    assert [(one.block, one.amount0, one.amount1) for one in found] == [
        (refs[3], 5_000, 4_000),
        (refs[30], 5_000, 4_000),
    ]
    assert node.batches == [BLOCKS_AT_ONCE, 40 - BLOCKS_AT_ONCE]


async def test_without_a_pool_no_logs_are_asked_for(node: Answers) -> None:
    assert await source(node).trades_of(frozenset(), [node.chain.blocks[3].ref]) == []
    assert node.asked == []


@pytest.mark.parametrize("broken", [{"words": (5_000, 0, 0)}, {"log_index": LOGS_A_BLOCK}])
async def test_a_log_that_no_pool_makes_is_an_answer_that_cannot_be_used(node: Answers, broken: dict[str, Any]) -> None:
    block = node.chain.blocks[3].ref
    node.logs = [swap(block, **broken)]
    with pytest.raises(RpcProtocolError):
        await source(node).trades_of(frozenset({POOL}), [block])
    ranges = source(node).trades_in(frozenset({POOL}), first=0, last=5, span=Portion(10))
    with pytest.raises(RpcProtocolError):
        await anext(ranges)


async def test_headers_are_asked_a_batch_at_a_time(node: Answers) -> None:
    found = await source(node).headers(range(40))
    assert list(found) == node.chain.blocks
    assert node.batches == [BLOCKS_AT_ONCE, 40 - BLOCKS_AT_ONCE]
