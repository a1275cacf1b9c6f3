"""Candidates, fees and price impact: pure arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.types import Address, address_from_bytes
from contracts.deployments import Venue
from contracts.pools import ABSENT_FOR_BLOCKS, PoolDirectory, PoolKey, PoolState
from contracts.ratio import Ratio
from contracts.routes import Exact, Hop, Route, candidates, combined_fee_pips, has_route, legs, price_impact_bps

A, B, C = (address_from_bytes(bytes([i]) * 20) for i in (1, 2, 3))
POOL = address_from_bytes(bytes([9]) * 20)
PRICE = Ratio.of(3_000, 1)


def _pool(
    one: Address, other: Address, *, fee: int = 500, holding: int = 10**9, venue: Venue = Venue.UNISWAP_V3
) -> PoolState:
    return PoolState(
        key=PoolKey.of(venue, (one, other), fee_pips=fee),
        address=address_from_bytes(fee.to_bytes(20, "big")),
        price=Ratio.of(1, 1),
        holding0=holding,
        holding1=holding,
    )


def _route(*fees: int) -> Route:
    hops = tuple(Hop(venue=Venue.UNISWAP_V3, token_in=A, token_out=B, fee_pips=fee, pool=POOL) for fee in fees)
    return Route(venue=Venue.UNISWAP_V3, hops=hops, mid_price=PRICE)


def test_fees_of_two_hops_compound() -> None:
    assert combined_fee_pips((500,)) == 500
    assert combined_fee_pips((3_000, 3_000)) == 5_991
    assert combined_fee_pips((500, 3_000)) == 3_499  # 3498.5 rounded up


@pytest.mark.parametrize(("lost_bps", "shown"), [(0, 0), (1, 1), (250, 250), (10_000, 10_000)])
def test_price_impact_leaves_the_pool_fee_out(lost_bps: int, shown: int) -> None:
    sold = 10**12
    without_impact = sold * 3_000 * (1_000_000 - 500) // 1_000_000
    bought = without_impact - without_impact * lost_bps // 10_000
    assert price_impact_bps(_route(500), amount_in=sold, amount_out=bought) == shown


@given(st.integers(1, 2**128), st.integers(1, 2**128))
def test_price_impact_stays_between_nothing_and_everything(sold: int, bought: int) -> None:
    assert 0 <= price_impact_bps(_route(500, 3_000), amount_in=sold, amount_out=bought) <= 10_000


def test_a_pool_that_cannot_pay_is_not_a_candidate() -> None:
    states = [_pool(A, B, holding=1_000), _pool(A, B, fee=3_000, holding=999)]
    exacts: tuple[Exact, Exact] = ("in", "out")
    for exact in exacts:
        found = candidates(states, [(A, B)], amount=1_000, exact=exact)
        assert [route.fees_pips for route in found] == [(500,)]


def test_a_route_stays_with_one_venue() -> None:
    states = [_pool(A, B), _pool(B, C, fee=3_000, venue=Venue.UNISWAP_V2)]
    paths = legs(A, C, connectors=[B])
    assert candidates(states, paths, amount=1, exact="in") == []
    assert not has_route(states, paths)


def test_only_the_deepest_pools_make_two_hop_routes() -> None:
    states = [_pool(A, B, fee=fee, holding=depth) for fee, depth in ((100, 5), (500, 900), (3_000, 800), (10_000, 7))]
    found = candidates([*states, _pool(B, C)], legs(A, C, connectors=[B]), amount=1, exact="in")
    assert {route.fees_pips for route in found} == {(500, 500), (3_000, 500)}
    assert all(route.tokens == (A, B, C) for route in found)


def test_a_connector_that_is_an_end_is_passed_over() -> None:
    assert legs(A, B, connectors=[A, B, C]) == [(A, B), (A, C, B)]


@given(num=st.integers(1, 2**200), den=st.integers(1, 2**200), amount=st.integers(0, 2**128))
def test_a_price_and_its_inverse_round_apart_by_design(num: int, den: int, amount: int) -> None:
    price = Ratio.of(num, den)
    assert price.inverse.inverse == price
    assert price.times(amount) <= price.times_up(amount) <= price.times(amount) + 1
    assert price.inverse.times_up(price.times_up(amount)) >= amount


def test_a_price_is_written_in_whole_units() -> None:
    # 3,000 USDC (6 decimals) for one ETH (18): 3e9 base units for 1e18.
    price = Ratio.of(3_000 * 10**6, 10**18)
    assert price.text(base_decimals=18, quote_decimals=6, digits=8) == "3000"
    assert price.inverse.text(base_decimals=6, quote_decimals=18, digits=8) == "0.00033333"


def test_a_price_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        Ratio.of(0, 1)


def test_a_pool_that_did_not_exist_is_asked_for_again_after_a_while() -> None:
    directory = PoolDirectory(chain_id=1)  # type: ignore[arg-type]  # any chain
    key = PoolKey.of(Venue.UNISWAP_V3, (B, A), fee_pips=500)
    assert directory.unknown([key], block_number=100) == [key]
    directory.remember(key, Address("0x" + "0" * 40), block_number=100)
    assert directory.unknown([key], block_number=100 + ABSENT_FOR_BLOCKS - 1) == []
    assert directory.unknown([key], block_number=100 + ABSENT_FOR_BLOCKS) == [key]
    assert directory.unknown([key], block_number=99) == [key], "an older block says nothing about"
    directory.remember(key, POOL, block_number=400)
    assert directory.unknown([key], block_number=10_000) == []
    assert directory.address(key) == POOL
