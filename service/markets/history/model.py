"""Trades and candles as values, and the rules that say which trades count and how they are numbered.

A trade's price is what was really paid: base units of token1 for one of token0, the LP fee inside.

Guarantees: ids grow along the chain and stay below 2^53. Not guaranteed: that a price says what a token is worth: a
trade in any listed pool counts, also one that its maker did with himself in a pool of little depth.
"""

from dataclasses import dataclass
from typing import Final

from chains.types import Address, BlockHash, BlockRef, ChainId, TxHash
from contracts.deployments import Venue
from contracts.ratio import Ratio
from contracts.trades import PoolTrade

LOGS_A_BLOCK: Final = 1_000_000
"""Ids of a block. A log costs 375 gas at least, so that a block of 60 million gas can have 160,000: anyone could make
one in which a smaller number repeats."""
LEAST_UNITS: Final = 1_000
"""Base units on either side below which a trade has no price, and is left out: amounts are whole units, rounded against
the taker, who pays a millionth of a dollar for 1 wei of WETH if he likes: a billion times its price."""

MOST_UNITS: Final = 2**192
"""Base units on either side from which on it is left out too: more than any pool can hold for real, and few enough that
the sum of all trades of a candle fits into 256 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two tokens of a chain, `token0 < token1` as numbers, whichever markets there are of them."""

    id: int
    token0: Address
    token1: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedPool:
    """A pool whose trades are kept."""

    id: int
    pair_id: int
    address: Address
    venue: Venue
    fee_pips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Blocks, both ends included, whose trades of a pool are not written."""

    id: int
    pool_id: int
    first: int
    last: int
    complete_from_ms: int
    """Time of the block after `last`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One row. `time_ms` is its block's."""

    id: int
    pair_id: int
    pool_id: int
    time_ms: int
    tx_hash: TxHash
    zero_for_one: bool
    amount0: int
    amount1: int

    @property
    def price(self) -> Ratio:
        return Ratio.of(self.amount1, self.amount0)

    @property
    def block_number(self) -> int:
        return self.id // LOGS_A_BLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """What was traded from `start_s` on for `seconds`; never of nothing. `sold0` and `sold1` are what was moved by
    those trades, of `volume0` and `volume1`, that sold token0."""

    start_s: int
    seconds: int
    first_id: int
    last_id: int
    open: Ratio
    high: Ratio
    low: Ratio
    close: Ratio
    volume0: int
    volume1: int
    sold0: int
    sold1: int
    count: int

    @property
    def end_s(self) -> int:
        return self.start_s + self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryHead:
    """The block up to which history is written."""

    chain_id: ChainId
    number: int
    hash: BlockHash
    time_ms: int

    @property
    def ref(self) -> BlockRef:
        return BlockRef(number=self.number, hash=self.hash)


def trade_id(block_number: int, log_index: int) -> int:
    """Raises: ValueError: no block has so many logs."""
    if not 0 <= log_index < LOGS_A_BLOCK:
        raise ValueError(f"log {log_index} of block {block_number}")
    return block_number * LOGS_A_BLOCK + log_index


def first_id_of(block_number: int) -> int:
    """The least id that a trade in this block, or after it, can have."""
    return block_number * LOGS_A_BLOCK


def row_of(trade: PoolTrade, pool: FollowedPool, *, time_ms: int) -> Trade | None:
    """The row of a trade in a followed pool; None where its amounts are too small to have a price, or absurd."""
    if min(trade.amount0, trade.amount1) < LEAST_UNITS or max(trade.amount0, trade.amount1) >= MOST_UNITS:
        return None
    return Trade(
        id=trade_id(trade.block.number, trade.log_index),
        pair_id=pool.pair_id,
        pool_id=pool.id,
        time_ms=time_ms,
        tx_hash=trade.tx_hash,
        zero_for_one=trade.zero_for_one,
        amount0=trade.amount0,
        amount1=trade.amount1,
    )
