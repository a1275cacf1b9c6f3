"""Router02's functions: each says what it sells and buys, and only ours are understood."""

from typing import Any

import pytest

from chains.types import Address, CallRequest
from contracts.abi import encode_call, load_abi
from contracts.decoding import UnknownCall
from contracts.deployments import RouterKind
from contracts.swaps import Swap
from tests.contracts.swaps.drawn import ALICE, ETHEREUM, decode, router

ABI = load_abi("uniswap_v2_router")
ROUTER = router(1, RouterKind.ROUTER_02).address
DEADLINE_S = 1_900_000_000
ETH = ETHEREUM.native
USDC, WETH, USDT = (ETHEREUM.by_symbol(symbol) for symbol in ("USDC", "WETH", "USDT"))
U, W, T = (token.token_address for token in (USDC, WETH, USDT))


def _decode(name: str, *amounts: int, path: tuple[Address, ...], value_wei: int = 0, to: Address = ALICE) -> object:
    data = encode_call(ABI.function(name), *amounts, path, to, DEADLINE_S)
    return decode(CallRequest(to=ROUTER, data=data, value_wei=value_wei))


@pytest.mark.parametrize(
    ("name", "amounts", "path", "value_wei", "expected"),
    [
        ("swapExactETHForTokens", (5,), (W, U), 9, (ETH, USDC, "in", 9, 5)),
        ("swapETHForExactTokens", (5,), (W, T, U), 9, (ETH, USDC, "out", 9, 5)),
        ("swapExactTokensForETH", (9, 5), (U, W), 0, (USDC, ETH, "in", 9, 5)),
        ("swapTokensForExactETH", (5, 9), (U, W), 0, (USDC, ETH, "out", 9, 5)),
        ("swapExactTokensForTokens", (9, 5), (U, W), 0, (USDC, WETH, "in", 9, 5)),
        ("swapTokensForExactTokens", (5, 9), (U, W, T), 0, (USDC, USDT, "out", 9, 5)),
    ],
)
def test_each_function_says_what_it_sells_and_buys(
    name: str, amounts: tuple[int, ...], path: tuple[Address, ...], value_wei: int, expected: tuple[Any, ...]
) -> None:
    decoded = _decode(name, *amounts, path=path, value_wei=value_wei)
    assert isinstance(decoded, Swap)
    assert (decoded.sold, decoded.bought, decoded.exact, decoded.max_in, decoded.min_out) == expected
    assert (decoded.recipient, decoded.deadline_s) == (ALICE, DEADLINE_S)


@pytest.mark.parametrize("path", [(), (U,), (W,), (U, U), (U, W, U), (ALICE, W), (U, ALICE, W)])
def test_a_path_that_is_none_of_ours_is_unknown(path: tuple[Address, ...]) -> None:
    assert isinstance(_decode("swapExactTokensForTokens", 9, 5, path=path), UnknownCall)
    assert isinstance(_decode("swapExactTokensForETH", 9, 5, path=path[::-1]), UnknownCall)
    assert isinstance(_decode("swapETHForExactTokens", 5, path=path, value_wei=9), UnknownCall)


@pytest.mark.parametrize(
    ("name", "amounts", "path", "value_wei"),
    [
        ("swapExactTokensForTokens", (9, 5), (U, W), 1),
        ("swapExactTokensForETH", (9, 5), (U, W), 1),
        ("swapExactTokensForETH", (9, 5), (U, T), 0),
        ("swapExactETHForTokens", (5,), (W, U), 0),
        ("swapExactETHForTokens", (5,), (T, U), 9),
        ("swapExactTokensForTokens", (9, 0), (U, W), 0),
        ("swapExactTokensForTokens", (0, 5), (U, W), 0),
    ],
)
def test_a_value_a_limit_or_an_end_that_does_not_fit_is_unknown(
    name: str, amounts: tuple[int, ...], path: tuple[Address, ...], value_wei: int
) -> None:
    assert isinstance(_decode(name, *amounts, path=path, value_wei=value_wei), UnknownCall)


@pytest.mark.parametrize("recipient", [ROUTER, U, router(1, RouterKind.SWAP_ROUTER_02).address])
def test_coins_are_not_sent_to_contracts_of_the_registry(recipient: Address) -> None:
    assert isinstance(_decode("swapExactTokensForTokens", 9, 5, path=(U, W), to=recipient), UnknownCall)
