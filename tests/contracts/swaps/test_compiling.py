"""A route and its limits become one call, whose bytes say the same as the route."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.types import ZERO_ADDRESS, Address, BlockHash, BlockRef
from contracts.deployments import Router, RouterKind, Venue
from contracts.errors import UnsafeSwap
from contracts.ratio import Ratio
from contracts.routes import Exact, Hop
from contracts.routing.model import Leg, RoutedSwap
from contracts.swaps import Swap, SwapCall, compile_route
from contracts.swaps.compiling import shares
from tests.contracts.swaps.drawn import ACCOUNTS, ALICE, DEPLOYMENTS, ETHEREUM, LISTS, decode, router, swaps

DEADLINE_S = 1_900_000_000
V3, V2 = Venue.UNISWAP_V3, Venue.UNISWAP_V2
ROUTER = router(1, RouterKind.SWAP_ROUTER_02)
USDC, WETH, DAI = (ETHEREUM.by_symbol(symbol) for symbol in ("USDC", "WETH", "DAI"))
U, W, D = (token.token_address for token in (USDC, WETH, DAI))


def _hop(venue: Venue, token_in: Address, token_out: Address, *, fee_pips: int) -> Hop:
    return Hop(venue=venue, token_in=token_in, token_out=token_out, fee_pips=fee_pips, pool=ZERO_ADDRESS)


def _routed(*legs: Leg, exact: Exact, through: Router = ROUTER) -> RoutedSwap:
    return RoutedSwap(
        chain_id=ETHEREUM.chain_id,
        router=through,
        legs=legs,
        sold=USDC,
        bought=WETH,
        exact=exact,
        amount_in=sum(leg.amount_in for leg in legs),
        amount_out=sum(leg.amount_out for leg in legs),
        gas_estimate=0,
        mid_price=Ratio.of(1, 1),
        price_impact_bps=0,
        lp_fee_pips=0,
        block=BlockRef(number=1, hash=BlockHash("0x" + "11" * 32)),
    )


def _compile(routed: RoutedSwap, *, max_in: int, min_out: int, recipient: Address = ALICE) -> SwapCall:
    return compile_route(
        routed,
        deployments=DEPLOYMENTS,
        assets=LISTS[routed.chain_id],
        recipient=recipient,
        max_in=max_in,
        min_out=min_out,
        deadline_s=DEADLINE_S,
    )


def _decoded(call: SwapCall) -> Swap:
    decoded = decode(call.call)
    assert isinstance(decoded, Swap)
    return decoded


LEG = Leg(hops=(_hop(V3, U, W, fee_pips=500),), amount_in=600, amount_out=60)
OTHER = Leg(
    hops=(_hop(V3, U, D, fee_pips=100), _hop(V3, D, W, fee_pips=3_000)),
    amount_in=300,
    amount_out=30,
)
OLD = Leg(hops=(_hop(V2, U, W, fee_pips=3_000),), amount_in=101, amount_out=12, asked_out=10)


def test_exact_input_sells_each_legs_amount_and_has_one_minimum() -> None:
    call = _compile(_routed(LEG, OTHER, exact="in"), max_in=900, min_out=89)
    assert (call.spender, call.spend.asset, call.spend.raw) == (ROUTER.address, USDC, 900)
    decoded = _decoded(call)
    assert [(leg.max_in, leg.exact_out) for leg in decoded.legs] == [(600, 0), (300, 0)]
    assert (decoded.max_in, decoded.min_out) == (900, 89)


def test_exact_output_asks_each_leg_for_what_was_asked_and_divides_the_limit() -> None:
    """The V2 leg is asked for 10, however much its rounding will give."""
    decoded = _decoded(_compile(_routed(LEG, OTHER, OLD, exact="out"), max_in=1_101, min_out=100))
    assert [leg.exact_out for leg in decoded.legs] == [60, 30, 10]
    # 600, 300 and 101 of 1,001 are 659, 329 and 111; what rounding leaves goes to the largest.
    assert [leg.max_in for leg in decoded.legs] == [661, 329, 111]
    assert (decoded.max_in, decoded.min_out) == (1_101, 100)


def test_a_limit_that_is_the_quote_gives_each_leg_what_it_needs() -> None:
    decoded = _decoded(_compile(_routed(LEG, OTHER, OLD, exact="out"), max_in=1_001, min_out=100))
    assert [leg.max_in for leg in decoded.legs] == [600, 300, 101]


@given(
    weights=st.lists(st.integers(1, 2**128), min_size=1, max_size=8),
    total=st.integers(1, 2**128),
    slack=st.integers(0, 2**100),
)
def test_shares_add_up_and_none_is_below_its_weight_when_there_is_enough(
    weights: list[int], total: int, slack: int
) -> None:
    assert sum(shares(total, weights)) == total
    enough = shares(sum(weights) + slack, weights)
    assert all(share >= weight for share, weight in zip(enough, weights, strict=True))
    largest = weights.index(max(weights))
    for at, (share, weight) in enumerate(zip(enough, weights, strict=True)):
        exactly = (sum(weights) + slack) * weight
        assert at == largest or 0 <= exactly - share * sum(weights) < sum(weights)


@pytest.mark.parametrize("weights", [[], [0], [1, 0], [1, -1]])
def test_a_leg_that_sells_nothing_gets_no_share(weights: list[int]) -> None:
    with pytest.raises(UnsafeSwap):
        shares(10, weights)


@pytest.mark.parametrize(("max_in", "min_out"), [(899, 80), (901, 80), (0, 80)])
def test_the_exact_amount_of_an_exact_input_is_the_routes(max_in: int, min_out: int) -> None:
    with pytest.raises(UnsafeSwap, match="as quoted"):
        _compile(_routed(LEG, OTHER, exact="in"), max_in=max_in, min_out=min_out)


def test_a_trade_without_a_minimum_gets_no_calldata() -> None:
    with pytest.raises(UnsafeSwap):
        _compile(_routed(LEG, OTHER, exact="in"), max_in=900, min_out=0)


@pytest.mark.parametrize(("max_in", "min_out"), [(1_101, 99), (1_101, 101), (1_101, 102), (0, 100), (2, 100)])
def test_the_exact_amount_of_an_exact_output_is_what_the_legs_ask_for(max_in: int, min_out: int) -> None:
    """Not what V2 rounding makes of it (102). And each of three legs must be allowed to sell something."""
    with pytest.raises(UnsafeSwap):
        _compile(_routed(LEG, OTHER, OLD, exact="out"), max_in=max_in, min_out=min_out)


@pytest.mark.parametrize(
    "hops",
    [
        (),
        (_hop(V3, U, D, fee_pips=100),),
        (_hop(V3, U, D, fee_pips=100), _hop(V3, U, W, fee_pips=500)),
        (_hop(V3, D, W, fee_pips=100),),
        (_hop(Venue.QUICKSWAP_V2, U, W, fee_pips=3_000),),
        (_hop(V2, U, W, fee_pips=500),),
    ],
    ids=["none", "ends early", "do not meet", "begin elsewhere", "foreign", "no such fee"],
)
def test_hops_that_are_no_way_get_no_calldata(hops: tuple[Hop, ...]) -> None:
    with pytest.raises(UnsafeSwap):
        _compile(_routed(LEG, replace(OTHER, hops=hops), exact="in"), max_in=900, min_out=80)


def test_a_router_that_the_registry_does_not_have_gets_nothing() -> None:
    with pytest.raises(UnsafeSwap):
        _compile(_routed(LEG, exact="in", through=replace(ROUTER, address=ALICE)), max_in=600, min_out=1)


def test_what_a_router_trades_with_is_for_the_registry_to_say() -> None:
    """A route that claims more venues for its router than the registry does."""
    v2_router = router(1, RouterKind.ROUTER_02)
    claimed = replace(v2_router, venues=ROUTER.venues)
    with pytest.raises(UnsafeSwap):
        _compile(_routed(LEG, exact="in", through=claimed), max_in=600, min_out=1)
    assert _decoded(_compile(_routed(OLD, exact="in", through=v2_router), max_in=101, min_out=1)).max_in == 101


@given(wanted=swaps(), recipient=ACCOUNTS, data=st.data())
def test_any_route_compiles_to_a_call_that_decodes_to_the_route(
    wanted: Swap, recipient: Address, data: st.DataObject
) -> None:
    """Routes as hypothesis draws them; the calldata's description is held against the route, not against a `Swap`."""
    through = next(found for found in DEPLOYMENTS.routers(wanted.chain_id) if found.address == wanted.router)
    legs = []
    for leg in wanted.legs:
        hops = tuple(
            _hop(venue, token_in, token_out, fee_pips=fee)
            for venue, fee, (token_in, token_out) in zip(leg.venues, leg.fees_pips, pairwise(leg.path), strict=True)
        )
        surplus = data.draw(st.integers(0, 5))
        asked = leg.exact_out if wanted.exact == "out" else None
        legs.append(Leg(hops=hops, amount_in=leg.max_in, amount_out=(leg.exact_out or 7) + surplus, asked_out=asked))
    routed = replace(
        _routed(*legs, exact=wanted.exact, through=through),
        chain_id=wanted.chain_id,
        sold=wanted.sold,
        bought=wanted.bought,
    )
    slack = data.draw(st.integers(0, 2**96)) if wanted.exact == "out" else 0
    max_in = min(routed.amount_in + slack, 2**128 - 1)
    call = _compile(routed, max_in=max_in, min_out=wanted.min_out, recipient=recipient)
    decoded = decode(call.call, wanted.chain_id)
    assert isinstance(decoded, Swap)
    assert (decoded.max_in, decoded.min_out, decoded.recipient) == (max_in, wanted.min_out, recipient)
    assert (decoded.sold, decoded.bought, decoded.exact) == (routed.sold, routed.bought, routed.exact)
    assert (decoded.router, decoded.deadline_s) == (through.address, DEADLINE_S)
    assert call.call.value_wei == (max_in if wanted.sold.is_native else 0)
    assert [leg.path for leg in decoded.legs] == [leg.tokens for leg in routed.legs]
    assert [leg.venues for leg in decoded.legs] == [tuple(hop.venue for hop in leg.hops) for leg in routed.legs]
    assert [leg.fees_pips for leg in decoded.legs] == [tuple(hop.fee_pips for hop in leg.hops) for leg in routed.legs]
    for leg, quoted in zip(decoded.legs, routed.legs, strict=True):
        if wanted.exact == "in":
            assert (leg.max_in, leg.exact_out) == (quoted.amount_in, 0)
        else:
            assert leg.max_in >= quoted.amount_in
            assert leg.exact_out == quoted.exact_out
