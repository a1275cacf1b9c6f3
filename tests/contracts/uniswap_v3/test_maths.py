"""V3's maths against the vectors of Uniswap's own test suites, and its laws as properties.

Vectors: github.com/Uniswap/v3-core at v1.0.1, test/TickMath.spec.ts, SqrtPriceMath.spec.ts and SwapMath.spec.ts.
"""

from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.uniswap_v3.maths import (
    FEE_UNITS,
    MAX_SQRT_RATIO,
    MAX_TICK,
    MAX_UINT128,
    MIN_SQRT_RATIO,
    MIN_TICK,
    MathsRevert,
    add_delta,
    compute_swap_step,
    get_amount0_delta,
    get_amount1_delta,
    get_next_sqrt_price_from_input,
    get_next_sqrt_price_from_output,
    get_sqrt_ratio_at_tick,
    get_tick_at_sqrt_ratio,
    mul_div,
    mul_div_rounding_up,
)

ETHER = 10**18
PRICE = 20_282_409_603_651_670_423_947_251_286_016
"""The price of SqrtPriceMath.spec.ts at which 1,024 of liquidity hold 4 token0 and 262,144 token1."""
TICKS = st.integers(MIN_TICK, MAX_TICK - 1)
PRICES = st.integers(MIN_SQRT_RATIO, MAX_SQRT_RATIO - 1)
LIQUIDITY = st.integers(1, MAX_UINT128)


def encode_price_sqrt(reserve1: int, reserve0: int) -> int:
    """encodePriceSqrt of test/shared/utilities.ts."""
    return isqrt((reserve1 << 192) // reserve0)


@pytest.mark.parametrize(
    ("tick", "ratio"),
    [
        (MIN_TICK, 4295128739),
        (MIN_TICK + 1, 4295343490),
        (MAX_TICK - 1, 1461373636630004318706518188784493106690254656249),
        (MAX_TICK, 1461446703485210103287273052203988822378723970342),
        (0, 2**96),
        (50, 79426470787362580746886972461),
        (-50, 79030349367926598376800521322),
        (100, 79625275426524748796330556128),
        (250, 80224679980005306637834519095),
        (500, 81233731461783161732293370115),
        (1_000, 83290069058676223003182343270),
        (-1_000, 75364347830767020784054125655),
        (3_000, 92049301871182272007977902845),
        (-50_000, 6504256538020985011912221507),
        (50_000, 965075977353221155028623082916),
        (-150_000, 43836292794701720435367485),
        (150_000, 143194173941309278083010301478497),
        (-250_000, 295440463448801648376846),
        (250_000, 21246587762933397357449903968194344),
        (-500_000, 1101692437043807371),
        (500_000, 5697689776495288729098254600827762987878),
        (-738_203, 7409801140451),
        (738_203, 847134979253254120489401328389043031315994541),
    ],
)
def test_ratios_at_ticks_are_those_of_uniswaps_suite(tick: int, ratio: int) -> None:
    assert get_sqrt_ratio_at_tick(tick) == ratio


@pytest.mark.parametrize("tick", [MIN_TICK - 1, MAX_TICK + 1, 2**23 - 1])
def test_a_tick_out_of_range_reverts(tick: int) -> None:
    with pytest.raises(MathsRevert):
        get_sqrt_ratio_at_tick(tick)


@pytest.mark.parametrize(
    ("price", "tick"),
    [
        (MIN_SQRT_RATIO, MIN_TICK),
        (4295343490, MIN_TICK + 1),
        (1461373636630004318706518188784493106690254656249, MAX_TICK - 1),
        (MAX_SQRT_RATIO - 1, MAX_TICK - 1),
        (2**96, 0),
        (2**96 - 1, -1),
    ],
)
def test_ticks_at_ratios_are_those_of_uniswaps_suite(price: int, tick: int) -> None:
    assert get_tick_at_sqrt_ratio(price) == tick


@pytest.mark.parametrize("price", [0, MIN_SQRT_RATIO - 1, MAX_SQRT_RATIO])
def test_a_price_out_of_range_reverts(price: int) -> None:
    with pytest.raises(MathsRevert):
        get_tick_at_sqrt_ratio(price)


@given(tick=TICKS)
def test_a_ratio_belongs_to_its_tick_and_one_less_to_the_tick_below(tick: int) -> None:
    ratio = get_sqrt_ratio_at_tick(tick)
    assert get_tick_at_sqrt_ratio(ratio) == tick
    assert tick == MIN_TICK or get_tick_at_sqrt_ratio(ratio - 1) == tick - 1


@given(price=PRICES)
def test_the_tick_of_a_price_is_the_greatest_whose_ratio_is_not_above_it(price: int) -> None:
    tick = get_tick_at_sqrt_ratio(price)
    assert get_sqrt_ratio_at_tick(tick) <= price < get_sqrt_ratio_at_tick(tick + 1)


@given(tick=TICKS)
def test_a_tick_is_a_hundredth_of_a_per_cent(tick: int) -> None:
    """ratio^2 is 1.0001^tick, to the digits that a ratio has."""
    ratio, above = get_sqrt_ratio_at_tick(tick), get_sqrt_ratio_at_tick(tick + 1)
    # One unit of rounding in either ratio; above tick 0 they are inverses of Q128.128 numbers of 64 bits at least.
    slack = 4 * 10_001 * (ratio + above) + (10_001 * ratio**2 >> 60)
    assert abs(above**2 * 10_000 - ratio**2 * 10_001) <= slack


@pytest.mark.parametrize(
    ("price", "liquidity", "amount", "zero_for_one", "expected"),
    [
        (1, 1, 2**255, True, 1),
        (2**96, ETHER // 10, 0, True, 2**96),
        (2**96, ETHER // 10, 0, False, 2**96),
        (2**96, ETHER, ETHER // 10, False, 87150978765690771352898345369),
        (2**96, ETHER, ETHER // 10, True, 72025602285694852357767227579),
        (2**96, 10 * ETHER, 2**100, True, 624999999995069620),
        (2**96, 1, (2**256 - 1) // 2, True, 1),
        (
            1025574284609383690408304870162715216695788925244,
            50015962439936049619261659728067971248,
            406,
            True,
            1025574284609383582644711336373707553698163132913,
        ),
    ],
)
def test_prices_after_an_input_are_those_of_uniswaps_suite(
    price: int, liquidity: int, amount: int, zero_for_one: bool, expected: int
) -> None:
    found = get_next_sqrt_price_from_input(price, liquidity, amount_in=amount, zero_for_one=zero_for_one)
    assert found == expected


@pytest.mark.parametrize(
    ("price", "liquidity", "amount", "zero_for_one"),
    [(0, 1, 1, False), (1, 0, 1, True), (2**160 - 1, 1024, 1024, False)],
)
def test_an_input_without_a_market_or_beyond_all_prices_reverts(
    price: int, liquidity: int, amount: int, zero_for_one: bool
) -> None:
    with pytest.raises(MathsRevert):
        get_next_sqrt_price_from_input(price, liquidity, amount_in=amount, zero_for_one=zero_for_one)


@pytest.mark.parametrize(
    ("price", "liquidity", "amount", "zero_for_one", "expected"),
    [
        (PRICE, 1024, 262_143, True, 77371252455336267181195264),
        (2**96, ETHER // 10, 0, True, 2**96),
        (2**96, ETHER // 10, 0, False, 2**96),
        (2**96, ETHER, ETHER // 10, False, 88031291682515930659493278152),
        (2**96, ETHER, ETHER // 10, True, 71305346262837903834189555302),
    ],
)
def test_prices_after_an_output_are_those_of_uniswaps_suite(
    price: int, liquidity: int, amount: int, zero_for_one: bool, expected: int
) -> None:
    found = get_next_sqrt_price_from_output(price, liquidity, amount_out=amount, zero_for_one=zero_for_one)
    assert found == expected


@pytest.mark.parametrize(
    ("price", "liquidity", "amount", "zero_for_one"),
    [
        (0, 1, 1, False),
        (1, 0, 1, True),
        (PRICE, 1024, 4, False),
        (PRICE, 1024, 5, False),
        (PRICE, 1024, 262_144, True),
        (PRICE, 1024, 262_145, True),
        (2**96, 1, 2**256 - 1, True),
        (2**96, 1, 2**256 - 1, False),
    ],
)
def test_an_output_that_the_virtual_reserves_do_not_hold_reverts(
    price: int, liquidity: int, amount: int, zero_for_one: bool
) -> None:
    with pytest.raises(MathsRevert):
        get_next_sqrt_price_from_output(price, liquidity, amount_out=amount, zero_for_one=zero_for_one)


def test_amounts_between_two_prices_are_those_of_uniswaps_suite() -> None:
    low, high = encode_price_sqrt(1, 1), encode_price_sqrt(121, 100)
    assert get_amount0_delta(high, low, liquidity=ETHER, rounding_up=True) == 90909090909090910
    assert get_amount0_delta(low, high, liquidity=ETHER, rounding_up=False) == 90909090909090909
    assert get_amount1_delta(low, high, liquidity=ETHER, rounding_up=True) == 100000000000000000
    assert get_amount1_delta(high, low, liquidity=ETHER, rounding_up=False) == 99999999999999999
    assert get_amount0_delta(low, high, liquidity=0, rounding_up=True) == 0
    assert get_amount1_delta(low, low, liquidity=ETHER, rounding_up=True) == 0
    far = encode_price_sqrt(2**90, 1), encode_price_sqrt(2**96, 1)
    up, down = (get_amount0_delta(*far, liquidity=ETHER, rounding_up=way) for way in (True, False))
    assert up == down + 1


# price, target, liquidity, remaining, fee -> next price (None: the target), in, out, fee
STEPS = {
    "exact in capped at the target": (
        (2**96, encode_price_sqrt(101, 100), 2 * ETHER, ETHER, 600),
        (None, 9975124224178055, 9925619580021728, 5988667735148),
    ),
    "exact out capped at the target": (
        (2**96, encode_price_sqrt(101, 100), 2 * ETHER, -ETHER, 600),
        (None, 9975124224178055, 9925619580021728, 5988667735148),
    ),
    "exact in fully spent": (
        (2**96, encode_price_sqrt(1000, 100), 2 * ETHER, ETHER, 600),
        (2**96 + (999400000000000000 << 96) // (2 * ETHER), 999400000000000000, 666399946655997866, 600000000000000),
    ),
    "exact out fully received": (
        (2**96, encode_price_sqrt(10000, 100), 2 * ETHER, -ETHER, 600),
        (2 * 2**96, 2 * ETHER, ETHER, 1200720432259356),
    ),
    "amount out capped at what was asked": (
        (417332158212080721273783715441582, 1452870262520218020823638996, 159344665391607089467575320103, -1, 1),
        (417332158212080721273783715441581, 1, 1, 1),
    ),
    "target price of 1 uses a part of the input": (
        (2, 1, 1, 3915081100057732413702495386755767, 1),
        (1, 39614081257132168796771975168, 0, 39614120871253040049813),
    ),
    "entire input taken as fee": (
        (2413, 79887613182836312, 1985041575832132834610021537970, 10, 1872),
        (2413, 0, 0, 10),
    ),
    "insufficient liquidity, exact out one for zero": ((PRICE, PRICE * 11 // 10, 1024, -4, 3000), (None, 26215, 0, 79)),
    "insufficient liquidity, exact out zero for one": (
        (PRICE, PRICE * 9 // 10, 1024, -263_000, 3000),
        (None, 1, 26214, 1),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_swap_steps_are_those_of_uniswaps_suite(name: str) -> None:
    (price, target, liquidity, remaining, fee), (after, *amounts) = STEPS[name]
    step = compute_swap_step(price, target, liquidity=liquidity, amount_remaining=remaining, fee_pips=fee)
    assert step == (target if after is None else after, *amounts)


@given(
    price=PRICES,
    target=PRICES,
    liquidity=LIQUIDITY,
    remaining=st.integers(-(2**255) + 1, 2**255 - 1).filter(bool),
    fee=st.integers(1, FEE_UNITS - 1),
)
def test_a_swap_step_keeps_the_promises_that_uniswap_fuzzes(
    price: int, target: int, liquidity: int, remaining: int, fee: int
) -> None:
    """contracts/test/SwapMathEchidnaTest.sol of v3-core."""
    after, paid, received, fee_amount = compute_swap_step(
        price, target, liquidity=liquidity, amount_remaining=remaining, fee_pips=fee
    )
    if remaining < 0:
        assert received <= -remaining
    else:
        assert paid + fee_amount <= remaining
    if price == target:
        assert (paid, received, fee_amount, after) == (0, 0, 0, target)
    if after != target:
        assert received == -remaining if remaining < 0 else paid + fee_amount == remaining
    assert min(price, target) <= after <= max(price, target)


@given(price=PRICES, liquidity=LIQUIDITY, amount=st.integers(0, 2**255 - 1), zero_for_one=st.booleans())
def test_an_input_never_moves_the_price_further_than_it_pays_for(
    price: int, liquidity: int, amount: int, zero_for_one: bool
) -> None:
    """contracts/test/SqrtPriceMathEchidnaTest.sol of v3-core: getNextSqrtPriceFromInputInvariants."""
    try:
        after = get_next_sqrt_price_from_input(price, liquidity, amount_in=amount, zero_for_one=zero_for_one)
    except MathsRevert:
        return
    assert after <= price if zero_for_one else after >= price
    delta = get_amount0_delta if zero_for_one else get_amount1_delta
    assert amount >= delta(price, after, liquidity=liquidity, rounding_up=True)


@given(price=PRICES, liquidity=LIQUIDITY, amount=st.integers(0, 2**200), zero_for_one=st.booleans())
def test_an_output_moves_the_price_far_enough(price: int, liquidity: int, amount: int, zero_for_one: bool) -> None:
    """contracts/test/SqrtPriceMathEchidnaTest.sol of v3-core: getNextSqrtPriceFromOutputInvariants."""
    try:
        after = get_next_sqrt_price_from_output(price, liquidity, amount_out=amount, zero_for_one=zero_for_one)
    except MathsRevert:
        return
    assert after <= price if zero_for_one else after >= price
    delta = get_amount1_delta if zero_for_one else get_amount0_delta
    assert amount <= delta(price, after, liquidity=liquidity, rounding_up=False)


def test_what_does_not_fit_the_contracts_words_reverts() -> None:
    assert mul_div(2**255, 2, 2) == 2**255
    assert mul_div_rounding_up(7, 3, 4) == 6
    assert add_delta(5, -5) == 0
    for a, b, denominator in ((2**255, 2, 1), (1, 1, 0)):
        with pytest.raises(MathsRevert):
            mul_div(a, b, denominator)
        with pytest.raises(MathsRevert):
            mul_div_rounding_up(a, b, denominator)
    for liquidity, delta in ((1, -2), (MAX_UINT128, 1)):
        with pytest.raises(MathsRevert):
            add_delta(liquidity, delta)
