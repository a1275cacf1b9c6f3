"""How much of a pool trades up to a price: held against the pools' own quotes."""

from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from contracts.depth import NOTHING, Depth, swap_to_price, taker_price
from contracts.ratio import Ratio
from contracts.uniswap_v2.pool import V2Pool
from contracts.uniswap_v2.pool import quote_exact_in as v2_quote
from contracts.uniswap_v2.pool import swapped as v2_swapped
from contracts.uniswap_v3.maths import get_sqrt_ratio_at_tick
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.quoting import quote_exact_in as v3_quote
from contracts.uniswap_v3.quoting import swapped as v3_swapped
from tests.contracts.uniswap_v3.pools import ADDRESS, SPACINGS, make_pool, pools

RANGES = st.tuples(st.integers(-80, 79), st.integers(1, 80), st.integers(10**15, 10**24))
"""Positions: lower end and width in spacings, liquidity."""
RESERVES = st.integers(10**3, 10**30)
WORSE = st.integers(1, 10**6)
"""By how many millionths a price is below the pool's own."""


def _worse(price: Ratio, millionths: int) -> Ratio:
    return Ratio.of(price.num * (2 * 10**6 - millionths), price.den * 2 * 10**6)


@st.composite
def _deep_pools(draw: DrawFn) -> V3Pool:
    """Pools with so much liquidity around the price that a base unit is nothing."""
    fee_pips = draw(st.sampled_from([100, 500, 3_000, 10_000]))
    spacing = SPACINGS[fee_pips]
    drawn = [*draw(st.lists(RANGES, max_size=5)), (-60, 120, 10**18)]
    tick = draw(st.integers(-50 * spacing, 50 * spacing))
    positions = [(low * spacing, (low + width) * spacing, amount) for low, width, amount in drawn]
    return make_pool(fee_pips, sqrt_price_x96=get_sqrt_ratio_at_tick(tick), tick=tick, positions=positions)


@given(
    st.builds(lambda a, b: V2Pool(address=ADDRESS, reserve0=a, reserve1=b), RESERVES, RESERVES), WORSE, st.booleans()
)
def test_a_pair_gives_the_most_that_trades_at_the_price_or_better(pool: V2Pool, worse: int, token0_in: bool) -> None:
    price = _worse(_own_price(pool, token0_in=token0_in), worse)
    depth = swap_to_price(pool, price, token0_in=token0_in)
    assume(depth.amount_out > 1)
    assert tuple(v2_quote(pool, depth.amount_in, zero_for_one=token0_in)) == tuple(depth)
    # On average it is at least the price, a rounded base unit aside ...
    assert (depth.amount_out + 1) * price.den >= depth.amount_in * price.num
    # ... and what is left of the pool offers no more at that price, except what rounding leaves.
    after = v2_swapped(pool, v2_quote(pool, depth.amount_in, zero_for_one=token0_in), zero_for_one=token0_in)
    left = swap_to_price(after, price, token0_in=token0_in)
    assert min(left) <= 2 + min(depth) // 10**6


@given(_deep_pools(), WORSE, st.booleans())
def test_a_v3_pool_gives_the_most_that_trades_at_the_price_or_better(pool: V3Pool, worse: int, token0_in: bool) -> None:
    price = _worse(_own_price(pool, token0_in=token0_in), worse)
    depth = swap_to_price(pool, price, token0_in=token0_in)
    assume(depth != NOTHING)
    # A swap of that size, without a limit, moves the same ...
    quote = v3_quote(pool, depth.amount_in, zero_for_one=token0_in)
    assert abs(quote.amount_out - depth.amount_out) <= 1 + depth.amount_out // 10**9
    # ... is on average at the price or better, each step's rounding aside ...
    steps = 2 * (1 + quote.ticks_crossed)
    assert (depth.amount_out + steps) * price.den >= (depth.amount_in - steps) * price.num
    # ... and leaves nothing at that price.
    after = v3_swapped(pool, quote, zero_for_one=token0_in)
    left = swap_to_price(after, price, token0_in=token0_in)
    assert min(left) <= 2 + min(depth) // 10**9


@given(pools(), WORSE, WORSE, st.booleans())
def test_a_worse_price_never_gives_less(pool: V3Pool, one: int, other: int, token0_in: bool) -> None:
    assume(taker_price(pool, token0_in=token0_in) is not None)
    own = _own_price(pool, token0_in=token0_in)
    near, far = (swap_to_price(pool, _worse(own, each), token0_in=token0_in) for each in sorted((one, other)))
    assert near.amount_in <= far.amount_in
    assert near.amount_out <= far.amount_out


@given(pools(), st.booleans())
def test_a_better_price_than_the_pools_own_gives_nothing(pool: V3Pool, token0_in: bool) -> None:
    assume(taker_price(pool, token0_in=token0_in) is not None)
    own = _own_price(pool, token0_in=token0_in)
    better = Ratio.of(own.num * (10**6 + 1), own.den * 10**6)
    assert swap_to_price(pool, better, token0_in=token0_in) == NOTHING


def test_a_pool_without_a_price_has_nothing() -> None:
    pool = make_pool(500, sqrt_price_x96=0, tick=0, positions=[])
    assert taker_price(pool, token0_in=True) is None
    assert swap_to_price(pool, Ratio.of(1, 1), token0_in=True) == Depth(0, 0)


def test_an_empty_pair_has_nothing() -> None:
    pair = V2Pool(address=ADDRESS, reserve0=0, reserve1=0)
    assert taker_price(pair, token0_in=False) is None
    assert swap_to_price(pair, Ratio.of(1, 1), token0_in=False) == NOTHING


def _own_price(pool: V2Pool | V3Pool, *, token0_in: bool) -> Ratio:
    price = taker_price(pool, token0_in=token0_in)
    assert price is not None
    return price
