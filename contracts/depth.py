"""How much of one pool can be traded before a unit of it costs more than a given price.

    swap_to_price(pool, Ratio.of(3_000 * 10**6, 10**18), token0_in=True)  -> Depth(amount_in, amount_out)

A price here is marginal and what a taker pays, the pool's fee inside: base units of the bought token for one of the
sold token. Guarantees: amounts are those of a swap that stops at that price (V3: `sqrtPriceLimitX96`; V2: an exact
input of that size), rounding included; a better price never gives more; nothing is given beyond what the pool holds.
Not guaranteed: that the next base unit would be over the price: the stop is rounded to the near side.
"""

from math import isqrt
from typing import Final, NamedTuple

from contracts.errors import InsufficientLiquidity
from contracts.ratio import Ratio
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v2.pool import V2Pool
from contracts.uniswap_v3.ladder import HIGHEST_LIMIT, LOWEST_LIMIT
from contracts.uniswap_v3.maths import FEE_UNITS
from contracts.uniswap_v3.pool import Q192, V3Pool
from contracts.uniswap_v3.quoting import MAX_AMOUNT, quote_exact_in

_ALL: Final = MAX_AMOUNT


class Depth(NamedTuple):
    """Base units of the sold token that the pool takes, fee included, and of the bought one that it gives."""

    amount_in: int
    amount_out: int


NOTHING: Final = Depth(0, 0)


def swap_to_price(pool: V2Pool | V3Pool, price: Ratio, *, token0_in: bool) -> Depth:
    """The most that trades with every unit at `price` or better; nothing when the pool's price is worse already.

    Raises: TicksNotLoaded: a V3 pool whose ticks are not loaded as far as that price.
    """
    if isinstance(pool, V2Pool):
        return _v2(pool, price, token0_in=token0_in)
    return _v3(pool, price, token0_in=token0_in)


def taker_price(pool: V2Pool | V3Pool, *, token0_in: bool) -> Ratio | None:
    """What the first unit costs: bought for sold base units, fee inside. None: the pool has nothing to sell."""
    if isinstance(pool, V2Pool):
        if not pool.reserve0 or not pool.reserve1:
            return None
        kept = Ratio.of(pool.fee.kept, pool.fee.whole)
    else:
        if not pool.sqrt_price_x96:
            return None
        kept = Ratio.of(FEE_UNITS - pool.fee_pips, FEE_UNITS)
    mid = pool.mid_price
    return (mid if token0_in else mid.inverse) * kept


def _v2(pool: V2Pool, price: Ratio, *, token0_in: bool) -> Depth:
    reserve_in, reserve_out = (pool.reserve0, pool.reserve1) if token0_in else (pool.reserve1, pool.reserve0)
    kept, whole = pool.fee.kept, pool.fee.whole
    if not reserve_in or not reserve_out:
        return NOTHING
    # With a of input, y/x reserves and g = kept/whole, the next unit buys g*x*y / (x + g*a)^2. That is the price at
    # g*a = sqrt(g*x*y / price) - x.
    worth = isqrt(kept * reserve_in * reserve_out * price.den // (whole * price.num)) - reserve_in
    amount_in = min(worth * whole // kept, v2.MAX_RESERVE - reserve_in)
    if amount_in <= 0:
        return NOTHING
    return Depth(amount_in, v2.quote_exact_in(pool, amount_in, zero_for_one=token0_in).amount_out)


def _v3(pool: V3Pool, price: Ratio, *, token0_in: bool) -> Depth:
    if not pool.sqrt_price_x96:
        return NOTHING
    kept = FEE_UNITS - pool.fee_pips
    if token0_in:
        # token1 for token0 is P*(1-f), P = sqrt_price^2 / 2^192: stop at P = price / (1-f), rounded up.
        limit = _sqrt_up(price.num * FEE_UNITS * Q192, price.den * kept)
        limit = max(limit, LOWEST_LIMIT)
        if limit >= pool.sqrt_price_x96:
            return NOTHING
    else:
        # token0 for token1 is (1-f)/P: stop at P = (1-f) / price, rounded down.
        limit = isqrt(price.den * kept * Q192 // (price.num * FEE_UNITS))
        limit = min(limit, HIGHEST_LIMIT)
        if limit <= pool.sqrt_price_x96:
            return NOTHING
    try:
        quote = quote_exact_in(pool, _ALL, zero_for_one=token0_in, sqrt_price_limit_x96=limit)
    except InsufficientLiquidity:
        return NOTHING
    return Depth(quote.amount_in, quote.amount_out)


def _sqrt_up(num: int, den: int) -> int:
    """The smallest integer whose square is at least `num / den`."""
    target = -(-num // den)
    root = isqrt(target)
    return root if root * root == target else root + 1
