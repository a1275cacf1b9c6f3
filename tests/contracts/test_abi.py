"""ABIs and their codec; paths."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.types import Address, address_from_bytes
from contracts.abi import Function, abi_names, decode_input, decode_output, encode_call, load_abi
from contracts.errors import AbiError, UndecodableReturn
from contracts.paths import decode_path, encode_path

ADDRESSES = st.binary(min_size=20, max_size=20).map(address_from_bytes)
ALICE = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
# keccak-256 selectors as block explorers show them.
SELECTORS = {
    ("erc20", "transfer"): "a9059cbb",
    ("erc20", "approve"): "095ea7b3",
    ("erc20", "balanceOf"): "70a08231",
    ("weth9", "deposit"): "d0e30db0",
    ("weth9", "withdraw"): "2e1a7d4d",
    ("multicall3", "aggregate3"): "82ad56cb",
    ("multicall3", "getEthBalance"): "4d2301cc",
    ("swap_router_02", "multicall"): "5ae401dc",
    ("swap_router_02", "exactInputSingle"): "04e45aaf",
    ("swap_router_02", "exactInput"): "b858183f",
    ("swap_router_02", "exactOutputSingle"): "5023b4df",
    ("swap_router_02", "exactOutput"): "09b81346",
    ("swap_router_02", "unwrapWETH9"): "49404b7c",
    ("swap_router_02", "refundETH"): "12210e8a",
    ("uniswap_v2_router", "swapExactTokensForTokens"): "38ed1739",
    ("uniswap_v2_router", "swapExactETHForTokens"): "7ff36ab5",
    ("uniswap_v2_router", "swapETHForExactTokens"): "fb3bdb41",
    ("chainlink_aggregator", "latestRoundData"): "feaf968c",
}


@pytest.mark.parametrize(("abi", "function"), SELECTORS)
def test_selectors_are_those_of_the_deployed_contracts(abi: str, function: str) -> None:
    assert load_abi(abi).function(function).selector.hex() == SELECTORS[abi, function]


def test_event_topics_are_those_of_the_deployed_contracts() -> None:
    transfer = load_abi("erc20").event("Transfer").topic.hex()
    assert transfer == "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    assert load_abi("weth9").event("Deposit").topic.hex().startswith("e1fffcc4923d04b5")


def test_every_packaged_abi_loads_and_names_are_unique_in_it() -> None:
    assert len(abi_names()) >= 11
    for name in abi_names():
        signatures = [function.signature for function in load_abi(name).functions]
        assert len(set(signatures)) == len(signatures)


@pytest.mark.parametrize("name", ["nothing", "../pyproject", "", "erc20.json"])
def test_an_abi_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(AbiError):
        load_abi(name)


@given(recipient=ADDRESSES, amount=st.integers(0, 2**256 - 1))
def test_arguments_survive_encoding(recipient: Address, amount: int) -> None:
    transfer = load_abi("erc20").function("transfer")
    assert decode_input(transfer, encode_call(transfer, recipient, amount)) == (recipient, amount)


def test_addresses_inside_tuples_and_arrays_come_out_checksummed() -> None:
    entry = {
        "name": "f",
        "inputs": [
            {"type": "tuple[]", "components": [{"type": "address"}, {"type": "address[2]"}]},
            {"type": "address[]"},
        ],
    }
    function = Function.from_abi(entry)
    assert function.signature == "f((address,address[2])[],address[])"
    values = (((ALICE, (ALICE, ALICE)),), (ALICE,))
    assert decode_input(function, encode_call(function, *values)) == values


@pytest.mark.parametrize("arguments", [(), (ALICE,), (ALICE, -1), (ALICE, 2**256), (ALICE, "1"), ("0x12", 1)])
def test_arguments_that_do_not_fit_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(AbiError):
        encode_call(load_abi("erc20").function("transfer"), *arguments)


def test_an_empty_answer_is_an_error_not_a_zero() -> None:
    with pytest.raises(UndecodableReturn):
        decode_output(load_abi("erc20").function("balanceOf"), b"")


@given(data=st.binary(max_size=300))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    with suppress(UndecodableReturn):  # and nothing else
        decode_output(load_abi("multicall3").function("aggregate3"), data)


@pytest.mark.parametrize(
    "type_",
    ["uint257", "uint8[0]", "foo", "tuple", "address[", "uint256[2000]", "uint256[32][33]", "uint8[][][][]", "", 7],
)
def test_a_fragment_with_a_type_that_is_none_or_too_large_is_refused(type_: object) -> None:
    with pytest.raises(AbiError):
        Function.from_abi({"name": "f", "inputs": [{"type": type_}]})


def test_a_fragment_that_nests_too_deep_is_refused() -> None:
    entry: dict[str, Any] = {"type": "uint8"}
    for _ in range(2_000):
        entry = {"type": "tuple", "components": [entry]}
    with pytest.raises(AbiError, match="deeper"):
        Function.from_abi({"name": "f", "inputs": [entry]})


def test_short_integer_types_get_their_long_name() -> None:
    assert Function.from_abi({"name": "f", "inputs": [{"type": "uint"}]}).signature == "f(uint256)"


@given(st.lists(st.tuples(ADDRESSES, st.integers(0, 2**24 - 1)), min_size=1, max_size=5), ADDRESSES)
def test_a_path_decodes_to_what_it_was_made_of(steps: list[tuple[Address, int]], last: Address) -> None:
    tokens, fees = (*(token for token, _ in steps), last), tuple(fee for _, fee in steps)
    path = encode_path(tokens, fees)
    assert len(path) == 20 + 23 * len(steps)
    assert decode_path(path) == (tokens, fees)


@pytest.mark.parametrize("size", [0, 20, 42, 44, 67])
def test_bytes_that_are_no_path_are_refused(size: int) -> None:
    with pytest.raises(AbiError):
        decode_path(bytes(size))
