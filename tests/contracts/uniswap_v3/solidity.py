"""UniswapV3Pool.swap step by step, as the contract has it: what the quotes by cumulative sums are compared with.

Source: github.com/Uniswap/v3-core at v1.0.1, contracts/UniswapV3Pool.sol (swap) and libraries/TickBitmap.sol.
"""

from dataclasses import dataclass

from contracts.uniswap_v3.maths import (
    MAX_SQRT_RATIO,
    MAX_TICK,
    MIN_SQRT_RATIO,
    MIN_TICK,
    add_delta,
    compute_swap_step,
    get_sqrt_ratio_at_tick,
    get_tick_at_sqrt_ratio,
)
from contracts.uniswap_v3.pool import V3Pool


class Refused(Exception):
    """The pool, or QuoterV2's callback, would revert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    amount_in: int
    amount_out: int
    sqrt_price_x96: int
    tick: int
    liquidity: int
    ticks_crossed: int


def quote(pool: V3Pool, amount: int, *, zero_for_one: bool, limit: int | None = None) -> Outcome:
    """QuoterV2's single quotes: `amount` positive for exact input, negative for exact output."""
    no_limit = MIN_SQRT_RATIO + 1 if zero_for_one else MAX_SQRT_RATIO - 1
    done = swap(pool, amount, zero_for_one=zero_for_one, limit=no_limit if limit is None else limit)
    if done.amount_in == 0 or (amount < 0 and limit is None and done.amount_out != -amount):
        raise Refused("callback")
    return done


def swap(pool: V3Pool, amount: int, *, zero_for_one: bool, limit: int) -> Outcome:
    if amount == 0 or abs(amount) >= 2**255:
        raise Refused("AS")
    price, tick, liquidity = pool.sqrt_price_x96, pool.tick, pool.liquidity
    if not (MIN_SQRT_RATIO < limit < price if zero_for_one else price < limit < MAX_SQRT_RATIO):
        raise Refused("SPL")
    remaining, calculated, crossed = amount, 0, 0
    while remaining != 0 and price != limit:
        start = price
        tick_next, initialized = next_initialized_tick(pool, tick, zero_for_one=zero_for_one)
        tick_next = min(max(tick_next, MIN_TICK), MAX_TICK)
        price_next = get_sqrt_ratio_at_tick(tick_next)
        beyond = price_next < limit if zero_for_one else price_next > limit
        price, amount_in, amount_out, fee = compute_swap_step(
            price,
            limit if beyond else price_next,
            liquidity=liquidity,
            amount_remaining=remaining,
            fee_pips=pool.fee_pips,
        )
        if amount > 0:
            remaining -= amount_in + fee
            calculated += amount_out
        else:
            remaining += amount_out
            calculated += amount_in + fee
        if price == price_next:
            if initialized:
                net = pool.ticks.liquidity[tick_next].net
                liquidity = add_delta(liquidity, -net if zero_for_one else net)
                crossed += 1
            tick = tick_next - 1 if zero_for_one else tick_next
        elif price != start:
            tick = get_tick_at_sqrt_ratio(price)
    spent = amount - remaining
    return Outcome(
        amount_in=spent if amount > 0 else calculated,
        amount_out=calculated if amount > 0 else -spent,
        sqrt_price_x96=price,
        tick=tick,
        liquidity=liquidity,
        ticks_crossed=crossed,
    )


def next_initialized_tick(pool: V3Pool, tick: int, *, zero_for_one: bool) -> tuple[int, bool]:
    """TickBitmap.nextInitializedTickWithinOneWord."""
    spacing = pool.ticks.spacing
    compressed = tick // spacing
    if zero_for_one:
        end = (compressed >> 8) * 256 * spacing
        inside = [each for each in pool.ticks.liquidity if end <= each <= compressed * spacing]
        return (max(inside), True) if inside else (end, False)
    compressed += 1
    end = ((compressed >> 8) * 256 + 255) * spacing
    inside = [each for each in pool.ticks.liquidity if compressed * spacing <= each <= end]
    return (min(inside), True) if inside else (end, False)
