"""A V2 pair at one block, as a frozen value: quotes, the state after a swap, what its Sync logs make of it.

Guarantees: amounts are those of Router02's getAmountsOut and getAmountsIn, to the wei, and where those revert a typed
error says why; `swapped` also refuses what the pair itself would. Forks differ by `fee` only. Not guaranteed: tokens
that tax transfers or rebase: the reserves are what the pair last synchronised.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from chains.types import Address, Log
from contracts.abi import load_abi
from contracts.call import Call, call_all
from contracts.errors import AbiError, AmountTooSmall, InconsistentPool, InsufficientLiquidity, InvalidTradeAmount
from contracts.multicall import Ok
from contracts.plans import Plan
from contracts.ratio import Ratio
from contracts.uniswap_v2.maths import get_amount_in, get_amount_out

MAX_RESERVE: Final = 2**112 - 1
"""Reserves are uint112; a swap that would go beyond reverts with OVERFLOW."""
_WORD: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class V2Fee:
    """`kept` of `whole` of an input count for the price."""

    kept: int
    whole: int

    def __post_init__(self) -> None:
        if not 0 < self.kept <= self.whole:
            raise InconsistentPool(f"a fee that keeps {self.kept} of {self.whole}")


FEE_30_BPS: Final = V2Fee(kept=997, whole=1_000)
"""0.3 %: Uniswap V2, QuickSwap V2, SushiSwap."""


class V2Quote(NamedTuple):
    """What a swap moves, base units."""

    amount_in: int
    amount_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class V2Pool:
    """A pair's reserves. Both are zero before liquidity is added."""

    address: Address
    reserve0: int
    reserve1: int
    fee: V2Fee = FEE_30_BPS

    def __post_init__(self) -> None:
        if not (0 <= self.reserve0 <= MAX_RESERVE and 0 <= self.reserve1 <= MAX_RESERVE):
            raise InconsistentPool(f"reserves of {self.reserve0} and {self.reserve1}")

    @property
    def mid_price(self) -> Ratio:
        """Base units of token1 for one of token0, fee left out. Raises: InconsistentPool: a reserve is empty."""
        if not self.reserve0 or not self.reserve1:
            raise InconsistentPool("an empty pair has no price")
        return Ratio.of(self.reserve1, self.reserve0)


def quote_exact_in(pool: V2Pool, amount_in: int, *, zero_for_one: bool) -> V2Quote:
    """Sell `amount_in`. What it buys may be nothing, as the router says too; the pair then refuses the swap.

    Raises: InvalidTradeAmount, InsufficientLiquidity: as `maths.get_amount_out`.
    """
    fee = pool.fee
    reserves = (pool.reserve0, pool.reserve1) if zero_for_one else (pool.reserve1, pool.reserve0)
    return V2Quote(amount_in, get_amount_out(amount_in, *reserves, kept=fee.kept, whole=fee.whole))


def quote_exact_out(pool: V2Pool, amount_out: int, *, zero_for_one: bool) -> V2Quote:
    """Buy `amount_out`. Raises: InvalidTradeAmount, InsufficientLiquidity: as `maths.get_amount_in`."""
    fee = pool.fee
    reserves = (pool.reserve0, pool.reserve1) if zero_for_one else (pool.reserve1, pool.reserve0)
    return V2Quote(get_amount_in(amount_out, *reserves, kept=fee.kept, whole=fee.whole), amount_out)


def swapped(pool: V2Pool, quote: V2Quote, *, zero_for_one: bool) -> V2Pool:
    """The state after a swap of exactly this quote: what its Sync log will say.

    Raises:
        AmountTooSmall: it buys nothing.
        InsufficientLiquidity: it empties a reserve.
        InvalidTradeAmount: a reserve would not fit uint112.
    """
    if quote.amount_out <= 0:
        raise AmountTooSmall("the pair refuses a swap that buys nothing")
    change0, change1 = (quote.amount_in, -quote.amount_out) if zero_for_one else (-quote.amount_out, quote.amount_in)
    reserve0, reserve1 = pool.reserve0 + change0, pool.reserve1 + change1
    if min(reserve0, reserve1) <= 0:
        raise InsufficientLiquidity("the pair does not hold so much")
    if max(reserve0, reserve1) > MAX_RESERVE:
        raise InvalidTradeAmount("the pair's reserve would overflow")
    return apply(pool, Synced(reserve0=reserve0, reserve1=reserve1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a Sync log says: the reserves after a swap, mint, burn, sync or skim."""

    reserve0: int
    reserve1: int


def apply(pool: V2Pool, event: Synced) -> V2Pool:
    """The state after it. Raises: InconsistentPool: reserves that do not fit."""
    return replace(pool, reserve0=event.reserve0, reserve1=event.reserve1)


def topics() -> tuple[bytes, ...]:
    """The first topics of the logs that change a pair's state, for a log filter."""
    return (load_abi("uniswap_v2_pair").event("Sync").topic,)


def decode(log: Log) -> Synced | None:
    """What a log says of the state; None if it is not Sync. Raises: AbiError: it is malformed."""
    if not log.topics or log.topics[0] not in topics():
        return None
    if len(log.data) != 2 * _WORD:
        raise AbiError(f"a Sync log of {len(log.data)} bytes")
    return Synced(reserve0=int.from_bytes(log.data[:_WORD], "big"), reserve1=int.from_bytes(log.data[_WORD:], "big"))


def state_calls(address: Address) -> Sequence[Call[tuple[int, ...]]]:
    """getReserves."""
    return [call_all(address, load_abi("uniswap_v2_pair").function("getReserves"))]


def load_pool(address: Address, *, fee: V2Fee = FEE_30_BPS) -> Plan[V2Pool]:
    """The pair's state, one call (contracts.plans drives it). Raises: InconsistentPool: the call failed."""
    (answer,) = yield state_calls(address)
    if not isinstance(answer, Ok):
        raise InconsistentPool("getReserves failed")
    reserve0, reserve1, _ = answer.value
    return V2Pool(address=address, reserve0=reserve0, reserve1=reserve1, fee=fee)
