"""Tokens as they are: silent ones, refusing ones, stubborn allowances, wrapping; balances follow the logs."""

import pytest
from eth_abi.abi import encode

from chains.types import ZERO_ADDRESS, Address, CallRequest, ChainId
from contracts import erc20, weth
from contracts.assets import load_assets
from contracts.call import execute
from contracts.effects import balance_changes
from contracts.errors import AbiError, TokenRefused, UndecodableReturn
from tests.contracts.desk import Desk, fresh_address

ASSETS = load_assets(ChainId(1))
USDT, USDC = ASSETS.by_symbol("USDT"), ASSETS.by_symbol("USDC")
SPENDER = Address("0x68b3465833fb72A70ecDF485E0e4C7bD8665Fc45")
ALICE = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")


@pytest.mark.parametrize("output", [b"", encode(["bool"], [True])])
def test_nothing_and_true_mean_done(output: bytes) -> None:
    erc20.check_success(output)


@pytest.mark.parametrize("output", [encode(["bool"], [False]), b"\1", encode(["uint256"], [2])])
def test_false_and_nonsense_mean_refused(output: bytes) -> None:
    with pytest.raises(TokenRefused):
        erc20.check_success(output)


def test_a_symbol_is_text_or_the_padded_bytes_of_early_tokens() -> None:
    decode = erc20.symbol(ALICE).decode
    assert decode(encode(["string"], ["USDC.e"])) == "USDC.e"
    assert decode(b"MKR".ljust(32, b"\0")) == "MKR"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(32),
        encode(["string"], [""]),
        encode(["string"], ["a\nb"]),
        b"\xff" * 32,
        encode(["string"], ["x" * 999]),
    ],
)
def test_a_symbol_that_is_no_plain_text_is_refused(data: bytes) -> None:
    with pytest.raises(UndecodableReturn):
        erc20.symbol(ALICE).decode(data)


def test_approvals_are_exact_and_reset_first_where_the_token_insists() -> None:
    def amounts(symbol: str, current: int, needed: int) -> list[int]:
        asset = ASSETS.by_symbol(symbol)
        calls = erc20.approvals(asset, SPENDER, current=current, needed=needed)
        return [int.from_bytes(call.data[-32:], "big") for call in calls]

    assert amounts("USDC", 0, 5) == [5]
    assert amounts("USDC", 3, 5) == [5]
    assert amounts("USDC", 2**256 - 1, 5) == [5]
    assert amounts("USDC", 5, 5) == []
    assert amounts("USDT", 0, 5) == [5]
    assert amounts("USDT", 3, 5) == [0, 5]
    assert amounts("USDT", 3, 0) == [0]
    assert amounts("ETH", 0, 5) == []


@pytest.mark.parametrize("amount", [-1, 2**256])
def test_a_transfer_outside_uint256_is_refused(amount: int) -> None:
    for asset in (USDC, ASSETS.native):
        with pytest.raises(AbiError):
            erc20.transfer_call(asset, ALICE, amount=amount)


def test_a_transfer_to_the_zero_address_is_refused() -> None:
    for asset in (USDC, ASSETS.native):
        with pytest.raises(AbiError):
            erc20.transfer_call(asset, ZERO_ADDRESS, amount=1)


async def _reconcile(desk: Desk, call: CallRequest) -> None:
    """Send, and hold the changes that the receipt tells against the balances that the chain has."""
    expected = await desk.balances(await desk.head())
    receipt = await desk.send(call)
    assert receipt.succeeded
    changes = balance_changes(receipt, call=call, wallet=desk.wallet, assets=desk.assets, deployments=desk.deployments)
    for change in changes:
        expected[change.asset.id] += change.raw
    expected[desk.assets.native.id] -= receipt.fee_wei
    assert await desk.balances(receipt.block) == expected


@pytest.mark.chain
async def test_transfers_of_every_asset_reconcile(desk: Desk) -> None:
    friend = fresh_address()
    for asset in desk.assets:
        await _reconcile(desk, erc20.transfer_call(asset, friend, amount=12_345))
        await _reconcile(desk, erc20.transfer_call(asset, desk.wallet, amount=54_321))
    assert set((await desk.balances(await desk.head(), friend)).values()) == {12_345}


@pytest.mark.chain
async def test_wrapping_and_unwrapping_reconcile(desk: Desk) -> None:
    wrapped = desk.assets.wrapped.token_address
    await _reconcile(desk, weth.wrap_call(wrapped, 10**18 + 1))
    await _reconcile(desk, weth.unwrap_call(wrapped, 10**18))


@pytest.mark.chain
async def test_usdt_needs_its_allowance_reset_and_answers_nothing(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    (first,) = erc20.approvals(USDT, SPENDER, current=0, needed=7)
    assert await desk.client.call(first, sender=desk.wallet) == b""
    assert (await desk.send(first)).succeeded
    assert not (await desk.send(erc20.approve_call(USDT.token_address, SPENDER, amount=9))).succeeded
    for call in erc20.approvals(USDT, SPENDER, current=7, needed=9):
        assert (await desk.send(call)).succeeded
    allowance = erc20.allowance(USDT.token_address, desk.wallet, spender=SPENDER)
    assert await execute(desk.client, allowance, block="latest") == 9
