"""Suggested fees: asked once a block, and what a gas is likely to cost."""

from collections.abc import Sequence
from typing import cast

import pytest

from chains.client import EvmClient
from chains.config import load_chains
from chains.errors import FeeCapExceeded, RpcUnavailable
from chains.fees import FeeHistory
from chains.types import BlockHash, BlockRef, Fees
from service.markets.fees import FeeBoard, expected_price_wei

GWEI = 10**9


class Node:
    """As much of a client as fees need; counts the calls."""

    def __init__(self, *, base_fee_wei: int) -> None:
        self.config = load_chains()["ethereum"]
        self.base_fee_wei = base_fee_wei
        self.calls = 0
        self.fails = False

    async def fee_history(self, blocks: int, percentiles: Sequence[int]) -> FeeHistory:
        self.calls += 1
        if self.fails:
            raise RpcUnavailable("down", endpoint="one", method="eth_feeHistory")
        return FeeHistory(base_fees_wei=(self.base_fee_wei,) * (blocks + 1), rewards_wei=((GWEI,),) * blocks)


def block(number: int) -> BlockRef:
    return BlockRef(number=number, hash=BlockHash(f"0x{number:064x}"))


async def test_a_block_is_asked_about_once() -> None:
    node, board = Node(base_fee_wei=20 * GWEI), FeeBoard()
    client = cast("EvmClient", node)
    first = await board.suggested(client, block=block(1))
    assert await board.suggested(client, block=block(1)) == first
    assert node.calls == 1
    node.base_fee_wei = 30 * GWEI
    assert (await board.suggested(client, block=block(2))).max_fee_wei > first.max_fee_wei
    assert node.calls == 2


async def test_what_could_not_be_read_is_not_remembered() -> None:
    node, board = Node(base_fee_wei=20 * GWEI), FeeBoard()
    client = cast("EvmClient", node)
    node.fails = True
    with pytest.raises(RpcUnavailable):
        await board.suggested(client, block=block(1))
    node.fails = False
    assert (await board.suggested(client, block=block(1))).max_fee_wei > 20 * GWEI


async def test_fees_over_the_caps_are_refused() -> None:
    with pytest.raises(FeeCapExceeded):
        await FeeBoard().suggested(cast("EvmClient", Node(base_fee_wei=10**6 * GWEI)), block=block(1))


@pytest.mark.parametrize(("base_fee_gwei", "max_fee_gwei", "expected_gwei"), [(16, 100, 19), (16, 17, 17), (0, 100, 1)])
def test_a_gas_is_likely_to_cost_an_eighth_more_than_now_and_the_tip_and_never_more_than_offered(
    base_fee_gwei: int, max_fee_gwei: int, expected_gwei: int
) -> None:
    fees = Fees(max_fee_wei=max_fee_gwei * GWEI, priority_fee_wei=GWEI)
    assert expected_price_wei(fees, base_fee_wei=base_fee_gwei * GWEI) == expected_gwei * GWEI
