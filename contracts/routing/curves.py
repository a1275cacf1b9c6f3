"""A pool in one direction as a function: so much through it in all, and what is on the other side, and the rate there.

With exact input a curve maps what was put in to what came out, with exact output what was taken out to what it costs:
either way from the pool's state at the block, so that what one more chunk does is a difference of two values. Rates are
what one more base unit put in would give, fee paid, as fixed-point numbers of `RATE_BITS`.

Guarantees: integers only; the values are the pool's own quotes. A V3 pool gives the same for one swap as for its parts,
rounding aside; a V2 pool gives a little more for parts, since the fee of the first stays in. So what is planned with
curves is near what executes, and never used as what executes (`execution.py`).
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from contracts.errors import InsufficientLiquidity
from contracts.routes import Exact
from contracts.routing.graph import Edge
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v3.maths import FEE_UNITS
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.quoting import quote_exact_in, quote_exact_out

RATE_BITS: Final = 128
"""Fraction bits of a rate: 38 digits, for prices of base units from 1e-20 up."""


class Point(NamedTuple):
    """On a curve: the other side's amount, the rate for more, and initialised ticks crossed so far."""

    other: int
    rate: int
    ticks: int


Curve = Callable[[int], Point]
"""Raises: InsufficientLiquidity, TicksNotLoaded, InvalidTradeAmount: the pool does not go so far."""


def curve_of(edge: Edge, exact: Exact) -> Curve:
    """The curve of a pool in the edge's direction."""
    state = edge.pool.state
    if isinstance(state, V3Pool):
        return _v3(state, exact, zero_for_one=edge.zero_for_one)
    return _v2(state, exact, zero_for_one=edge.zero_for_one)


def joined(one: int, other: int) -> int:
    """The rate of one pool after the other."""
    return one * other >> RATE_BITS


def _v3(pool: V3Pool, exact: Exact, *, zero_for_one: bool) -> Curve:
    kept, units = FEE_UNITS - pool.fee_pips, FEE_UNITS
    # (sqrt price / 2^96)^2, or its inverse, less the fee
    down_bits, up = 2 * 96 - RATE_BITS, kept << 2 * 96 + RATE_BITS
    start = pool.sqrt_price_x96
    spot = start * start * kept // units >> down_bits if zero_for_one else up // (units * start * start)
    at_start = Point(0, spot, 0)

    def bought(amount: int) -> Point:
        if amount <= 0:
            return at_start
        paid, received, after, ticks = quote_exact_in(pool, amount, zero_for_one=zero_for_one)
        if paid != amount:
            raise InsufficientLiquidity("the pool does not take so much")
        rate = after * after * kept // units >> down_bits if zero_for_one else up // (units * after * after)
        return Point(received, rate, ticks)

    def cost(amount: int) -> Point:
        if amount <= 0:
            return at_start
        paid, _, after, ticks = quote_exact_out(pool, amount, zero_for_one=zero_for_one)
        rate = after * after * kept // units >> down_bits if zero_for_one else up // (units * after * after)
        return Point(paid, rate, ticks)

    return bought if exact == "in" else cost


def _v2(pool: v2.V2Pool, exact: Exact, *, zero_for_one: bool) -> Curve:
    kept, whole = pool.fee.kept, pool.fee.whole
    held, offered = (pool.reserve0, pool.reserve1) if zero_for_one else (pool.reserve1, pool.reserve0)
    # Reserves are uint112: a swap that brings more reverts, whatever the router says of it.
    room = v2.MAX_RESERVE - held
    # d/dx of kept x offered / (held whole + kept x)
    steepness, base = kept * whole * held * offered << RATE_BITS, held * whole
    at_start = Point(0, steepness // base**2, 0)

    def bought(amount: int) -> Point:
        if amount <= 0:
            return at_start
        if amount > room:
            raise InsufficientLiquidity("the pair does not take so much")
        received = v2.quote_exact_in(pool, amount, zero_for_one=zero_for_one).amount_out
        return Point(received, steepness // (base + kept * amount) ** 2, 0)

    def cost(amount: int) -> Point:
        if amount <= 0:
            return at_start
        paid = v2.quote_exact_out(pool, amount, zero_for_one=zero_for_one).amount_in
        if paid > room:
            raise InsufficientLiquidity("the pair does not take so much")
        return Point(paid, steepness // (base + kept * paid) ** 2, 0)

    return bought if exact == "in" else cost
