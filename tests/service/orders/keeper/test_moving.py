"""Pools as our own swaps leave them."""

import random
from collections.abc import Mapping

import pytest

from chains.types import Address
from contracts.assets import Asset
from contracts.deployments import load_deployments
from contracts.routes import Exact
from contracts.routing.model import GraphPool, RoutedSwap
from contracts.swaps import Swap, compile_route, decode_swap
from service.orders.keeper.moving import after
from tests.contracts.routing.markets import ASSETS, USDC, WBTC, WETH, v2_pool, v3_pool
from tests.contracts.routing.test_search_properties import route

DEPLOYMENTS = load_deployments()
WALLET = Address("0x1F9090AaE28b8a3dCeaDf281B0F12828e676c326")


def market() -> dict[Address, GraphPool]:
    rng = random.Random(7)
    pools = [
        v3_pool("WETH", "USDC", 500, eth=500, noise=0.0, rng=rng),
        v3_pool("WETH", "USDC", 3_000, eth=800, noise=0.001, rng=rng),
        v2_pool("WETH", "USDC", eth=300, noise=0.002),
        v2_pool("WBTC", "WETH", eth=300, noise=0.0),
    ]
    return {pool.address: pool for pool in pools}


def swap_of(found: RoutedSwap, *, slippage_bps: int = 0) -> Swap:
    most, least = found.amount_in, found.amount_out
    if found.exact == "in":
        least = least * (10_000 - slippage_bps) // 10_000
    else:
        least = sum(leg.exact_out for leg in found.legs)
        most = most * (10_000 + slippage_bps) // 10_000 + 1
    call = compile_route(
        found,
        deployments=DEPLOYMENTS,
        assets=ASSETS,
        recipient=WALLET,
        max_in=most,
        min_out=least,
        deadline_s=2_000_000_000,
    )
    return decode_swap(call.call, deployments=DEPLOYMENTS, assets=ASSETS)


def quoted(pools: Mapping[Address, GraphPool], sold: Asset, bought: Asset, amount: int, exact: Exact) -> RoutedSwap:
    return route(list(pools.values()), sold, bought, amount=amount, exact=exact, gwei=0)


@pytest.mark.parametrize(("exact", "amount"), [("in", 40 * 10**18), ("out", 120_000 * 10**6)])
def test_the_same_trade_again_gets_less_by_what_the_first_one_took(exact: Exact, amount: int) -> None:
    pools = market()
    first = quoted(pools, WETH, USDC, amount, exact)
    assert len(first.legs) > 1
    moved = after(pools, [swap_of(first)], deployments=DEPLOYMENTS)
    second = quoted(moved, WETH, USDC, amount, exact)
    assert second.amount_out * first.amount_in < first.amount_out * second.amount_in
    # Both in one are what the two are one after the other, but for how routes are split.
    both = quoted(pools, WETH, USDC, 2 * amount, exact)
    together = (first.amount_in + second.amount_in) * both.amount_out
    assert abs(together - (first.amount_out + second.amount_out) * both.amount_in) * 1_000 < together


def test_pools_that_no_swap_touches_are_the_very_same() -> None:
    pools = market()
    moved = after(pools, [swap_of(quoted(pools, WBTC, WETH, 10**7, "in"))], deployments=DEPLOYMENTS)
    changed = {address for address, pool in moved.items() if pool is not pools[address]}
    assert {pools[address].key.pair for address in changed} == {frozenset((WBTC.token_address, WETH.token_address))}


def test_without_swaps_the_mapping_is_the_very_same() -> None:
    pools = market()
    assert after(pools, [], deployments=DEPLOYMENTS) is pools


def test_a_swap_whose_limit_does_not_hold_any_more_moves_nothing() -> None:
    pools = market()
    swap = swap_of(quoted(pools, WETH, USDC, 40 * 10**18, "in"))
    once = after(pools, [swap], deployments=DEPLOYMENTS)
    assert after(once, [swap], deployments=DEPLOYMENTS) is once


def test_a_swap_over_a_pool_that_is_not_there_moves_nothing() -> None:
    pools = market()
    swap = swap_of(quoted(pools, WBTC, WETH, 10**7, "in"))
    others = {address: pool for address, pool in pools.items() if WBTC.token_address not in pool.key.pair}
    assert after(others, [swap], deployments=DEPLOYMENTS) is others
