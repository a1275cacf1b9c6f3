"""A share of `scripts.bench keeper` on a local chain: orders that rest through order flow and reorgs."""

from pathlib import Path

import pytest

from scripts.bench.keeperchain import MOST_HEADS, prove
from scripts.devnet.network import LocalChain

BLOCKS = 80
REORGS = 5


@pytest.mark.chain
@pytest.mark.timeout(240)
async def test_resting_orders_on_a_chain_trade_inside_their_limits_and_books_are_right(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    done = await prove(fresh_ethereum, tmp_path, blocks=BLOCKS, reorgs=REORGS, seed=3)
    assert not done.outside
    assert done.longest < MOST_HEADS
    assert done.books_differ == 0
    # Of nothing, all of it would hold.
    assert done.executed > 3
    assert done.filled > 5
    assert done.reorgs == REORGS
