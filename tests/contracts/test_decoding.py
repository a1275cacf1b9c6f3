"""Calldata of tokens says what was wanted, and only calldata that we would make is understood (swaps: `swaps/`)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.types import ZERO_ADDRESS, Address, CallRequest, ChainId
from contracts import erc20, weth
from contracts.abi import encode_call, load_abi
from contracts.decoding import Approve, NativeTransfer, Transfer, UnknownCall, Unwrap, Wrap, decode_call
from tests.contracts.swaps.drawn import ACCOUNTS, ALICE, DEPLOYMENTS, ETHEREUM, decode


@given(recipient=ACCOUNTS, amount=st.integers(0, 2**256 - 1), symbol=st.sampled_from([a.symbol for a in ETHEREUM]))
def test_a_transfer_decodes_to_what_it_was_made_of(recipient: Address, amount: int, symbol: str) -> None:
    asset = ETHEREUM.by_symbol(symbol)
    decoded = decode(erc20.transfer_call(asset, recipient, amount=amount))
    wanted = NativeTransfer if asset.is_native else Transfer
    assert decoded == wanted(asset=asset, recipient=recipient, amount=amount)


@given(spender=ACCOUNTS, amount=st.integers(0, 2**256 - 1))
def test_an_approval_decodes_to_what_it_was_made_of(spender: Address, amount: int) -> None:
    usdt = ETHEREUM.by_symbol("USDT")
    call = erc20.approve_call(usdt.token_address, spender, amount=amount)
    assert decode(call) == Approve(asset=usdt, spender=spender, amount=amount)
    assert isinstance(decode(replace(call, value_wei=1)), UnknownCall)


def test_wrapping_decodes_and_only_for_the_wrapped_token() -> None:
    wrapped = ETHEREUM.wrapped
    assert decode(weth.wrap_call(wrapped.token_address, 7)) == Wrap(asset=wrapped, amount=7)
    assert decode(weth.unwrap_call(wrapped.token_address, 7)) == Unwrap(asset=wrapped, amount=7)
    dai = ETHEREUM.by_symbol("DAI").token_address
    assert isinstance(decode(weth.unwrap_call(dai, 7)), UnknownCall)


def test_plain_value_to_a_contract_of_the_registry_is_no_transfer() -> None:
    """WETH9 would wrap it, a router would keep it."""
    for target in (ETHEREUM.wrapped.token_address, *DEPLOYMENTS.contracts(ChainId(1)).values(), ZERO_ADDRESS):
        assert isinstance(decode(CallRequest(to=target, value_wei=1)), UnknownCall)


@pytest.mark.parametrize("function", ["transferFrom", "balanceOf"])
def test_another_function_of_a_token_is_unknown(function: str) -> None:
    entry = load_abi("erc20").function(function)
    arguments = {"transferFrom": (ALICE, ALICE, 1), "balanceOf": (ALICE,)}[function]
    token = ETHEREUM.by_symbol("USDC").token_address
    assert isinstance(decode(CallRequest(to=token, data=encode_call(entry, *arguments))), UnknownCall)


def test_a_transfer_of_an_unlisted_token_is_unknown() -> None:
    data = encode_call(load_abi("erc20").function("transfer"), ALICE, 1)
    assert isinstance(decode(CallRequest(to=ALICE, data=data)), UnknownCall)


def test_an_asset_list_of_another_chain_is_not_used() -> None:
    call = CallRequest(to=ALICE, value_wei=1)
    assert isinstance(decode_call(DEPLOYMENTS, ETHEREUM, ChainId(137), call), UnknownCall)
