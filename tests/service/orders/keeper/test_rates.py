"""No route gives more than the best rate says, whatever it is like."""

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import QuoteError
from contracts.ratio import Ratio
from contracts.routes import Exact
from contracts.routing.graph import PoolGraph
from contracts.routing.model import GraphPool
from service.orders.keeper.rates import FRACTION_BITS, best_rate, may_reach, rate_asked
from tests.contracts.routing.markets import USDC, WBTC, WETH, v2_pool, v3_pool
from tests.contracts.routing.test_search_properties import PHASES, route
from tests.examples import examples

DIRECTIONS = st.permutations([WETH, USDC, WBTC])
EXACTS: st.SearchStrategy[Exact] = st.sampled_from(["in", "out"])


def pools_of(seed: int) -> list[GraphPool]:
    rng = random.Random(seed)
    pools = []
    for one, other in (("WBTC", "WETH"), ("WBTC", "USDC"), ("WETH", "USDC")):
        noise = rng.uniform(-0.02, 0.02)
        pools.append(v3_pool(one, other, rng.choice([500, 3_000]), eth=rng.randint(20, 5_000), noise=noise, rng=rng))
        if rng.random() < 0.7:
            pools.append(v2_pool(one, other, eth=rng.randint(20, 5_000), noise=rng.uniform(-0.02, 0.02)))
    return pools


@settings(max_examples=examples(60), deadline=None, phases=PHASES)
@given(st.integers(0, 10**6), DIRECTIONS, EXACTS, st.integers(1, 10**6))
def test_no_route_is_better_than_the_best_rate(seed: int, tokens: list[object], exact: Exact, millionths: int) -> None:
    sold, bought = tokens[0], tokens[1]
    pools = pools_of(seed)
    graph = PoolGraph.of(pools)
    fixed = sold if exact == "in" else bought
    whole = {WETH: 10**19, USDC: 3 * 10**10, WBTC: 4 * 10**7}[fixed]  # type: ignore[index]
    try:
        found = route(pools, sold, bought, amount=max(1, whole * millionths // 10**6), exact=exact, gwei=0)  # type: ignore[arg-type]
    except QuoteError:
        return
    best = best_rate(graph, sold.token_address, bought.token_address)  # type: ignore[attr-defined]
    assert Fraction(found.amount_out, found.amount_in) <= Fraction(best, 1 << FRACTION_BITS)


def test_the_best_rate_is_near_what_a_small_trade_gets() -> None:
    pools = [v2_pool("WETH", "USDC", eth=5_000, noise=0.0)]
    best = best_rate(PoolGraph.of(pools), WETH.token_address, USDC.token_address)
    found = route(pools, WETH, USDC, amount=10**15, exact="in", gwei=0)
    got = Fraction(found.amount_out, found.amount_in) * (1 << FRACTION_BITS)
    assert Fraction(999, 1_000) < got / best <= 1


def test_without_a_way_there_is_no_rate_and_nothing_reaches_it() -> None:
    graph = PoolGraph.of([v2_pool("WETH", "USDC", eth=100, noise=0.0)])
    best = best_rate(graph, WETH.token_address, WBTC.token_address)
    assert best == 0
    assert not may_reach(0, best)


@pytest.mark.parametrize(
    ("price", "sells_base", "best", "expected"),
    [
        (Ratio.of(2, 1), True, 2, True),
        (Ratio.of(3, 1), True, 2, False),
        (Ratio.of(1, 3), False, 3, True),
        (Ratio.of(1, 4), False, 3, False),
        (Ratio.of(2_001, 1_000), True, 2, True),
        (Ratio.of(2_003, 1_000), True, 2, False),
    ],
)
def test_an_order_may_reach_a_rate_that_is_at_least_what_it_asks_for(
    price: Ratio, sells_base: bool, best: int, expected: bool
) -> None:
    assert may_reach(rate_asked(price, sells_base=sells_base), best << FRACTION_BITS) is expected
