"""What a swap on a V3 pool gives, from the state in memory: equal to QuoterV2 and to the swap itself, to the wei.

    quote_exact_in(pool, amount, zero_for_one=True)      -> Quote
    quote_exact_out(pool, amount, zero_for_one=True)     -> Quote

Guarantees: amounts, price after and ticks crossed are those of UniswapV3Pool.swap; where it, or QuoterV2 around it,
reverts, a typed error says why. A quote takes a microsecond or two: a bisect over the ladder and one step. Partial
fills are given as the chain gives them: an exact input at a price limit, or in a pool that runs out, has an
`amount_in` below what was asked; an exact output fills in part only at a price limit, and is refused otherwise.
Not guaranteed: tokens that tax transfers, pause or lie about balances: the pool's maths does not know them.
"""

from bisect import bisect_left
from typing import Final, NamedTuple

from contracts.errors import InsufficientLiquidity, InvalidPriceLimit, InvalidTradeAmount, TicksNotLoaded
from contracts.uniswap_v3.ladder import HIGHEST_LIMIT, LOWEST_LIMIT
from contracts.uniswap_v3.maths import (
    FEE_UNITS,
    MAX_SQRT_RATIO,
    MIN_SQRT_RATIO,
    compute_swap_step,
    get_sqrt_ratio_at_tick,
    get_tick_at_sqrt_ratio,
    next_price_adding_amount0,
)
from contracts.uniswap_v3.pool import Side, Swapped, V3Pool, apply
from contracts.uniswap_v3.ticks import WORD_BITS, word_of

MAX_AMOUNT: Final = 2**255 - 1
"""The pool takes an int256. More is looked for only where the stops do not reach: all that a pool takes is less."""
_PAID: Final = 4
_RECEIVED: Final = 5
_CROSSED: Final = 6
"""Fields of `Start`, by index where each tenth of a microsecond counts."""
_MAX_UINT256: Final = 2**256 - 1
_new: Final = tuple.__new__
"""Makes a Quote in half the time that calling the class takes."""


class Quote(NamedTuple):
    """What a swap moves, base units, and where it leaves the price.

    A named tuple, since making a frozen dataclass would take longer than the rest of the quote. `ticks_crossed` counts
    initialised ticks (each costs gas); QuoterV2's figure differs where its counter errs, see `quoter_ticks_crossed`.
    """

    amount_in: int
    amount_out: int
    sqrt_price_after_x96: int
    ticks_crossed: int


def quote_exact_in(
    pool: V3Pool, amount_in: int, *, zero_for_one: bool, sqrt_price_limit_x96: int | None = None
) -> Quote:
    """Sell `amount_in`, fee included, or as much of it as the pool takes (up to the limit).

    Raises:
        InvalidTradeAmount: not in 1 .. 2^255 - 1.
        InvalidPriceLimit: on the wrong side of the price, or beyond all prices.
        InsufficientLiquidity: there is none at all in this direction, or the pool is not initialised.
        TicksNotLoaded: the swap leaves the loaded words.
    """
    if amount_in < 1:
        raise _bad_amount()
    if sqrt_price_limit_x96 is not None:
        return _limited(pool, amount_in, zero_for_one=zero_for_one, limit=sqrt_price_limit_x96, exact_in=True)
    memo = pool.memo
    side = (memo.down if zero_for_one else memo.up) or pool.side(zero_for_one=zero_for_one)
    if amount_in < side.next_cost:
        price, liquidity, shifted, product = side.products
        received = crossed = 0
        left = amount_in * side.kept_pips // FEE_UNITS
    else:
        here, first = side.here, side.first
        reach = here[_PAID] + amount_in
        at = bisect_left(side.paid, reach, first)
        if at == len(side.paid):
            return _beyond(pool, amount_in, side=side, zero_for_one=zero_for_one, exact_in=True)
        if side.paid[at] == reach:
            return _on_stop(side, at)
        # The last step ends between two stops.
        price, liquidity, shifted, product, before, received, crossed = here if at == first else side.starts[at]
        left = (reach - before) * side.kept_pips // FEE_UNITS
        received -= here[_RECEIVED]
        crossed -= here[_CROSSED]
    if zero_for_one:
        denominator = shifted + left * price
        if denominator <= _MAX_UINT256:
            after = -(product // denominator)
        else:
            after = next_price_adding_amount0(price, liquidity, left)
        return _new(Quote, (amount_in, received + (liquidity * (price - after) >> 96), after, crossed))
    after = price + (left << 96) // liquidity
    # The contract divides twice; one division by the product rounds to the same.
    return _new(Quote, (amount_in, received + shifted * (after - price) // (after * price), after, crossed))


def quote_exact_out(
    pool: V3Pool, amount_out: int, *, zero_for_one: bool, sqrt_price_limit_x96: int | None = None
) -> Quote:
    """Buy `amount_out`; with a limit, as much of it as there is up to there.

    Raises:
        InvalidTradeAmount: not in 1 .. 2^255 - 1.
        InvalidPriceLimit: on the wrong side of the price, or beyond all prices.
        InsufficientLiquidity: the pool does not hold so much, holds nothing up to the limit, or is not initialised.
        TicksNotLoaded: the swap leaves the loaded words.
    """
    if amount_out < 1:
        raise _bad_amount()
    if sqrt_price_limit_x96 is not None:
        return _limited(pool, amount_out, zero_for_one=zero_for_one, limit=sqrt_price_limit_x96, exact_in=False)
    memo = pool.memo
    side = (memo.down if zero_for_one else memo.up) or pool.side(zero_for_one=zero_for_one)
    if amount_out < side.next_gain:
        at = side.first
        price, liquidity, shifted, product = side.products
        paid = crossed = 0
        left = amount_out
    else:
        here, first = side.here, side.first
        reach = here[_RECEIVED] + amount_out
        at = bisect_left(side.received, reach, first)
        if at == len(side.received):
            return _beyond(pool, amount_out, side=side, zero_for_one=zero_for_one, exact_in=False)
        if side.received[at] == reach:
            return _on_stop(side, at)
        price, liquidity, shifted, product, paid, before, crossed = here if at == first else side.starts[at]
        left = reach - before
        paid -= here[_PAID]
        crossed -= here[_CROSSED]
    if zero_for_one:
        after = price + (-left << 96) // liquidity
        amount_in = -(-shifted * (price - after) // (price * after))
    else:
        after = -(product // (shifted - left * price))
        amount_in = -(-liquidity * (after - price) >> 96)
    if after == side.prices[at]:
        # Rounding ended the step exactly on the stop, which is then crossed.
        crossed = side.starts[at + 1].crossed - side.here.crossed
    paid += amount_in - (-amount_in * pool.fee_pips // side.kept_pips)
    return _new(Quote, (paid, amount_out, after, crossed))


def swapped(pool: V3Pool, quote: Quote, *, zero_for_one: bool) -> V3Pool:
    """The state after a swap of exactly this quote: what its Swap log will say."""
    after = quote.sqrt_price_after_x96
    ticks = pool.ticks
    tick = pool.tick if after == pool.sqrt_price_x96 else get_tick_at_sqrt_ratio(after)
    if zero_for_one and after == get_sqrt_ratio_at_tick(tick) and _is_stop_down(pool, tick):
        tick -= 1  # it ended on a stop, and crossing one downwards leaves the tick below
    if not zero_for_one and after == get_sqrt_ratio_at_tick(tick + 1) and _is_stop_up(pool, tick + 1):
        tick += 1  # the price did not move, and stood on a stop that was crossed downwards before
    if zero_for_one:
        liquidity = pool.liquidity - sum(ticks.liquidity[each].net for each in ticks.between(tick, pool.tick))
    else:
        liquidity = pool.liquidity + sum(ticks.liquidity[each].net for each in ticks.between(pool.tick, tick))
    return apply(pool, Swapped(sqrt_price_x96=after, tick=tick, liquidity=liquidity))


def quoter_ticks_crossed(pool: V3Pool, after: V3Pool) -> int:
    """QuoterV2's `initializedTicksCrossed`: swap-router-contracts, PoolTicksCounter.countInitializedTicksCrossed.

    It divides negative ticks by the spacing towards zero, and so may count one that was not crossed, or miss one.
    """
    spacing, initialized = pool.ticks.spacing, pool.ticks.liquidity
    low, high = sorted((_towards_zero(pool.tick, spacing), _towards_zero(after.tick, spacing)))
    counted = len(pool.ticks.between(low * spacing - 1, high * spacing))
    if pool.tick > after.tick and after.tick in initialized:
        counted -= 1
    if pool.tick < after.tick and pool.tick in initialized:
        counted -= 1
    return counted


def _beyond(pool: V3Pool, amount: int, *, side: Side, zero_for_one: bool, exact_in: bool) -> Quote:
    """The stops that were built do not reach: build more, or the pool has no more."""
    if amount > MAX_AMOUNT:
        raise _bad_amount()
    if not side.is_end:
        pool.longer_side(zero_for_one=zero_for_one)
        quote = quote_exact_in if exact_in else quote_exact_out
        return quote(pool, amount, zero_for_one=zero_for_one)
    if not pool.sqrt_price_x96:
        raise InsufficientLiquidity("the pool is not initialised")
    _check_end(pool, zero_for_one=zero_for_one)
    if not exact_in or not side.paid or side.paid[-1] == side.here.paid:
        raise InsufficientLiquidity("the pool does not hold so much")
    drained = _on_stop(side, len(side.paid) - 1)
    return drained._replace(sqrt_price_after_x96=LOWEST_LIMIT if zero_for_one else HIGHEST_LIMIT)


def _on_stop(side: Side, at: int) -> Quote:
    """A swap that ends exactly on a stop."""
    here, there = side.here, side.starts[at + 1]
    return Quote(there.paid - here.paid, there.received - here.received, there.price, there.crossed - here.crossed)


def _limited(pool: V3Pool, amount: int, *, zero_for_one: bool, limit: int, exact_in: bool) -> Quote:
    """As far as the amount or the limit goes, whichever comes first."""
    if amount > MAX_AMOUNT:
        raise _bad_amount()
    _check_limit(pool, limit, zero_for_one=zero_for_one)
    sign = -1 if zero_for_one else 1
    side = pool.side(zero_for_one=zero_for_one)
    sums = side.paid if exact_in else side.received
    reach = amount + (side.here.paid if exact_in else side.here.received)
    while not side.is_end and sums[-1] < reach and sign * side.prices[-1] <= sign * limit:
        side = pool.longer_side(zero_for_one=zero_for_one)
        sums = side.paid if exact_in else side.received
        reach = amount + (side.here.paid if exact_in else side.here.received)
    at = bisect_left(sums, reach, side.first)
    beyond = bisect_left(side.prices, True, side.first, key=lambda price: sign * price > sign * limit)
    if at < beyond:
        quote = quote_exact_in if exact_in else quote_exact_out
        return quote(pool, amount, zero_for_one=zero_for_one)
    if beyond == len(side.prices):
        _check_end(pool, zero_for_one=zero_for_one)
    # The limit lies before the next stop, and the amount does not end before that step.
    start = side.start(beyond)
    left = reach - start.paid if exact_in else start.received - reach
    after, amount_in, amount_out, fee = compute_swap_step(
        start.price, limit, liquidity=start.liquidity, amount_remaining=left, fee_pips=pool.fee_pips
    )
    paid = start.paid - side.here.paid + amount_in + fee
    if paid == 0:
        raise InsufficientLiquidity("the pool holds nothing up to the price limit")
    received = start.received - side.here.received + amount_out
    return Quote(paid, received, after, start.crossed - side.here.crossed)


def _check_limit(pool: V3Pool, limit: int, *, zero_for_one: bool) -> None:
    """UniswapV3Pool.swap, 'SPL' (and 'LOK' of a pool without a price)."""
    price = pool.sqrt_price_x96
    if not price:
        raise InsufficientLiquidity("the pool is not initialised")
    if not (MIN_SQRT_RATIO < limit < price if zero_for_one else price < limit < MAX_SQRT_RATIO):
        raise InvalidPriceLimit("the price limit is not between the pool's price and the end of all prices")


def _check_end(pool: V3Pool, *, zero_for_one: bool) -> None:
    """That there are no more stops since there is no more liquidity, and not since words are missing."""
    ticks = pool.ticks
    if not ticks.covers(pool.tick) and not ticks.is_complete:
        raise TicksNotLoaded(pool.address, word_of(pool.tick, ticks.spacing))
    if not ticks.reaches_end(zero_for_one=zero_for_one):
        raise TicksNotLoaded(pool.address, ticks.loaded.first - 1 if zero_for_one else ticks.loaded.last + 1)


def _is_stop_down(pool: V3Pool, tick: int) -> bool:
    return tick % (WORD_BITS * pool.ticks.spacing) == 0 or tick in pool.ticks.liquidity


def _is_stop_up(pool: V3Pool, tick: int) -> bool:
    spacing = pool.ticks.spacing
    return tick % (WORD_BITS * spacing) == (WORD_BITS - 1) * spacing or tick in pool.ticks.liquidity


def _bad_amount() -> InvalidTradeAmount:
    return InvalidTradeAmount("an amount to trade is between 1 and 2^255 - 1 base units")


def _towards_zero(number: int, divisor: int) -> int:
    return number // divisor if number >= 0 else -(-number // divisor)
