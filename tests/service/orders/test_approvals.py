"""Which approvals go before a swap."""

import pytest

from chains.types import ChainId
from contracts import erc20
from contracts.assets import TokenAmount, load_assets
from contracts.decoding import Approve, decode_call
from contracts.deployments import Venue, load_deployments
from contracts.swaps import SwapCall
from service.orders.approvals import approvals

ETHEREUM = ChainId(1)
ASSETS = load_assets(ETHEREUM)
DEPLOYMENTS = load_deployments()
ROUTER = DEPLOYMENTS.router_of(ETHEREUM, Venue.UNISWAP_V3).address


def amounts(symbol: str, *, allowance: int, others_open: bool, spend: int = 100) -> list[int]:
    """The amounts approved, in order."""
    asset = ASSETS.by_symbol(symbol)
    call = erc20.approve_call(ASSETS.wrapped.token_address, ROUTER, amount=0)
    swap = SwapCall(call=call, spender=ROUTER, spend=TokenAmount(asset=asset, raw=spend))
    found = []
    for made in approvals(swap, allowance=allowance, others_open=others_open):
        decoded = decode_call(DEPLOYMENTS, ASSETS, ETHEREUM, made)
        assert isinstance(decoded, Approve)
        assert (decoded.asset, decoded.spender) == (asset, ROUTER)
        found.append(decoded.amount)
    return found


@pytest.mark.parametrize("others_open", [False, True])
def test_the_native_asset_needs_no_approval(others_open: bool) -> None:
    assert amounts("ETH", allowance=0, others_open=others_open) == []


@pytest.mark.parametrize(("symbol", "allowance"), [("USDC", 0), ("USDC", 99), ("USDC", 1000), ("USDT", 0)])
def test_the_exact_amount_is_approved_whatever_stands(symbol: str, allowance: int) -> None:
    """F54"""
    assert amounts(symbol, allowance=allowance, others_open=False) == [100]


def test_an_allowance_of_exactly_the_amount_is_used() -> None:
    assert amounts("USDC", allowance=100, others_open=False) == []


def test_a_token_that_insists_on_zero_is_reset_first() -> None:
    assert amounts("USDT", allowance=7, others_open=False) == [0, 100]


def test_while_another_order_sells_the_same_asset_no_allowance_is_relied_on() -> None:
    assert amounts("USDC", allowance=100, others_open=True) == [100]
    assert amounts("USDT", allowance=0, others_open=True) == [0, 100]
