"""Routes on made-up markets: what wins, why, and what is refused."""

import random
from dataclasses import replace
from typing import Any

import pytest

from contracts.assets import Asset
from contracts.deployments import RouterKind, Venue, load_deployments
from contracts.errors import (
    AmountTooSmall,
    InsufficientLiquidity,
    InvalidTradeAmount,
    NoRoute,
    TicksNotLoaded,
    UnsupportedPair,
)
from contracts.quoting import MAX_TRADE
from contracts.routing.explain import explain
from contracts.routing.gas import GasPricing
from contracts.routing.graph import PoolGraph
from contracts.routing.model import GraphPool, RoutedSwap
from contracts.routing.search import find_route
from contracts.swaps import MAX_LEGS
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.ticks import TickMap, WordRange, word_of
from tests.contracts.routing.markets import (
    ASSETS,
    BLOCK,
    DAI,
    USDC,
    USDT,
    WBTC,
    WETH,
    market,
    units,
    v2_pool,
    v3_pool,
)

DEPLOYMENTS = load_deployments()
GWEI = 10**9
ETH = ASSETS.native


def route(
    pools: list[GraphPool], sold: Asset, bought: Asset, *, amount: int, gas_gwei: int = 0, **options: Any
) -> RoutedSwap:
    graph = PoolGraph.of(pools)
    exact = options.pop("exact", "in")
    judged = bought if exact == "in" else sold
    return find_route(
        graph,
        assets=ASSETS,
        deployments=DEPLOYMENTS,
        sold=sold,
        bought=bought,
        amount=amount,
        exact=exact,
        gas=GasPricing.of(graph, assets=ASSETS, judged=judged, price_wei=gas_gwei * GWEI),
        block=BLOCK,
        **options,
    )


def pair(one: str, other: str, *, eth: int, noise: float = 0.0, number: int = 0) -> GraphPool:
    return v2_pool(one, other, eth=eth, noise=noise, number=number)


def pool(one: str, other: str, fee: int, *, eth: int, noise: float = 0.0) -> GraphPool:
    return v3_pool(one, other, fee, eth=eth, noise=noise, rng=random.Random(1))


def test_one_pair_gives_what_the_pair_gives() -> None:
    only = pair("WETH", "USDC", eth=1_000)
    assert isinstance(only.state, v2.V2Pool)
    amount = 10**18

    found = route([only], WETH, USDC, amount=amount)

    quote = v2.quote_exact_in(only.state, amount, zero_for_one=only.key.token0 == WETH.address)
    assert (found.amount_in, found.amount_out) == quote
    assert [leg.hops[0].pool for leg in found.legs] == [only.address]
    assert found.router.kind is RouterKind.ROUTER_02  # which costs less gas for the same


def test_native_coins_trade_through_the_wrapped_tokens_pools() -> None:
    pools = [pair("WETH", "USDC", eth=1_000)]
    as_token, as_coins = (route(pools, sold, USDC, amount=10**18) for sold in (WETH, ETH))
    assert as_coins.amount_out == as_token.amount_out
    assert as_coins.legs == as_token.legs
    assert as_coins.sold == ETH
    assert as_coins.gas_estimate > as_token.gas_estimate


def test_a_detour_over_deep_pools_beats_a_shallow_direct_one() -> None:
    pools = [pair("WETH", "USDT", eth=20), pair("WETH", "USDC", eth=50_000), pool("USDC", "USDT", 100, eth=50_000)]
    found = route(pools, WETH, USDT, amount=10 * 10**18, max_splits=1)
    assert [hop.token_out for hop in found.legs[0].hops] == [USDC.address, USDT.address]


def test_three_hops_are_taken_where_there_is_no_other_way_and_two_are_the_most_when_asked() -> None:
    pools = [pair("WBTC", "WETH", eth=900), pair("WETH", "USDC", eth=900), pool("USDC", "USDT", 100, eth=900)]
    assert len(route(pools, WBTC, USDT, amount=10**6).legs[0].hops) == 3
    with pytest.raises(NoRoute):
        route(pools, WBTC, USDT, amount=10**6, max_hops=2)


def test_two_equal_pools_share_a_large_trade_and_not_a_small_one() -> None:
    pools = [pool("WETH", "USDC", 500, eth=2_000), pool("WETH", "USDC", 3_000, eth=20_000)]
    assert len(route(pools, WETH, USDC, amount=300 * 10**18, gas_gwei=20).legs) == 2
    assert len(route(pools, WETH, USDC, amount=10**16, gas_gwei=20).legs) == 1


def test_gas_decides_whether_a_split_pays() -> None:
    pools = [pair("WETH", "USDC", eth=4_000), pool("WETH", "USDC", 3_000, eth=2_000)]
    legs = {gwei: len(route(pools, WETH, USDC, amount=20 * 10**18, gas_gwei=gwei).legs) for gwei in (0, 1, 10_000)}
    assert legs == {0: 2, 1: 2, 10_000: 1}


def test_legs_add_up_and_are_never_more_than_allowed() -> None:
    for limit in (1, 2, 5, MAX_LEGS):
        amount = units("WBTC", eth=700)
        found = route(market(4), WBTC, WETH, amount=amount, max_splits=limit)
        assert 1 <= len(found.legs) <= limit
        assert sum(leg.amount_in for leg in found.legs) == found.amount_in == amount
        assert sum(leg.amount_out for leg in found.legs) == found.amount_out


def test_more_legs_never_give_less() -> None:
    amount = units("WBTC", eth=500)
    given = [route(market(2), WBTC, WETH, amount=amount, max_splits=limit).amount_out for limit in (1, 2, 4, 8, 16)]
    assert given == sorted(given)
    assert given[-1] > given[0]


def test_the_order_in_which_pools_come_changes_nothing() -> None:
    pools = market(5)
    for exact, amount in (("in", units("WBTC", eth=300)), ("out", 300 * 10**18)):
        found = route(pools, WBTC, WETH, amount=amount, exact=exact, gas_gwei=20)
        for seed in range(4):
            shuffled = random.Random(seed).sample(pools, len(pools))
            assert route(shuffled, WBTC, WETH, amount=amount, exact=exact, gas_gwei=20) == found


def test_exact_output_of_v2_alone_goes_to_the_router_that_gives_it_exactly() -> None:
    pools = [pair("WETH", "USDC", eth=1_000)]
    found = route(pools, WETH, USDC, amount=10**9, exact="out")
    assert found.router.kind is RouterKind.ROUTER_02
    assert found.amount_out == 10**9
    assert found.legs[0].asked_out is None


def test_exact_output_legs_are_of_one_version_each_and_ask_for_the_whole() -> None:
    amount = 400 * 10**18
    found = route(market(1), WBTC, WETH, amount=amount, exact="out")
    assert len(found.legs) > 2
    assert {len(leg.venues) for leg in found.legs} == {1}
    assert sum(leg.exact_out for leg in found.legs) == amount <= found.amount_out
    for leg in found.legs:
        if leg.venues == {Venue.UNISWAP_V3}:
            assert leg.amount_out == leg.exact_out


def test_exact_input_may_mix_versions_in_a_leg() -> None:
    pools = [pair("WBTC", "WETH", eth=900), pool("WETH", "USDC", 500, eth=900)]
    (leg,) = route(pools, WBTC, USDC, amount=10**7).legs
    assert leg.venues == {Venue.UNISWAP_V2, Venue.UNISWAP_V3}
    with pytest.raises(NoRoute):
        route(pools, WBTC, USDC, amount=10**9, exact="out")


def test_a_venue_leaves_its_own_pools_only() -> None:
    pools = [pair("WETH", "USDC", eth=900), pool("WETH", "USDC", 500, eth=90_000)]
    found = route(pools, WETH, USDC, amount=10**18, venue=Venue.UNISWAP_V2)
    assert found.legs[0].venues == {Venue.UNISWAP_V2}
    with pytest.raises(NoRoute):
        route(pools, WETH, USDC, amount=10**18, venue=Venue.QUICKSWAP_V2)


def test_what_comes_back_is_never_more_than_what_went_in() -> None:
    pools = market(3)
    for eth in (1, 30, 300):
        sold = units("WBTC", eth=eth)
        there = route(pools, WBTC, WETH, amount=sold)
        needed = route(pools, WBTC, WETH, amount=there.amount_out, exact="out")
        # The same pools either way; exact output has no mixed legs and may need more, hardly ever less.
        assert sold * 0.9995 <= needed.amount_in <= sold * 1.01
        back = route(pools, WETH, WBTC, amount=there.amount_out)
        assert back.amount_out < sold * 1.002


def test_selling_more_buys_more() -> None:
    given = [route(market(6), WBTC, USDC, amount=units("WBTC", eth=eth)).amount_out for eth in (1, 2, 5, 20, 90, 400)]
    assert given == sorted(given)


def test_a_pool_that_runs_out_is_not_a_fill() -> None:
    with pytest.raises(InsufficientLiquidity):
        route([pair("WETH", "USDC", eth=2)], WETH, USDC, amount=10**9 * 100, exact="out")
    narrow = _narrow()
    with pytest.raises(InsufficientLiquidity):
        route([narrow], WETH, USDC, amount=10**24)
    assert route([narrow], WETH, USDC, amount=10**15).amount_out > 0


def test_pools_that_cannot_fill_alone_fill_together() -> None:
    pools = [_narrow(), pair("WETH", "USDC", eth=100)]
    alone = max(10**18 * n for n in range(1, 40) if _fills(pools[:1], 10**18 * n))
    found = route(pools, WETH, USDC, amount=alone + 5 * 10**18)
    assert len(found.legs) == 2


def test_amounts_that_no_trade_has_are_refused() -> None:
    pools = [pair("WETH", "USDC", eth=900)]
    for amount in (0, -1, MAX_TRADE + 1):
        with pytest.raises(InvalidTradeAmount):
            route(pools, WETH, USDC, amount=amount)
    with pytest.raises(AmountTooSmall):
        route(pools, WETH, USDC, amount=1)


def test_absurd_amounts_are_more_than_the_pools_can_fill() -> None:
    pools = [pair("WETH", "USDC", eth=900), pool("WETH", "USDC", 500, eth=900), pair("WETH", "DAI", eth=900)]
    for exact in ("in", "out"):
        for bought in (USDC, DAI):
            with pytest.raises(InsufficientLiquidity):
                route(pools, WETH, bought, amount=MAX_TRADE, exact=exact)


def test_pairs_that_are_no_trade_are_refused() -> None:
    pools = [pair("WETH", "USDC", eth=900)]
    for sold, bought in ((WETH, WETH), (ETH, WETH), (WETH, ETH)):
        with pytest.raises(UnsupportedPair):
            route(pools, sold, bought, amount=10**18)
    with pytest.raises(NoRoute):
        route(pools, WETH, DAI, amount=10**18)


def test_a_pool_without_a_price_is_no_way() -> None:
    empty = pair("WETH", "USDC", eth=900)
    assert isinstance(empty.state, v2.V2Pool)
    with pytest.raises(NoRoute):
        route([replace(empty, state=replace(empty.state, reserve0=0))], WETH, USDC, amount=10**18)


def test_a_route_that_leaves_the_loaded_words_says_which_pool_to_load() -> None:
    whole = pool("WETH", "USDC", 500, eth=900)
    part = replace(whole, state=_loaded_around(whole.state, 1))
    assert route([part], WETH, USDC, amount=10**16) == route([whole], WETH, USDC, amount=10**16)
    with pytest.raises(TicksNotLoaded) as missing:
        route([part], WETH, USDC, amount=400 * 10**18)
    assert missing.value.pool == part.address


def test_an_unloaded_pool_that_nobody_would_use_disturbs_no_trade() -> None:
    shallow = pool("WETH", "USDC", 10_000, eth=1)
    part = replace(shallow, state=_loaded_around(shallow.state, 1))
    deep = pool("WETH", "USDC", 500, eth=90_000)
    assert (
        route([part, deep], WETH, USDC, amount=10 * 10**18).legs == route([deep], WETH, USDC, amount=10 * 10**18).legs
    )


def test_figures_of_a_route_of_one_leg_are_its_pools() -> None:
    only = pair("WETH", "USDC", eth=1_000)
    found = route([only], WETH, USDC, amount=10**18)
    assert found.lp_fee_pips == 3_000
    assert found.price_impact_bps in (19, 20, 21)
    mid = only.state.mid_price if only.key.token0 == WETH.address else only.state.mid_price.inverse
    assert abs(found.mid_price.num * mid.den - mid.num * found.mid_price.den) * 10**30 < mid.num * found.mid_price.den


def test_a_leg_through_dust_at_an_absurd_price_says_next_to_nothing_of_the_routes_price() -> None:
    """What somebody leaves in a pool is fetched; guards look at the mid price and impact of the whole route."""
    deep, amount = pool("WETH", "USDC", 500, eth=90_000), 10 * 10**18
    alone = route([deep], WETH, USDC, amount=amount)
    left = replace(pair("WETH", "USDC", eth=1), state=_dust(usdc=units("USDC", eth=10) // 500, wei=1_000))

    found = route([deep, left], WETH, USDC, amount=amount)

    assert left.address in {leg.hops[0].pool for leg in found.legs}
    assert found.price_impact_bps <= alone.price_impact_bps + 10
    deviation = found.mid_price.num * alone.mid_price.den * 10_000 // (alone.mid_price.num * found.mid_price.den)
    assert 10_000 <= deviation <= 10_030


def test_the_explanation_names_the_route_that_is_found() -> None:
    for exact, amount in (("in", units("WBTC", eth=60)), ("out", 60 * 10**18), ("in", 10**4)):
        graph = PoolGraph.of(market(2))
        judged = WETH if exact == "in" else WBTC
        arguments: dict[str, Any] = {
            "assets": ASSETS,
            "deployments": DEPLOYMENTS,
            "sold": WBTC,
            "bought": WETH,
            "amount": amount,
            "exact": exact,
            "gas": GasPricing.of(graph, assets=ASSETS, judged=judged, price_wei=20 * GWEI),
            "block": BLOCK,
        }
        told = explain(graph, **arguments)
        assert told.winner == find_route(graph, **arguments)
        assert told.won.legs == told.winner.legs
        better = max if exact == "in" else min
        nets = [each.net for each in (*told.singles, *told.splits)]
        assert told.won.net == better(nets)
        assert told.gain == abs(told.won.net - told.singles[0].net)
        assert told.won.is_split is (told.gain > 0)
        for each in told.singles:
            assert each.net == (each.amount_out - each.gas_cost if exact == "in" else each.amount_in + each.gas_cost)
        assert told.reason


def _narrow() -> GraphPool:
    """A pool whose liquidity ends not far from its price."""
    whole = pool("WETH", "USDC", 500, eth=100)
    state = whole.state
    assert isinstance(state, V3Pool)
    low, high = state.tick // 10 * 10 - 1_000, state.tick // 10 * 10 + 1_000
    ticks = TickMap.of(10, {}).with_position(low, high, delta=state.liquidity)
    return replace(whole, state=replace(state, ticks=ticks))


def _fills(pools: list[GraphPool], amount: int) -> bool:
    try:
        route(pools, WETH, USDC, amount=amount)
    except InsufficientLiquidity:
        return False
    return True


def _dust(*, usdc: int, wei: int) -> v2.V2Pool:
    found = pair("WETH", "USDC", eth=1)
    weth_first = found.key.token0 == WETH.address
    reserves = (wei, usdc) if weth_first else (usdc, wei)
    return v2.V2Pool(address=found.address, reserve0=reserves[0], reserve1=reserves[1])


def _loaded_around(state: object, words: int) -> V3Pool:
    assert isinstance(state, V3Pool)
    word = word_of(state.tick, state.tick_spacing)
    loaded = WordRange(first=word - words, last=word + words)
    low, high = loaded.lowest_tick(state.tick_spacing), loaded.highest_tick(state.tick_spacing)
    inside = {tick: info for tick, info in state.ticks.liquidity.items() if low <= tick <= high}
    return replace(state, ticks=TickMap.of(state.tick_spacing, inside, loaded=loaded))
