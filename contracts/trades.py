"""Trades as they really happened in single pools, out of the pools' Swap logs, V2 and V3 alike.

Guarantees: amounts are base units as paid and received, the LP fee inside. A log that moved only one of the two tokens,
or both the same way, is no trade. Not guaranteed: that the log is of a pool one knows; who follows asks by address.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from chains.types import Address, BlockRef, Log, TxHash
from contracts.uniswap_v2 import trades as v2
from contracts.uniswap_v3 import trades as v3


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTrade:
    """One swap in one pool. Both amounts are positive; `zero_for_one`: token0 was paid in for token1."""

    pool: Address
    block: BlockRef
    log_index: int
    tx_hash: TxHash
    zero_for_one: bool
    amount0: int
    amount1: int


def topics() -> frozenset[bytes]:
    """The first topics of Swap logs, for a log query."""
    return frozenset(_decoders())


def decode(log: Log) -> PoolTrade | None:
    """The trade that a Swap log tells of; None where it is another log, or no trade.

    Raises: AbiError: it has the topic of a Swap log, and another length.
    """
    decoder = _decoders().get(log.topics[0]) if log.topics else None
    if decoder is None:
        return None
    gained0, gained1 = decoder(log)
    if gained0 * gained1 >= 0:
        return None
    return PoolTrade(
        pool=log.address,
        block=log.block,
        log_index=log.log_index,
        tx_hash=log.tx_hash,
        zero_for_one=gained0 > 0,
        amount0=abs(gained0),
        amount1=abs(gained1),
    )


@cache
def _decoders() -> Mapping[bytes, Callable[[Log], tuple[int, int]]]:
    return MappingProxyType({v2.topic(): v2.moved, v3.topic(): v3.moved})
