"""Routes over random small markets, held against trying everything."""

import random
from itertools import combinations
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from contracts.assets import Asset
from contracts.deployments import RouterKind, load_deployments
from contracts.errors import QuoteError
from contracts.routes import Exact
from contracts.routing.execution import Share, execute
from contracts.routing.gas import V3_TICK, GasModel, GasPricing
from contracts.routing.graph import PoolGraph
from contracts.routing.model import GraphPool, RoutedSwap
from contracts.routing.paths import find_paths
from contracts.routing.search import find_route
from tests.contracts.routing.markets import ASSETS, BLOCK, USDC, WBTC, WETH, units, v2_pool, v3_pool
from tests.examples import examples

DEPLOYMENTS = load_deployments()
GRID = 64
"""Parts of the amount that the exhaustive search deals out."""

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""A market is not made clearer by shrinking it, which takes minutes."""
NOISE = st.floats(-0.01, 0.01)
DEPTHS = st.integers(20, 5_000)
SIZES = st.integers(1, 400)
DIRECTIONS: st.SearchStrategy[Exact] = st.sampled_from(["in", "out"])
GAS = st.sampled_from([0, 1, 20, 200])


@st.composite
def parallel(draw: st.DrawFn) -> list[GraphPool]:
    """Two or three pools between WETH and USDC."""
    rng = random.Random(draw(st.integers(0, 10**6)))
    pools = [
        v3_pool("WETH", "USDC", fee, eth=draw(DEPTHS), noise=draw(NOISE), rng=rng)
        for fee in draw(st.lists(st.sampled_from([500, 3_000, 10_000]), min_size=1, max_size=2, unique=True))
    ]
    return [*pools, v2_pool("WETH", "USDC", eth=draw(DEPTHS), noise=draw(NOISE))]


@st.composite
def webs(draw: st.DrawFn) -> list[GraphPool]:
    """Pools between three tokens, so that paths share some."""
    rng = random.Random(draw(st.integers(0, 10**6)))
    pools = []
    for one, other in (("WBTC", "WETH"), ("WBTC", "USDC"), ("WETH", "USDC")):
        for fee in draw(st.lists(st.sampled_from([500, 3_000]), min_size=1, max_size=2, unique=True)):
            pools.append(v3_pool(one, other, fee, eth=draw(DEPTHS), noise=draw(NOISE), rng=rng))
        if draw(st.booleans()):
            pools.append(v2_pool(one, other, eth=draw(DEPTHS), noise=draw(NOISE)))
    return pools


def route(
    pools: list[GraphPool], sold: Asset, bought: Asset, *, amount: int, exact: Exact, gwei: int, **options: Any
) -> RoutedSwap:
    graph = PoolGraph.of(pools)
    return find_route(
        graph,
        assets=ASSETS,
        deployments=DEPLOYMENTS,
        sold=sold,
        bought=bought,
        amount=amount,
        exact=exact,
        gas=pricing(graph, sold, bought, exact=exact, gwei=gwei),
        block=BLOCK,
        **options,
    )


def pricing(graph: PoolGraph, sold: Asset, bought: Asset, *, exact: Exact, gwei: int) -> GasPricing:
    judged = bought if exact == "in" else sold
    return GasPricing.of(graph, assets=ASSETS, judged=judged, price_wei=gwei * 10**9)


def net(found: RoutedSwap, gas: GasPricing) -> int:
    """More is better."""
    cost = gas.cost(found.gas_estimate)
    return found.amount_out - cost if found.exact == "in" else -found.amount_in - cost


@settings(max_examples=examples(40), deadline=None, phases=PHASES)
@given(parallel(), SIZES, GAS)
def test_no_division_on_a_grid_is_better(pools: list[GraphPool], eth: int, gwei: int) -> None:
    amount = eth * 10**18
    graph = PoolGraph.of(pools)
    gas = pricing(graph, WETH, USDC, exact="in", gwei=gwei)
    model = GasModel(kind=RouterKind.SWAP_ROUTER_02, exact="in", native_in=False, native_out=False)
    paths = find_paths(graph, WETH.token_address, USDC.token_address)
    best = None
    for parts in _compositions(GRID, len(paths)):
        shares = [Share(path, amount * part // GRID) for path, part in zip(paths, parts, strict=True) if part]
        shares[-1] = Share(shares[-1].path, amount - sum(share.amount for share in shares[:-1]))
        try:
            done = execute(shares, "in", rounds_v2_up=True)
        except QuoteError:
            continue
        used = [share.path for share in shares]
        worth = done.amount_out - gas.cost(model.route(used, ticks_crossed=done.ticks_crossed))
        best = worth if best is None else max(best, worth)
    found = route(pools, WETH, USDC, amount=amount, exact="in", gwei=gwei)
    assert best is not None
    # A division that just avoids crossing a tick may be better by that tick's gas: ticks are counted, hardly aimed at.
    assert net(found, gas) >= best - abs(best) // 1_000_000 - gas.cost(V3_TICK)


@settings(max_examples=examples(60), deadline=None, phases=PHASES)
@given(webs(), SIZES, DIRECTIONS, GAS)
def test_a_split_nets_no_less_than_the_best_path_alone(
    pools: list[GraphPool], eth: int, exact: Exact, gwei: int
) -> None:
    amount = units("WBTC" if exact == "in" else "WETH", eth=eth) // 4
    gas = pricing(PoolGraph.of(pools), WBTC, WETH, exact=exact, gwei=gwei)
    try:
        alone = route(pools, WBTC, WETH, amount=amount, exact=exact, gwei=gwei, max_splits=1)
    except QuoteError:
        return
    found = route(pools, WBTC, WETH, amount=amount, exact=exact, gwei=gwei)
    assert net(found, gas) >= net(alone, gas)
    fixed = found.amount_in if exact == "in" else sum(leg.exact_out for leg in found.legs)
    assert fixed == amount
    assert found.amount_in == sum(leg.amount_in for leg in found.legs)
    assert found.amount_out == sum(leg.amount_out for leg in found.legs)
    assert all(leg.amount_in > 0 and leg.amount_out > 0 for leg in found.legs)


@settings(max_examples=examples(60), deadline=None, phases=PHASES)
@given(webs(), SIZES, DIRECTIONS)
def test_an_amount_is_found_whatever_the_order_of_pools(pools: list[GraphPool], eth: int, exact: Exact) -> None:
    amount = units("WBTC" if exact == "in" else "WETH", eth=eth) // 8
    try:
        found = route(pools, WBTC, WETH, amount=amount, exact=exact, gwei=20)
    except QuoteError:
        return
    assert route(pools[::-1], WBTC, WETH, amount=amount, exact=exact, gwei=20) == found


@settings(max_examples=examples(40), deadline=None, phases=PHASES)
@given(webs(), SIZES)
def test_no_subset_of_paths_is_much_better_than_the_choice(pools: list[GraphPool], eth: int) -> None:
    amount = units("WBTC", eth=eth) // 8
    found = route(pools, WBTC, WETH, amount=amount, exact="in", gwei=20)
    gas = pricing(PoolGraph.of(pools), WBTC, WETH, exact="in", gwei=20)
    for fewer in combinations(pools, len(pools) - 1):
        try:
            other = route(list(fewer), WBTC, WETH, amount=amount, exact="in", gwei=20)
        except QuoteError:
            continue
        # The gas price is counted from other pools' mid prices there; half a basis point is far below that of a leg.
        assert net(found, gas) >= net(other, gas) - abs(net(other, gas)) // 20_000, (_told(found), _told(other))


def _told(found: RoutedSwap) -> tuple[int, int, list[tuple[int, list[str]]]]:
    legs = [
        (leg.amount_in, [f"{hop.token_in[:6]} {hop.venue} {hop.fee_pips}" for hop in leg.hops]) for leg in found.legs
    ]
    return found.amount_out, found.gas_estimate, legs


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    if parts == 1:
        return [(total,)]
    step = 1 if parts == 2 else 4
    return [(first, *rest) for first in range(0, total + 1, step) for rest in _compositions(total - first, parts - 1)]
