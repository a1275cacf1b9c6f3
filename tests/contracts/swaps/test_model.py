"""What protects the sender of a swap is checked before there is calldata for it."""

from dataclasses import replace

import pytest

from chains.types import ZERO_ADDRESS, Address, ChainId
from contracts.assets import AssetList
from contracts.deployments import RouterKind, Venue
from contracts.errors import UnsafeSwap
from contracts.swaps import MAX_LEGS, ROUTER_ITSELF, Swap, SwapLeg, encode_swap
from tests.contracts.swaps.drawn import ALICE, DEPLOYMENTS, ETHEREUM, LISTS, encode, router

V3, V2 = Venue.UNISWAP_V3, Venue.UNISWAP_V2
USDC, WETH, DAI, USDT = (ETHEREUM.by_symbol(symbol).token_address for symbol in ("USDC", "WETH", "DAI", "USDT"))
LEG = SwapLeg(path=(USDC, WETH), venues=(V3,), fees_pips=(500,), max_in=3_000_000_000, exact_out=0)
SWAP = Swap(
    chain_id=ChainId(1),
    router=router(1, RouterKind.SWAP_ROUTER_02).address,
    sold=ETHEREUM.by_symbol("USDC"),
    bought=ETHEREUM.native,
    exact="in",
    max_in=3_000_000_000,
    min_out=10**18,
    recipient=ALICE,
    deadline_s=1_900_000_000,
    legs=(LEG,),
)
HALVES = (replace(LEG, max_in=1_000_000_000), replace(LEG, max_in=2_000_000_000, fees_pips=(3_000,)))
OUT = replace(SWAP, exact="out", legs=(replace(LEG, exact_out=10**18),))


@pytest.mark.parametrize("swap", [SWAP, OUT, replace(SWAP, legs=HALVES)])
def test_the_swaps_that_the_others_differ_from_are_safe(swap: Swap) -> None:
    encode(swap)


@pytest.mark.parametrize(
    "change",
    [
        {"min_out": 0},
        {"max_in": 0},
        {"min_out": 2**128},
        {"max_in": 2**128},
        {"max_in": SWAP.max_in + 1},
        {"max_in": SWAP.max_in - 1},
        {"deadline_s": 0},
        {"deadline_s": 1_900_000_000_000},
        {"recipient": ZERO_ADDRESS},
        {"recipient": Address("0x0000000000000000000000000000000000000001")},
        {"recipient": ROUTER_ITSELF},
        {"recipient": DAI},
        {"recipient": SWAP.router},
        {"router": ALICE},
        {"router": router(1, RouterKind.ROUTER_02).address},
        {"router": router(137, RouterKind.ROUTER_02).address},
        {"chain_id": ChainId(10)},
        {"chain_id": ChainId(137)},
        {"sold": ETHEREUM.by_symbol("DAI")},
        {"sold": LISTS[ChainId(137)].by_symbol("USDC")},
        {"sold": replace(ETHEREUM.by_symbol("USDC"), decimals=18)},
        {"bought": ETHEREUM.by_symbol("USDC")},
        {"bought": LISTS[ChainId(137)].native},
        {"exact": "out"},
        {"legs": ()},
        {"legs": (LEG, LEG)},
    ],
    ids=lambda change: "-".join(f"{key}-{str(value)[:20]}" for key, value in change.items()),
)
def test_an_unsafe_swap_gets_no_calldata(change: dict[str, object]) -> None:
    with pytest.raises(UnsafeSwap):
        encode_swap(
            replace(SWAP, **change),  # type: ignore[arg-type]  # one field, of its own type
            deployments=DEPLOYMENTS,
            assets=ETHEREUM,
        )


@pytest.mark.parametrize(
    "change",
    [
        {"path": ()},
        {"path": (USDC,)},
        {"path": (WETH, USDC)},
        {"path": (USDC, ALICE, WETH), "venues": (V3, V3), "fees_pips": (500, 500)},
        {"path": (USDC, WETH, USDC, WETH), "venues": (V3,) * 3, "fees_pips": (500,) * 3},
        {"fees_pips": ()},
        {"fees_pips": (500, 500)},
        {"venues": ()},
        {"venues": (Venue.QUICKSWAP_V2,), "fees_pips": (3_000,)},
        {"venues": (V2,), "fees_pips": (500,)},
        {"max_in": 0},
        {"max_in": -1},
        {"exact_out": 1},
    ],
    ids=lambda change: "-".join(f"{key}-{str(value)[:20]}" for key, value in change.items()),
)
@pytest.mark.parametrize("position", [0, 1])
def test_a_leg_that_is_not_the_swaps_gets_no_calldata(change: dict[str, object], position: int) -> None:
    changed = replace(HALVES[position], **change)  # type: ignore[arg-type]  # as above
    legs = (changed, HALVES[1]) if position == 0 else (HALVES[0], changed)
    with pytest.raises(UnsafeSwap):
        encode(replace(SWAP, legs=legs, max_in=sum(leg.max_in for leg in legs)))


@pytest.mark.parametrize("exact_out", [0, 10**18 - 1, 10**18 + 1])
def test_exact_output_is_the_sum_of_what_the_legs_ask_for(exact_out: int) -> None:
    with pytest.raises(UnsafeSwap):
        encode(replace(OUT, legs=(replace(LEG, exact_out=exact_out),)))


@pytest.mark.parametrize("sold", [(2**128,), (2**128 - 1, 1), (2**127, 2**127)])
def test_the_legs_together_sell_no_more_than_a_router_can_count(sold: tuple[int, ...]) -> None:
    legs = tuple(replace(LEG, max_in=each) for each in sold)
    with pytest.raises(UnsafeSwap):
        encode(replace(SWAP, legs=legs, max_in=sum(sold)))


@pytest.mark.parametrize("exact_outs", [(10**18, 0), (10**18 + 1, -1)])
def test_each_leg_of_an_exact_output_buys_something(exact_outs: tuple[int, int]) -> None:
    legs = tuple(replace(leg, exact_out=exact_out) for leg, exact_out in zip(HALVES, exact_outs, strict=True))
    with pytest.raises(UnsafeSwap):
        encode(replace(OUT, legs=legs))


def test_a_leg_through_two_versions_has_no_exact_output() -> None:
    mixed = replace(LEG, path=(USDC, USDT, WETH), venues=(V3, V2), fees_pips=(100, 3_000))
    encode(replace(SWAP, legs=(mixed,)))
    with pytest.raises(UnsafeSwap):
        encode(replace(OUT, legs=(replace(mixed, exact_out=10**18),)))


def test_a_router_is_given_no_more_legs_than_it_takes() -> None:
    encode(replace(SWAP, max_in=MAX_LEGS, legs=(replace(LEG, max_in=1),) * MAX_LEGS))
    with pytest.raises(UnsafeSwap):
        encode(replace(SWAP, max_in=MAX_LEGS + 1, legs=(replace(LEG, max_in=1),) * (MAX_LEGS + 1)))
    v2 = replace(LEG, venues=(V2,), fees_pips=(3_000,), max_in=1)
    router_02 = router(1, RouterKind.ROUTER_02).address
    encode(replace(SWAP, router=router_02, max_in=1, legs=(v2,)))
    with pytest.raises(UnsafeSwap):
        encode(replace(SWAP, router=router_02, max_in=2, legs=(v2, v2)))


def test_another_chains_asset_list_is_not_used() -> None:
    foreign: AssetList = LISTS[ChainId(137)]
    with pytest.raises(UnsafeSwap):
        encode_swap(SWAP, deployments=DEPLOYMENTS, assets=foreign)
