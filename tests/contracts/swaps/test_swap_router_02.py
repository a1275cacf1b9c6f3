"""The rows of steps that SwapRouter02 gets: written down, and no others understood."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from chains.types import CallRequest
from contracts.abi import decode_input, encode_call, load_abi
from contracts.decoding import UnknownCall
from contracts.deployments import RouterKind, Venue
from contracts.paths import encode_path
from contracts.swaps import ROUTER_ITSELF, Swap, SwapLeg
from tests.contracts.swaps.drawn import ALICE, ETHEREUM, decode, encode, router

ABI = load_abi("swap_router_02")
ROUTER = router(1, RouterKind.SWAP_ROUTER_02).address
V3, V2 = Venue.UNISWAP_V3, Venue.UNISWAP_V2
DEADLINE_S = 1_900_000_000
ETH = ETHEREUM.native
USDC, WETH, DAI, USDT = (ETHEREUM.by_symbol(symbol) for symbol in ("USDC", "WETH", "DAI", "USDT"))
U, W, D, T = (token.token_address for token in (USDC, WETH, DAI, USDT))
DIRECT = SwapLeg(path=(U, W), venues=(V3,), fees_pips=(500,), max_in=700, exact_out=0)
OLD = SwapLeg(path=(U, W), venues=(V2,), fees_pips=(3_000,), max_in=200, exact_out=0)
MIXED = SwapLeg(path=(U, D, T, W), venues=(V3, V3, V2), fees_pips=(100, 500, 3_000), max_in=100, exact_out=0)
SPLIT = Swap(
    chain_id=ETHEREUM.chain_id,
    router=ROUTER,
    sold=USDC,
    bought=WETH,
    exact="in",
    max_in=1_000,
    min_out=333,
    recipient=ALICE,
    deadline_s=DEADLINE_S,
    legs=(DIRECT, OLD, MIXED),
)
OUT = replace(
    SPLIT, exact="out", max_in=900, legs=(replace(DIRECT, exact_out=250), replace(OLD, exact_out=83)), min_out=333
)


def _steps(swap: Swap) -> list[bytes]:
    deadline, steps = decode_input(ABI.function("multicall"), encode(swap).data)
    assert deadline == DEADLINE_S
    return list(steps)


def _read(step: bytes) -> tuple[str, tuple[Any, ...]]:
    for function in ABI.functions:
        if step[:4] == function.selector:
            return function.name, decode_input(function, step)
    raise AssertionError(step.hex())


def _call(steps: Sequence[bytes], value_wei: int = 0) -> CallRequest:
    return CallRequest(
        to=ROUTER, data=encode_call(ABI.function("multicall"), DEADLINE_S, list(steps)), value_wei=value_wei
    )


def test_one_leg_into_native_coins_is_unwrapped_for_the_recipient() -> None:
    swap = replace(SPLIT, bought=ETH, legs=(DIRECT,), max_in=700)
    assert [_read(step) for step in _steps(swap)] == [
        ("exactInputSingle", ((U, W, 500, ROUTER_ITSELF, 700, 333, 0),)),
        ("unwrapWETH9", (333, ALICE)),
    ]


def test_one_leg_into_a_token_pays_the_recipient() -> None:
    assert [_read(step) for step in _steps(replace(SPLIT, legs=(MIXED,), max_in=100))] == [
        ("exactInput", ((encode_path((U, D, T), (100, 500)), ROUTER_ITSELF, 100, 0),)),
        ("swapExactTokensForTokens", (0, 333, (T, W), ALICE)),
    ]


def test_many_legs_are_collected_with_one_minimum_for_all() -> None:
    expected = [
        ("exactInputSingle", ((U, W, 500, ROUTER_ITSELF, 700, 0, 0),)),
        ("swapExactTokensForTokens", (200, 0, (U, W), ROUTER_ITSELF)),
        ("exactInput", ((encode_path((U, D, T), (100, 500)), ROUTER_ITSELF, 100, 0),)),
        ("swapExactTokensForTokens", (0, 0, (T, W), ROUTER_ITSELF)),
    ]
    assert [_read(step) for step in _steps(SPLIT)] == [*expected, ("sweepToken", (W, 333, ALICE))]
    native = replace(SPLIT, bought=ETH)
    assert [_read(step) for step in _steps(native)] == [*expected, ("unwrapWETH9", (333, ALICE))]


def test_native_input_is_sent_along_and_the_rest_comes_back() -> None:
    there = replace(DIRECT, path=(W, U))
    back = replace(OLD, path=(W, U))
    swap = replace(SPLIT, sold=ETH, bought=USDC, legs=(there, back), max_in=900)
    assert encode(swap).value_wei == 900
    assert [_read(step)[0] for step in _steps(swap)] == [
        "exactInputSingle",
        "swapExactTokensForTokens",
        "sweepToken",
        "refundETH",
    ]


def test_exact_output_over_v2_is_collected_since_the_router_does_not_check_what_v2_gave() -> None:
    assert [_read(step) for step in _steps(OUT)] == [
        ("exactOutputSingle", ((U, W, 500, ROUTER_ITSELF, 250, 700, 0),)),
        ("swapTokensForExactTokens", (83, 200, (U, W), ROUTER_ITSELF)),
        ("sweepToken", (W, 333, ALICE)),
    ]


def test_exact_output_over_v3_alone_pays_the_recipient() -> None:
    long = SwapLeg(path=(U, D, W), venues=(V3, V3), fees_pips=(100, 3_000), max_in=50, exact_out=7)
    swap = replace(OUT, legs=(replace(DIRECT, exact_out=250), long), max_in=750, min_out=257)
    assert [_read(step) for step in _steps(swap)] == [
        ("exactOutputSingle", ((U, W, 500, ALICE, 250, 700, 0),)),
        ("exactOutput", ((encode_path((W, D, U), (3_000, 100)), ALICE, 7, 50),)),
    ]


def _parts(swap: Swap) -> dict[str, bytes]:
    v3, v2, mixed_v3, mixed_v2, sweep = _steps(swap)
    single = ABI.function("exactInputSingle")
    v2_swap = ABI.function("swapExactTokensForTokens")
    return {
        "v3": v3,
        "v2": v2,
        "mixed v3": mixed_v3,
        "mixed v2": mixed_v2,
        "collect": sweep,
        "refund": encode_call(ABI.function("refundETH")),
        "unwrap": encode_call(ABI.function("unwrapWETH9"), swap.min_out, ALICE),
        "unwrap for a stranger": encode_call(ABI.function("unwrapWETH9"), swap.min_out, ROUTER),
        "collect less": encode_call(ABI.function("sweepToken"), W, 0, ALICE),
        "collect for the router": encode_call(ABI.function("sweepToken"), W, swap.min_out, ROUTER),
        "collect another token": encode_call(ABI.function("sweepToken"), U, swap.min_out, ALICE),
        "v3 for a stranger": encode_call(single, (U, W, 500, ROUTER, 700, 0, 0)),
        "v3 for the recipient": encode_call(single, (U, W, 500, ALICE, 700, 0, 0)),
        "v3 with a minimum": encode_call(single, (U, W, 500, ROUTER_ITSELF, 700, 1, 0)),
        "v3 with a price limit": encode_call(single, (U, W, 500, ROUTER_ITSELF, 700, 0, 4295128740)),
        "v3 of the balance": encode_call(single, (U, W, 500, ROUTER_ITSELF, 0, 0, 0)),
        "v3 of other coins": encode_call(single, (D, W, 500, ROUTER_ITSELF, 700, 0, 0)),
        "v3 to another token": encode_call(single, (U, D, 500, ROUTER_ITSELF, 700, 0, 0)),
        "v3 as a path": encode_call(ABI.function("exactInput"), (encode_path((U, W), (500,)), ROUTER_ITSELF, 700, 0)),
        "v3 for exact output": encode_call(ABI.function("exactOutputSingle"), (U, W, 500, ROUTER_ITSELF, 333, 700, 0)),
        "v2 for the recipient": encode_call(v2_swap, 200, 0, (U, W), ALICE),
        "v2 of the balance": encode_call(v2_swap, 0, 0, (U, W), ROUTER_ITSELF),
        "v2 from elsewhere": encode_call(v2_swap, 0, 0, (D, W), ROUTER_ITSELF),
        "v2 of one token": encode_call(v2_swap, 200, 0, (U,), ROUTER_ITSELF),
        "v2 of no token": encode_call(v2_swap, 200, 0, (), ROUTER_ITSELF),
        "mixed v3 for the recipient": encode_call(
            ABI.function("exactInput"), (encode_path((U, D, T), (100, 500)), ALICE, 100, 0)
        ),
        "mixed v2 with an amount": encode_call(v2_swap, 1, 0, (T, W), ROUTER_ITSELF),
        "mixed v2 with a minimum": encode_call(v2_swap, 0, 333, (T, W), ROUTER_ITSELF),
        "mixed v2 for the recipient": encode_call(v2_swap, 0, 0, (T, W), ALICE),
        "factory": ABI.function("factory").selector,
        "nothing": b"",
        "multicall": encode_call(ABI.function("multicall"), DEADLINE_S, [v3]),
    }


WHOLE = ("v3", "v2", "mixed v3", "mixed v2", "collect")


def test_the_row_of_steps_that_the_others_differ_from_is_understood() -> None:
    parts = _parts(SPLIT)
    assert decode(_call([parts[name] for name in WHOLE])) == SPLIT


@pytest.mark.parametrize(
    "row",
    [
        (),
        ("collect",),
        ("refund",),
        ("collect", "refund"),
        WHOLE[:4],
        (*WHOLE, "collect"),
        (*WHOLE, "unwrap"),
        (*WHOLE, "unwrap for a stranger"),
        ("unwrap for a stranger", *WHOLE),
        (*WHOLE, "v3"),
        (*WHOLE, "v3 for a stranger"),
        (*WHOLE, "nothing"),
        (*WHOLE, "refund"),
        ("refund", *WHOLE),
        ("collect", *WHOLE[:4]),
        ("v3", "collect", "v2", "mixed v3", "mixed v2"),
        (*WHOLE[:4], "collect less"),
        (*WHOLE[:4], "collect for the router"),
        (*WHOLE[:4], "collect another token"),
        (*WHOLE[:4], "unwrap for a stranger"),
        (*WHOLE[:4], "factory"),
        ("v3 for a stranger", *WHOLE[1:]),
        ("v3 for the recipient", *WHOLE[1:]),
        ("v3 with a minimum", *WHOLE[1:]),
        ("v3 with a price limit", *WHOLE[1:]),
        ("v3 of the balance", *WHOLE[1:]),
        ("v3 of other coins", *WHOLE[1:]),
        ("v3 to another token", *WHOLE[1:]),
        ("v3 as a path", *WHOLE[1:]),
        ("v3 for exact output", *WHOLE[1:]),
        ("multicall", *WHOLE[1:]),
        ("nothing", *WHOLE[1:]),
        ("v3", "v2 for the recipient", *WHOLE[2:]),
        ("v3", "v2 of the balance", *WHOLE[2:]),
        ("v3", "v2 from elsewhere", *WHOLE[2:]),
        ("v3", "v2 of one token", *WHOLE[2:]),
        ("v3", "v2 of no token", *WHOLE[2:]),
        ("v2 of no token", *WHOLE[1:]),
        ("v2 of one token", *WHOLE[1:]),
        ("v3", "v2", "mixed v3 for the recipient", "mixed v2", "collect"),
        ("v3", "v2", "mixed v3", "mixed v2 with an amount", "collect"),
        ("v3", "v2", "mixed v3", "mixed v2 with a minimum", "collect"),
        ("v3", "v2", "mixed v3", "mixed v2 for the recipient", "collect"),
        ("v3", "v2", "mixed v2", "mixed v3", "collect"),
        ("v3", "mixed v3", "v2", "mixed v2", "collect"),
        ("v3", "v2", "mixed v3", "collect"),
        ("mixed v2", "v3", "v2", "mixed v3", "collect"),
    ],
    ids=lambda row: ", ".join(row) or "none",
)
def test_another_row_of_steps_is_unknown(row: tuple[str, ...]) -> None:
    """A step that is missing, doubled, foreign, in another place, or with other words where ours are fixed."""
    parts = _parts(SPLIT)
    call = _call([parts[name] for name in row])
    assert isinstance(decode(call), UnknownCall)
    assert isinstance(decode(replace(call, value_wei=SPLIT.max_in)), UnknownCall)


def test_native_coins_are_only_sent_with_a_refund_behind_and_no_value_without_it() -> None:
    there = replace(SPLIT, sold=ETH, bought=USDC, legs=(replace(DIRECT, path=(W, U)),), max_in=700)
    steps = _steps(there)
    assert decode(_call(steps, 700)) == there
    for wrong in (_call(steps, 701), _call(steps, 699), _call(steps), _call(steps[:-1], 700)):
        assert isinstance(decode(wrong), UnknownCall)


def test_exact_output_that_asks_for_more_or_less_than_is_collected_is_unknown() -> None:
    v3, v2, _sweep = _steps(OUT)
    sweep = ABI.function("sweepToken")
    assert decode(_call([v3, v2, encode_call(sweep, W, 333, ALICE)])) == OUT
    for minimum in (0, 1, 332, 334):
        assert isinstance(decode(_call([v3, v2, encode_call(sweep, W, minimum, ALICE)])), UnknownCall)


def test_exact_input_and_exact_output_are_not_mixed() -> None:
    (v3_in, *_), (v3_out, *_), collect = _steps(SPLIT), _steps(OUT), _steps(SPLIT)[-1]
    assert isinstance(decode(_call([v3_in, v3_out, collect])), UnknownCall)
    assert isinstance(decode(_call([v3_out, v3_in, collect])), UnknownCall)


def test_a_router_without_a_v2_factory_of_ours_does_not_trade_v2() -> None:
    """Polygon's SwapRouter02 was built with another V2 factory than QuickSwap's."""
    polygon = router(137, RouterKind.SWAP_ROUTER_02).address
    assert isinstance(decode(replace(encode(replace(SPLIT, legs=(OLD,), max_in=200)), to=polygon), 137), UnknownCall)
