"""Balance changes from logs: unlisted contracts, strangers, transfers to oneself, reverts."""

from dataclasses import replace

import pytest

from chains.types import (
    Address,
    BlockHash,
    BlockRef,
    CallRequest,
    ChainId,
    Log,
    Receipt,
    TxHash,
    address_bytes,
    address_from_bytes,
)
from contracts import erc20, weth
from contracts.abi import load_abi
from contracts.assets import Asset, load_assets
from contracts.deployments import Venue, load_deployments
from contracts.effects import balance_changes, swap_fill
from contracts.errors import NoFill
from contracts.pools import V2_FEE
from contracts.routes import Exact
from contracts.swaps import Swap, SwapLeg, encode_swap

ASSETS = load_assets(ChainId(1))
DEPLOYMENTS = load_deployments()
USDC, WRAPPED = ASSETS.by_symbol("USDC"), ASSETS.wrapped
ALICE = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
BOB = Address("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC")
HASH = "0x" + "11" * 32
BLOCK = BlockRef(number=7, hash=BlockHash(HASH))
TRANSFER = load_abi("erc20").event("Transfer").topic


def _topic(address: Address) -> bytes:
    return b"\0" * 12 + address_bytes(address)


def _log(contract: Address, *topics: bytes, raw: int) -> Log:
    return Log(
        address=contract,
        topics=topics,
        data=raw.to_bytes(32, "big"),
        log_index=0,
        tx_hash=TxHash(HASH),
        block=BLOCK,
    )


def _transfer(contract: Address, source: Address, *, target: Address, raw: int) -> Log:
    return _log(contract, TRANSFER, _topic(source), _topic(target), raw=raw)


def _receipt(*logs: Log, to: Address, succeeded: bool = True) -> Receipt:
    return Receipt(
        tx_hash=TxHash(HASH),
        block=BLOCK,
        succeeded=succeeded,
        gas_used=21_000,
        effective_gas_price_wei=10**9,
        sender=ALICE,
        to=to,
        logs=logs,
    )


def _changes(receipt: Receipt, call: CallRequest, wallet: Address = ALICE) -> dict[str, int]:
    found = balance_changes(receipt, call=call, wallet=wallet, assets=ASSETS, deployments=DEPLOYMENTS)
    return {change.asset.symbol: change.raw for change in found}


def test_a_transfer_takes_from_one_and_gives_to_the_other() -> None:
    call = erc20.transfer_call(USDC, BOB, amount=5)
    receipt = _receipt(_transfer(USDC.token_address, ALICE, target=BOB, raw=5), to=call.to)
    assert _changes(receipt, call) == {"USDC": -5}
    assert _changes(receipt, call, BOB) == {"USDC": 5}
    assert _changes(receipt, call, USDC.token_address) == {}


def test_a_transfer_to_oneself_changes_nothing() -> None:
    call = erc20.transfer_call(USDC, ALICE, amount=5)
    assert _changes(_receipt(_transfer(USDC.token_address, ALICE, target=ALICE, raw=5), to=call.to), call) == {}


def test_native_value_sent_to_oneself_changes_nothing() -> None:
    assert _changes(_receipt(to=ALICE), CallRequest(to=ALICE, value_wei=9)) == {}


def test_native_value_is_what_the_sender_gave() -> None:
    call = erc20.transfer_call(ASSETS.native, BOB, amount=9)
    assert _changes(_receipt(to=BOB), call) == {"ETH": -9}
    assert _changes(_receipt(to=BOB), call, BOB) == {"ETH": 9}


def test_a_reverted_transaction_changes_nothing() -> None:
    call = CallRequest(to=BOB, value_wei=9)
    log = _transfer(USDC.token_address, ALICE, target=BOB, raw=5)
    assert _changes(_receipt(log, to=BOB, succeeded=False), call) == {}


def test_logs_of_unlisted_contracts_are_ignored() -> None:
    call = CallRequest(to=BOB, data=b"\1\2\3\4")
    receipt = _receipt(_transfer(BOB, BOB, target=ALICE, raw=10**30), to=BOB)
    assert _changes(receipt, call) == {}


def test_deposits_of_a_token_that_is_not_the_wrapped_one_are_ignored() -> None:
    deposit = load_abi("weth9").event("Deposit").topic
    receipt = _receipt(_log(USDC.token_address, deposit, _topic(ALICE), raw=10), to=BOB)
    assert _changes(receipt, CallRequest(to=BOB, data=b"\1\2\3\4")) == {}


def test_logs_of_another_shape_are_ignored() -> None:
    whole = _transfer(USDC.token_address, BOB, target=ALICE, raw=5)
    odd = [
        replace(whole, topics=()),
        replace(whole, topics=whole.topics[:2]),
        replace(whole, topics=(*whole.topics, whole.topics[0])),
        replace(whole, data=b""),
        replace(whole, data=whole.data * 2),
    ]
    assert _changes(_receipt(*odd, to=BOB), CallRequest(to=BOB, data=b"\1\2\3\4")) == {}


def test_wrapping_moves_value_from_native_to_wrapped_and_back() -> None:
    events = load_abi("weth9")
    wrap, unwrap = weth.wrap_call(WRAPPED.token_address, 9), weth.unwrap_call(WRAPPED.token_address, 4)
    deposited = _log(WRAPPED.token_address, events.event("Deposit").topic, _topic(ALICE), raw=9)
    withdrawn = _log(WRAPPED.token_address, events.event("Withdrawal").topic, _topic(ALICE), raw=4)
    assert _changes(_receipt(deposited, to=wrap.to), wrap) == {"ETH": -9, "WETH": 9}
    assert _changes(_receipt(withdrawn, to=unwrap.to), unwrap) == {"ETH": 4, "WETH": -4}


ROUTER = DEPLOYMENTS.address(ChainId(1), "swap_router_02")
POOL, PAIR = address_from_bytes(b"\x51" * 20), address_from_bytes(b"\x52" * 20)


def _split(
    sold: Asset, bought: Asset, *, exact: Exact, amounts: list[tuple[int, int]], recipient: Address = ALICE
) -> Swap:
    """Legs over one V3 pool and one V2 pair in turns; `amounts` are what each sells and buys."""
    ends = (ASSETS.token_of(sold).token_address, ASSETS.token_of(bought).token_address)
    pools = [(Venue.UNISWAP_V3, 500), (Venue.UNISWAP_V2, V2_FEE)]
    legs = tuple(
        SwapLeg(path=ends, venues=(venue,), fees_pips=(fee,), max_in=max_in, exact_out=out if exact == "out" else 0)
        for (max_in, out), (venue, fee) in zip(amounts, pools * len(amounts), strict=False)
    )
    return Swap(
        chain_id=ChainId(1),
        router=ROUTER,
        sold=sold,
        bought=bought,
        exact=exact,
        max_in=sum(max_in for max_in, _ in amounts),
        min_out=sum(out for _, out in amounts),
        recipient=recipient,
        deadline_s=1_900_000_000,
        legs=legs,
    )


def _call(swap: Swap) -> CallRequest:
    return encode_swap(swap, deployments=DEPLOYMENTS, assets=ASSETS)


def test_native_coins_of_all_legs_are_counted_and_the_refund_is_what_no_leg_took() -> None:
    call = _call(_split(ASSETS.native, USDC, exact="out", amounts=[(600, 60), (300, 30)]))
    deposit = load_abi("weth9").event("Deposit").topic
    receipt = _receipt(
        _log(WRAPPED.token_address, deposit, _topic(ROUTER), raw=590),
        _transfer(WRAPPED.token_address, ROUTER, target=POOL, raw=590),
        _transfer(USDC.token_address, POOL, target=ROUTER, raw=60),
        _log(WRAPPED.token_address, deposit, _topic(ROUTER), raw=298),
        _transfer(WRAPPED.token_address, ROUTER, target=PAIR, raw=298),
        _transfer(USDC.token_address, PAIR, target=ROUTER, raw=31),
        _transfer(USDC.token_address, ROUTER, target=ALICE, raw=91),
        to=ROUTER,
    )
    assert call.value_wei == 900
    assert _changes(receipt, call) == {"ETH": -888, "USDC": 91}


def test_what_is_unwrapped_for_all_legs_goes_to_the_recipient_alone() -> None:
    call = _call(_split(USDC, ASSETS.native, exact="in", amounts=[(600, 60), (300, 30)]))
    receipt = _receipt(
        _transfer(WRAPPED.token_address, POOL, target=ROUTER, raw=61),
        _transfer(USDC.token_address, ALICE, target=POOL, raw=600),
        _transfer(USDC.token_address, ALICE, target=PAIR, raw=300),
        _transfer(WRAPPED.token_address, PAIR, target=ROUTER, raw=33),
        _log(WRAPPED.token_address, load_abi("weth9").event("Withdrawal").topic, _topic(ROUTER), raw=94),
        to=ROUTER,
    )
    assert _changes(receipt, call) == {"ETH": 94, "USDC": -900}
    assert _changes(receipt, call, BOB) == {}
    for_bob = _call(_split(USDC, ASSETS.native, exact="in", amounts=[(600, 60), (300, 30)], recipient=BOB))
    assert _changes(receipt, for_bob) == {"USDC": -900}
    assert _changes(receipt, for_bob, BOB) == {"ETH": 94}


def test_a_fill_is_the_sum_of_the_legs_as_they_moved() -> None:
    call = _call(_split(USDC, ASSETS.by_symbol("DAI"), exact="in", amounts=[(600, 60), (300, 30), (100, 10)]))
    dai = ASSETS.by_symbol("DAI")
    receipt = _receipt(
        _transfer(USDC.token_address, ALICE, target=POOL, raw=600),
        _transfer(USDC.token_address, ALICE, target=PAIR, raw=300),
        _transfer(USDC.token_address, ALICE, target=POOL, raw=99),
        _transfer(dai.token_address, ROUTER, target=ALICE, raw=123),
        to=ROUTER,
    )
    fill = swap_fill(receipt, call=call, wallet=ALICE, sold=USDC, bought=dai, assets=ASSETS, deployments=DEPLOYMENTS)
    assert (fill.sold_raw, fill.bought_raw) == (999, 123)


def test_a_receipt_without_the_swap_is_no_fill() -> None:
    call = erc20.transfer_call(USDC, BOB, amount=5)
    receipt = _receipt(_transfer(USDC.token_address, ALICE, target=BOB, raw=5), to=call.to)
    with pytest.raises(NoFill):
        swap_fill(
            receipt,
            call=call,
            wallet=ALICE,
            sold=USDC,
            bought=ASSETS.native,
            assets=ASSETS,
            deployments=DEPLOYMENTS,
        )
