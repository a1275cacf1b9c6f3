"""Quotes by cumulative sums against the contract's own loop, on pools of every shape; no chain."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from contracts.errors import InsufficientLiquidity, InvalidPriceLimit, InvalidTradeAmount, QuoteError, TicksNotLoaded
from contracts.uniswap_v3.maths import MAX_SQRT_RATIO, MAX_TICK, MIN_SQRT_RATIO, get_sqrt_ratio_at_tick
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.quoting import MAX_AMOUNT, Quote, quote_exact_in, quote_exact_out, swapped
from contracts.uniswap_v3.ticks import WordRange
from tests.contracts.uniswap_v3 import solidity
from tests.contracts.uniswap_v3.pools import make_pool, pools

AMOUNTS = st.one_of(
    st.integers(1, 1_000),
    st.integers(1, 10**30),
    st.integers(1, 255).flatmap(lambda bits: st.integers(2 ** (bits - 1), min(2**bits, MAX_AMOUNT))),
)
ONE = 10**18


def _ours(pool: V3Pool, amount: int, *, zero_for_one: bool, limit: int | None = None) -> Quote:
    if amount > 0:
        return quote_exact_in(pool, amount, zero_for_one=zero_for_one, sqrt_price_limit_x96=limit)
    return quote_exact_out(pool, -amount, zero_for_one=zero_for_one, sqrt_price_limit_x96=limit)


def _same(pool: V3Pool, amount: int, *, zero_for_one: bool, limit: int | None = None) -> V3Pool | None:
    """Both ways give the same, or both refuse; the state after it."""
    try:
        theirs = solidity.quote(pool, amount, zero_for_one=zero_for_one, limit=limit)
    except solidity.Refused:
        with pytest.raises(QuoteError):
            _ours(pool, amount, zero_for_one=zero_for_one, limit=limit)
        return None
    ours = _ours(pool, amount, zero_for_one=zero_for_one, limit=limit)
    assert ours == (theirs.amount_in, theirs.amount_out, theirs.sqrt_price_x96, theirs.ticks_crossed)
    after = swapped(pool, ours, zero_for_one=zero_for_one)
    assert after.position == (theirs.sqrt_price_x96, theirs.tick, theirs.liquidity)
    return after


@settings(deadline=None)
@given(pool=pools(), amount=AMOUNTS, sign=st.sampled_from([1, -1]), zero_for_one=st.booleans())
def test_a_quote_is_what_the_contracts_loop_gives(pool: V3Pool, amount: int, sign: int, zero_for_one: bool) -> None:
    _same(pool, sign * amount, zero_for_one=zero_for_one)


@settings(deadline=None)
@given(
    pool=pools(),
    amount=AMOUNTS,
    sign=st.sampled_from([1, -1]),
    zero_for_one=st.booleans(),
    limit=st.one_of(
        st.integers(MIN_SQRT_RATIO - 1, MAX_SQRT_RATIO + 1), st.integers(-300, 300), st.sampled_from(["near", "stop"])
    ),
    data=st.data(),
)
def test_a_price_limit_ends_a_swap_where_the_contracts_loop_ends(
    pool: V3Pool, amount: int, sign: int, zero_for_one: bool, limit: int | str, data: st.DataObject
) -> None:
    if limit == "near":
        shift = data.draw(st.integers(1, 100))
        limit = pool.sqrt_price_x96 + (-1 if zero_for_one else 1) * (pool.sqrt_price_x96 >> shift)
    elif limit == "stop":
        assume(pool.ticks.initialized)
        limit = get_sqrt_ratio_at_tick(data.draw(st.sampled_from(pool.ticks.initialized)))
    assert isinstance(limit, int)
    _same(pool, sign * amount, zero_for_one=zero_for_one, limit=limit)


@settings(deadline=None)
@given(
    pool=pools(),
    swaps=st.lists(st.tuples(AMOUNTS, st.sampled_from([1, -1]), st.booleans()), min_size=2, max_size=6),
)
def test_one_swap_after_another_stays_with_the_contracts_loop(pool: V3Pool, swaps: list[tuple[int, int, bool]]) -> None:
    """States share their ladders, which grow at both ends as the price wanders."""
    for amount, sign, zero_for_one in swaps:
        pool = _same(pool, sign * amount, zero_for_one=zero_for_one) or pool


@settings(deadline=None)
@given(pool=pools(), amount=AMOUNTS, zero_for_one=st.booleans())
def test_buying_back_what_an_input_bought_costs_no_more_unless_it_rounds_onto_a_stop(
    pool: V3Pool, amount: int, zero_for_one: bool
) -> None:
    """The contract goes on to a stop that gives as much as is still wanted, though less of a step would do."""
    try:
        sold = quote_exact_in(pool, amount, zero_for_one=zero_for_one)
        assume(sold.amount_out > 0)
        bought = quote_exact_out(pool, sold.amount_out, zero_for_one=zero_for_one)
    except QuoteError:
        return
    on_a_stop = bought.sqrt_price_after_x96 in pool.side(zero_for_one=zero_for_one).prices
    assert bought.amount_in <= sold.amount_in or on_a_stop
    assert quote_exact_in(pool, bought.amount_in, zero_for_one=zero_for_one).amount_out >= sold.amount_out


@settings(deadline=None)
@given(pool=pools(), amount=AMOUNTS, zero_for_one=st.booleans())
def test_a_round_trip_never_gains(pool: V3Pool, amount: int, zero_for_one: bool) -> None:
    try:
        there = quote_exact_in(pool, amount, zero_for_one=zero_for_one)
        assume(there.amount_out > 0)
        back = quote_exact_in(
            swapped(pool, there, zero_for_one=zero_for_one), there.amount_out, zero_for_one=not zero_for_one
        )
    except QuoteError:
        return
    assert back.amount_out <= there.amount_in


@settings(deadline=None)
@given(pool=pools(), amounts=st.tuples(AMOUNTS, AMOUNTS), zero_for_one=st.booleans())
def test_more_in_never_gives_less_and_more_out_never_costs_less(
    pool: V3Pool, amounts: tuple[int, int], zero_for_one: bool
) -> None:
    less, more = sorted(amounts)
    for quote in (quote_exact_in, quote_exact_out):
        try:
            smaller, larger = (quote(pool, each, zero_for_one=zero_for_one) for each in (less, more))
        except QuoteError:
            continue
        assert smaller.amount_in <= larger.amount_in
        assert smaller.amount_out <= larger.amount_out
        assert smaller.ticks_crossed <= larger.ticks_crossed


@settings(deadline=None)
@given(pool=pools(), amount=AMOUNTS, zero_for_one=st.booleans())
def test_two_halves_cost_at_least_the_whole(pool: V3Pool, amount: int, zero_for_one: bool) -> None:
    """Stopping in between rounds once more, always for the pool."""
    assume(amount > 1)
    try:
        whole = quote_exact_in(pool, amount, zero_for_one=zero_for_one)
        first = quote_exact_in(pool, amount // 2, zero_for_one=zero_for_one)
        rest = swapped(pool, first, zero_for_one=zero_for_one)
        second = quote_exact_in(rest, amount - amount // 2, zero_for_one=zero_for_one)
    except QuoteError:
        return
    assert first.amount_out + second.amount_out <= whole.amount_out


@pytest.mark.parametrize("zero_for_one", [True, False])
def test_an_output_that_rounds_onto_a_stop_crosses_it(zero_for_one: bool) -> None:
    """With more liquidity than 2^96 a base unit is less than a price step: one less than all ends on the stop too."""
    positions = [(-600, 600, 2**110), (-1_200, 1_200, ONE)]
    pool = make_pool(3_000, sqrt_price_x96=get_sqrt_ratio_at_tick(-30), tick=-30, positions=positions)
    side = pool.side(zero_for_one=zero_for_one)
    to_first_stop = side.received[side.first] - side.here.received
    after = _same(pool, 1 - to_first_stop, zero_for_one=zero_for_one)
    assert after is not None
    assert after.sqrt_price_x96 == side.prices[side.first]
    assert after.liquidity == ONE


def test_an_input_that_overflows_the_precise_formula_takes_the_contracts_other_one() -> None:
    """Needs a step over a great part of all prices: a spacing that the factory's owner may still enable."""
    widest = MAX_TICK // 16_383 * 16_383
    positions = [(-widest, widest, 2**127)]
    pool = make_pool(50_000, sqrt_price_x96=get_sqrt_ratio_at_tick(800_000), tick=800_000, positions=positions)
    amount = 2**106
    assert amount * pool.sqrt_price_x96 > 2**257
    after = _same(pool, amount, zero_for_one=True)
    assert after is not None
    shifted, left = pool.liquidity << 96, amount * 95 // 100
    precise = -(-shifted * pool.sqrt_price_x96 // (shifted + left * pool.sqrt_price_x96))
    assert after.sqrt_price_x96 not in (precise - 1, precise, precise + 1)


@settings(deadline=None)
@given(pool=pools(), sign=st.sampled_from([1, -1]), zero_for_one=st.booleans(), off=st.integers(-1, 1), data=st.data())
def test_amounts_that_end_on_a_stop_or_one_beside_it_are_what_the_contracts_loop_gives(
    pool: V3Pool, sign: int, zero_for_one: bool, off: int, data: st.DataObject
) -> None:
    side = pool.side(zero_for_one=zero_for_one)
    assume(side.first < len(side.paid))
    at = data.draw(st.integers(side.first, len(side.paid) - 1))
    total = side.paid[at] - side.here.paid if sign > 0 else side.received[at] - side.here.received
    assume(total + off > 0)
    _same(pool, sign * (total + off), zero_for_one=zero_for_one)


@pytest.mark.parametrize("amount", [0, -1, 2**255, 2**256])
def test_an_amount_that_the_pool_cannot_take_is_refused(amount: int) -> None:
    pool = make_pool(3_000, sqrt_price_x96=2**96, tick=0, positions=[(-600, 600, ONE)])
    for limit in (None, 2**95):
        with pytest.raises(InvalidTradeAmount):
            quote_exact_in(pool, amount, zero_for_one=True, sqrt_price_limit_x96=limit)
        with pytest.raises(InvalidTradeAmount):
            quote_exact_out(pool, amount, zero_for_one=True, sqrt_price_limit_x96=limit)


def test_a_limit_on_the_wrong_side_is_refused() -> None:
    pool = make_pool(3_000, sqrt_price_x96=2**96, tick=0, positions=[(-600, 600, ONE)])
    for zero_for_one, limit in (
        (True, 2**96),
        (True, 2**97),
        (True, MIN_SQRT_RATIO),
        (False, 2**96),
        (False, 2**95),
        (False, MAX_SQRT_RATIO),
    ):
        with pytest.raises(InvalidPriceLimit):
            quote_exact_in(pool, ONE, zero_for_one=zero_for_one, sqrt_price_limit_x96=limit)


def test_a_pool_without_price_or_liquidity_is_refused() -> None:
    empty = make_pool(3_000, sqrt_price_x96=2**96, tick=0, positions=[])
    unborn = make_pool(3_000, sqrt_price_x96=0, tick=0, positions=[])
    for pool in (empty, unborn):
        for quote in (quote_exact_in, quote_exact_out):
            for limit in (None, 2**95):
                with pytest.raises(InsufficientLiquidity):
                    quote(pool, ONE, zero_for_one=True, sqrt_price_limit_x96=limit)


def test_a_drained_pool_fills_an_input_in_part_and_refuses_an_output() -> None:
    pool = make_pool(3_000, sqrt_price_x96=2**96, tick=0, positions=[(-600, 600, ONE)])
    quote = quote_exact_in(pool, 10**30, zero_for_one=True)
    assert quote.amount_in < 10**30
    assert quote.sqrt_price_after_x96 == MIN_SQRT_RATIO + 1
    assert quote.ticks_crossed == 1
    assert quote_exact_out(pool, quote.amount_out, zero_for_one=True).amount_in == quote.amount_in
    with pytest.raises(InsufficientLiquidity):
        quote_exact_out(pool, quote.amount_out + 1, zero_for_one=True)


@pytest.mark.parametrize("zero_for_one", [True, False])
def test_a_position_to_the_end_of_all_prices_is_left_one_short_of_it_and_never_crossed(zero_for_one: bool) -> None:
    """Only a spacing of 1 has ticks there: the last price that a swap may reach is one before the tick's."""
    pool = make_pool(100, sqrt_price_x96=2**96, tick=0, positions=[(-MAX_TICK, MAX_TICK, 2**100), (-60, 60, ONE)])
    end = MIN_SQRT_RATIO + 1 if zero_for_one else MAX_SQRT_RATIO - 1
    for limit in (None, end):
        after = _same(pool, MAX_AMOUNT, zero_for_one=zero_for_one, limit=limit)
        assert after is not None
        assert (after.sqrt_price_x96, after.liquidity) == (end, 2**100)
    drained = quote_exact_in(pool, MAX_AMOUNT, zero_for_one=zero_for_one)
    assert drained.ticks_crossed == 1
    for off in (-1, 0, 1):
        _same(pool, drained.amount_in + off, zero_for_one=zero_for_one)
        _same(pool, -drained.amount_out + off, zero_for_one=zero_for_one)


@pytest.mark.parametrize("tick", [59, 60])
@pytest.mark.parametrize("zero_for_one", [True, False])
@pytest.mark.parametrize("is_stop", [True, False])
def test_an_input_too_small_to_move_the_price_crosses_a_stop_that_it_stands_on_and_nothing_else(
    tick: int, zero_for_one: bool, is_stop: bool
) -> None:
    """The price stands on tick 60, which was crossed downwards before, or not; its positions may have left since."""
    positions = [(-600, 600, 2**110), *([(60, 120, ONE)] if is_stop else [])]
    pool = make_pool(3_000, sqrt_price_x96=get_sqrt_ratio_at_tick(60), tick=tick, positions=positions)
    after = _same(pool, 1, zero_for_one=zero_for_one)
    assert after is not None
    assert after.sqrt_price_x96 == pool.sqrt_price_x96
    assert after.tick == ((59 if zero_for_one else 60) if is_stop else tick)


def test_walking_out_of_the_loaded_words_is_said_and_never_guessed() -> None:
    positions = [(-600, 600, ONE), (-887_220, 887_220, ONE)]
    whole = make_pool(3_000, sqrt_price_x96=2**96, tick=0, positions=positions)
    part = make_pool(3_000, sqrt_price_x96=2**96, tick=0, positions=positions, loaded=WordRange(first=-1, last=0))
    for zero_for_one, word in ((True, -2), (False, 1)):
        for quote in (quote_exact_in, quote_exact_out):
            assert quote(part, 10**16, zero_for_one=zero_for_one) == quote(whole, 10**16, zero_for_one=zero_for_one)
        with pytest.raises(TicksNotLoaded) as found:
            quote_exact_in(part, 10**30, zero_for_one=zero_for_one)
        assert found.value.word == word
    outside = replace(part, sqrt_price_x96=get_sqrt_ratio_at_tick(40_000), tick=40_000, liquidity=ONE)
    with pytest.raises(TicksNotLoaded):
        quote_exact_in(outside, 1_000, zero_for_one=True)
    with pytest.raises(TicksNotLoaded):
        quote_exact_in(outside, 1_000, zero_for_one=False)


def test_a_pool_known_to_the_end_in_one_direction_is_drained_in_it() -> None:
    positions = [(-600, 600, ONE), (-887_220, 887_220, ONE)]
    whole = make_pool(3_000, sqrt_price_x96=2**96, tick=0, positions=positions)
    every = WordRange.all_of(60)
    for zero_for_one, loaded in (
        (True, WordRange(first=every.first, last=0)),
        (False, WordRange(first=-1, last=every.last)),
    ):
        part = make_pool(3_000, sqrt_price_x96=2**96, tick=0, positions=positions, loaded=loaded)
        drained = quote_exact_in(part, MAX_AMOUNT, zero_for_one=zero_for_one)
        assert drained == quote_exact_in(whole, MAX_AMOUNT, zero_for_one=zero_for_one)
        with pytest.raises(InsufficientLiquidity):
            quote_exact_out(part, MAX_AMOUNT, zero_for_one=zero_for_one)
        with pytest.raises(TicksNotLoaded):
            quote_exact_in(part, MAX_AMOUNT, zero_for_one=not zero_for_one)
    # What lies between its price and what is loaded is not known.
    tick = 20_000
    outside = replace(part, sqrt_price_x96=get_sqrt_ratio_at_tick(-tick), tick=-tick)
    with pytest.raises(TicksNotLoaded) as found:
        quote_exact_in(outside, 1_000, zero_for_one=False)
    assert found.value.word == -2
