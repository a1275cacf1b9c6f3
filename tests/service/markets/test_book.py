"""The synthetic book, held against what swaps of its sizes move."""

from dataclasses import replace
from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.types import Address, ChainId
from contracts.assets import load_assets
from contracts.deployments import Router, RouterKind, Venue, load_deployments
from contracts.pools import PoolKey
from contracts.ratio import Ratio
from contracts.routing.model import GraphPool
from contracts.uniswap_v2.pool import V2Pool
from contracts.uniswap_v2.pool import quote_exact_in as v2_quote
from contracts.uniswap_v3.maths import Q96, get_tick_at_sqrt_ratio
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.quoting import quote_exact_in, quote_exact_out
from service.markets.book import Book, build_book
from service.markets.filters import Filters, coarser, derive, tick_ratio
from tests.contracts.uniswap_v3.pools import ADDRESS, SPACINGS, make_pool

ASSETS = load_assets(ChainId(1))
ETHUSDC = ASSETS.markets["ETHUSDC"]
WETH, USDC = (ASSETS.by_symbol(symbol).token_address for symbol in ("WETH", "USDC"))
ROUTERS = load_deployments().routers(ChainId(1))
OTHER = Address("0x00000000000000000000000000000000000000FF")
PRICE = 3_000
LEVELS = 40


def v3_pool(fee_pips: int = 500, *, liquidity: int = 10**19, price: int = PRICE, width: int = 60) -> GraphPool:
    """USDC is token0, WETH token1: the pool's price is WETH base units for a USDC base unit."""
    ratio = Ratio.of(10**18, price * 10**6)
    sqrt_price = isqrt(ratio.num * 2**192 // ratio.den)
    tick, spacing = get_tick_at_sqrt_ratio(sqrt_price), SPACINGS[fee_pips]
    centre = tick // spacing * spacing
    ends = (centre - width * spacing, centre + width * spacing, liquidity)
    state = make_pool(fee_pips, sqrt_price_x96=sqrt_price, tick=tick, positions=[ends])
    return GraphPool(key=PoolKey.of(Venue.UNISWAP_V3, (WETH, USDC), fee_pips=fee_pips), state=state)


def v2_pair(*, eth: int = 1_000, price: int = PRICE) -> GraphPool:
    state = V2Pool(address=OTHER, reserve0=eth * price * 10**6, reserve1=eth * 10**18)
    return GraphPool(key=PoolKey.of(Venue.UNISWAP_V2, (WETH, USDC), fee_pips=3_000), state=state)


def filters(price: int = PRICE) -> Filters:
    return derive(ETHUSDC, price=Ratio.of(price * 10**6, 10**18), quote_usd=None)


def book_of(*pools: GraphPool, levels: int = LEVELS, steps: Filters | None = None) -> Book:
    return build_book(ETHUSDC, pools, assets=ASSETS, routers=ROUTERS, filters=steps or filters(), levels=levels)


POOLS = [[v3_pool()], [v2_pair()], [v3_pool(), v2_pair()], [v3_pool(), v3_pool(3_000, liquidity=10**18), v2_pair()]]
IDS = ["v3", "v2", "v3 and v2", "three"]


@pytest.mark.parametrize("pools", POOLS, ids=IDS)
def test_levels_run_away_from_a_spread_of_the_fees(pools: list[GraphPool]) -> None:
    book = book_of(*pools)
    asks, bids = ([level.ticks for level in side] for side in (book.asks, book.bids))
    assert len(asks) == len(bids) == LEVELS
    assert asks == sorted(set(asks))
    assert bids == sorted(set(bids), reverse=True)
    assert bids[0] < PRICE * 100 < asks[0]
    assert all(level.base > 0 and level.quote > 0 for level in (*book.asks, *book.bids))


def test_the_fee_is_inside_the_price() -> None:
    book = book_of(v3_pool(3_000))
    assert book.filters.price_text(book.asks[0].ticks) == "3009.03"  # 3000 / 0.997 = 3009.027
    assert book.filters.price_text(book.bids[0].ticks) == "2990.99"  # a hair below 3000 * 0.997


@pytest.mark.parametrize("pools", POOLS, ids=IDS)
def test_a_level_never_promises_a_better_price_than_it_trades_at(pools: list[GraphPool]) -> None:
    book = book_of(*pools)
    tick = tick_ratio(ETHUSDC, book.filters)
    for level in book.asks:
        assert level.quote * tick.den <= (level.base + 1) * level.ticks * tick.num + 2 * tick.den
        assert (level.quote + 2) * tick.den >= (level.base - 1) * (level.ticks - 1) * tick.num
    for level in book.bids:
        assert (level.quote + 2) * tick.den >= (level.base - 1) * level.ticks * tick.num
        assert level.quote * tick.den <= (level.base + 1) * (level.ticks + 1) * tick.num + 2 * tick.den


@pytest.mark.parametrize("depth", [1, 7, LEVELS])
def test_one_pools_levels_sum_to_what_a_swap_of_that_size_moves(depth: int) -> None:
    pool = v3_pool()
    state = pool.state
    assert isinstance(state, V3Pool)
    book = book_of(pool)
    bought, paid = sum(level.base for level in book.asks[:depth]), sum(level.quote for level in book.asks[:depth])
    assert abs(quote_exact_out(state, bought, zero_for_one=True).amount_in - paid) <= 1
    sold, got = sum(level.base for level in book.bids[:depth]), sum(level.quote for level in book.bids[:depth])
    assert abs(quote_exact_in(state, sold, zero_for_one=False).amount_out - got) <= 1


def test_several_pools_levels_sum_to_what_swaps_of_their_shares_move() -> None:
    """At one marginal price everywhere no other split buys more: shares found by brute force come no farther."""
    v3, v2 = v3_pool(liquidity=10**18), v2_pair(eth=300)
    v3_state, v2_state = v3.state, v2.state
    assert isinstance(v3_state, V3Pool)
    assert isinstance(v2_state, V2Pool)
    book = book_of(v3, v2, steps=coarser(filters(), 10))
    sold, got = sum(level.base for level in book.bids), sum(level.quote for level in book.bids)
    shares = range(1, 1_000)
    best = max(
        quote_exact_in(v3_state, sold * share // 1_000, zero_for_one=False).amount_out
        + v2_quote(v2_state, sold - sold * share // 1_000, zero_for_one=False).amount_out
        for share in shares
    )
    assert best <= got + 2
    assert got - best <= got // 10**5  # the brute force has steps


@given(st.permutations([v3_pool(), v3_pool(3_000, liquidity=10**18), v2_pair()]))
def test_the_order_of_the_pools_does_not_matter(pools: list[GraphPool]) -> None:
    assert book_of(*pools, levels=5) == book_of(*POOLS[3], levels=5)


def test_a_coarser_book_sums_the_finer_ones_levels() -> None:
    pools = POOLS[3]
    fine, coarse = book_of(*pools, levels=60), book_of(*pools, levels=3, steps=coarser(filters(), 10))
    upto = coarse.asks[1].ticks * 10
    assert sum(level.base for level in coarse.asks[:2]) == sum(one.base for one in fine.asks if one.ticks <= upto)
    downto = coarse.bids[1].ticks * 10
    assert sum(level.base for level in coarse.bids[:2]) == sum(one.base for one in fine.bids if one.ticks >= downto)


def test_a_market_without_pools_has_an_empty_book() -> None:
    assert book_of() == Book(market=ETHUSDC, filters=filters(), bids=(), asks=())


def test_pools_of_other_pairs_and_empty_ones_are_left_out() -> None:
    pool = v3_pool()
    key = PoolKey.of(Venue.UNISWAP_V3, (WETH, ASSETS.by_symbol("USDT").token_address), fee_pips=500)
    empty = GraphPool(key=v2_pair().key, state=V2Pool(address=ADDRESS, reserve0=0, reserve1=0))
    unpriced = replace(v3_pool(3_000), state=make_pool(3_000, sqrt_price_x96=0, tick=0, positions=[]))
    assert book_of(pool, replace(pool, key=key), empty, unpriced) == book_of(pool)


@pytest.mark.parametrize(
    "pool",
    [
        replace(v3_pool(10_000), state=make_pool(10_000, sqrt_price_x96=10 * Q96, tick=46_054, positions=[])),
        v3_pool(10_000, liquidity=1_000, price=30),
        v3_pool(10_000, liquidity=1_000, price=300_000),
        replace(v2_pair(), state=V2Pool(address=OTHER, reserve0=1, reserve1=10**6)),
        replace(v2_pair(), state=V2Pool(address=OTHER, reserve0=10**6, reserve1=1)),
    ],
    ids=["empty, far below", "dust, far below", "dust, far above", "a pair's dust above", "a pair's dust below"],
)
@pytest.mark.parametrize("routers", [ROUTERS, ROUTERS[:1], "apart"], ids=["all", "one", "apart"])
def test_a_pool_with_next_to_nothing_at_an_absurd_price_does_not_move_the_book(
    pool: GraphPool, routers: tuple[Router, ...] | str
) -> None:
    """Anybody may make one, for the gas."""
    if isinstance(routers, str):
        routers = (
            Router(kind=RouterKind.SWAP_ROUTER_02, address=ADDRESS, venues=frozenset({Venue.UNISWAP_V3})),
            Router(kind=RouterKind.ROUTER_02, address=OTHER, venues=frozenset({Venue.UNISWAP_V2})),
        )
    real = v3_pool()
    book = build_book(ETHUSDC, [real, pool], assets=ASSETS, routers=routers, filters=filters(), levels=LEVELS)
    expected = book_of(real)
    for side, wanted in ((book.asks, expected.asks), (book.bids, expected.bids)):
        assert len(side) == LEVELS
        # Its crumbs may be a level of their own, at the price that the market has.
        assert abs(side[0].ticks - wanted[0].ticks) <= 1
        known = {level.ticks: level.quote for level in wanted}
        assert all(abs(level.quote - known.get(level.ticks, 0)) <= 10**6 for level in side[:-1])  # one dollar


def test_a_side_is_of_the_router_with_the_best_first_price_where_none_reaches_all_pools() -> None:
    alone = [
        Router(kind=RouterKind.SWAP_ROUTER_02, address=ADDRESS, venues=frozenset({Venue.UNISWAP_V3})),
        Router(kind=RouterKind.ROUTER_02, address=OTHER, venues=frozenset({Venue.UNISWAP_V2})),
    ]
    # The pair has the higher fee, and stands so high that selling to it is better all the same.
    v3, v2 = v3_pool(), v2_pair(price=3_015)
    book = build_book(ETHUSDC, [v3, v2], assets=ASSETS, routers=alone, filters=filters(), levels=LEVELS)
    assert book.asks == book_of(v3).asks
    assert book.bids == book_of(v2).bids


def test_a_router_that_reaches_less_than_another_one_changes_nothing() -> None:
    only_v3 = Router(kind=RouterKind.SWAP_ROUTER_02, address=ADDRESS, venues=frozenset({Venue.UNISWAP_V3}))
    routers = [only_v3, *ROUTERS]
    book = build_book(ETHUSDC, POOLS[3], assets=ASSETS, routers=routers, filters=filters(), levels=LEVELS)
    assert book == book_of(*POOLS[3])


def test_a_book_ends_where_the_liquidity_does() -> None:
    book = book_of(v3_pool(width=1), levels=1_000)
    assert 0 < len(book.asks) < 1_000
    assert 0 < len(book.bids) < 1_000


def test_the_wrapped_markets_book_is_the_native_ones() -> None:
    market = ASSETS.markets["WETHUSDC"]
    wrapped = build_book(market, POOLS[3], assets=ASSETS, routers=ROUTERS, filters=filters(), levels=LEVELS)
    assert replace(wrapped, market=ETHUSDC) == book_of(*POOLS[3])


@pytest.mark.parametrize("pools", POOLS, ids=IDS)
def test_a_deep_book_begins_with_the_shallow_one(pools: list[GraphPool]) -> None:
    assert book_of(*pools, levels=100).cut(7) == book_of(*pools, levels=7)
