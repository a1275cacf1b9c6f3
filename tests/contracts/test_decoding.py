"""Calldata says what was wanted, and only calldata that we would make is understood."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chains.types import ZERO_ADDRESS, Address, CallRequest, ChainId, address_from_bytes
from contracts import erc20, weth
from contracts.abi import decode_input, encode_call, load_abi
from contracts.assets import Asset, load_assets
from contracts.decoding import (
    Approve,
    NativeTransfer,
    Swap,
    Transfer,
    UnknownCall,
    Unwrap,
    Wrap,
    decode_call,
)
from contracts.deployments import Venue, load_deployments
from contracts.errors import UnsafeSwap
from contracts.pools import V2_FEE, V3_FEE_TIERS
from contracts.swaps import MAX_DEADLINE_S, ROUTER_ITSELF, encode_swap

DEPLOYMENTS = load_deployments()
LISTS = {chain_id: load_assets(chain_id) for chain_id in (ChainId(1), ChainId(137))}
ETHEREUM = LISTS[ChainId(1)]
ALICE = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
AMOUNTS = st.integers(1, 2**128 - 1)
# Above the precompiles and SwapRouter02's two placeholders.
ACCOUNTS = st.integers(2**32, 2**160 - 1).map(lambda value: address_from_bytes(value.to_bytes(20, "big")))


@st.composite
def swaps(draw: st.DrawFn) -> Swap:
    chain_id = draw(st.sampled_from(sorted(LISTS)))
    assets = LISTS[chain_id]
    contracts = draw(st.sampled_from(DEPLOYMENTS.venues(chain_id)))
    tokens = [asset for asset in assets if not asset.is_native]
    path = draw(st.lists(st.sampled_from(tokens), min_size=2, max_size=5, unique=True))

    def end(token: Asset) -> Asset:
        return draw(st.sampled_from([token, assets.native])) if token == assets.wrapped else token

    v3 = contracts.venue is Venue.UNISWAP_V3
    fees = st.sampled_from(V3_FEE_TIERS) if v3 else st.just(V2_FEE)
    return Swap(
        chain_id=chain_id,
        venue=contracts.venue,
        router=contracts.router,
        sold=end(path[0]),
        bought=end(path[-1]),
        exact=draw(st.sampled_from(["in", "out"])),
        max_in=draw(AMOUNTS),
        min_out=draw(AMOUNTS),
        recipient=draw(ACCOUNTS),
        deadline_s=draw(st.integers(1, MAX_DEADLINE_S - 1)),
        path=tuple(token.token_address for token in path),
        fees_pips=tuple(draw(fees) for _ in path[1:]),
    )


def _decode(call: CallRequest, chain_id: int = 1) -> object:
    return decode_call(DEPLOYMENTS, LISTS[ChainId(chain_id)], ChainId(chain_id), call)


def _encode(swap: Swap) -> CallRequest:
    return encode_swap(swap, deployments=DEPLOYMENTS, assets=LISTS[swap.chain_id])


@given(swap=swaps())
def test_a_swap_decodes_to_what_it_was_made_of(swap: Swap) -> None:
    assert _decode(_encode(swap), swap.chain_id) == swap


@given(swap=swaps(), data=st.data())
def test_a_changed_byte_never_passes_for_the_same_swap(swap: Swap, data: st.DataObject) -> None:
    call = _encode(swap)
    at = data.draw(st.integers(0, len(call.data) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = bytearray(call.data)
    changed[at] ^= flip
    decoded = _decode(replace(call, data=bytes(changed)), swap.chain_id)
    assert decoded != swap
    # What is still understood is a swap that we could have made ourselves, byte for byte.
    if isinstance(decoded, Swap):
        assert _encode(decoded).data == bytes(changed)
    else:
        assert isinstance(decoded, UnknownCall)


@given(swap=swaps(), tail=st.binary(min_size=1, max_size=64))
def test_bytes_behind_a_swap_are_not_ignored(swap: Swap, tail: bytes) -> None:
    call = _encode(swap)
    assert isinstance(_decode(replace(call, data=call.data + tail), swap.chain_id), UnknownCall)


@given(swap=swaps(), value=st.integers(0, 2**128))
def test_another_value_is_another_call(swap: Swap, value: int) -> None:
    call = _encode(swap)
    assume(value != call.value_wei)
    decoded = _decode(replace(call, value_wei=value), swap.chain_id)
    assert decoded != swap
    assert isinstance(decoded, UnknownCall | Swap)


@given(target=st.sampled_from(sorted(LISTS)), swap=swaps())
def test_a_router_of_another_chain_is_not_trusted(target: ChainId, swap: Swap) -> None:
    assume(swap.router not in DEPLOYMENTS.spenders(target))
    assert isinstance(_decode(_encode(swap), target), UnknownCall)


@given(data=st.binary(max_size=400), value=st.integers(0, 10**20))
def test_any_bytes_to_a_router_or_token_are_decoded_without_an_error(data: bytes, value: int) -> None:
    for target in (*DEPLOYMENTS.spenders(ChainId(1)), ETHEREUM.wrapped.token_address):
        decoded = _decode(CallRequest(to=target, data=data, value_wei=value))
        assert isinstance(decoded, UnknownCall | Wrap)


def test_selector_alone_is_refused_for_every_router_function() -> None:
    for venue in (Venue.UNISWAP_V3, Venue.UNISWAP_V2):
        for abi in ("swap_router_02", "uniswap_v2_router"):
            for function in load_abi(abi).functions:
                router = DEPLOYMENTS.venue(ChainId(1), venue).router
                assert isinstance(_decode(CallRequest(to=router, data=function.selector)), UnknownCall)


def _v3_swap() -> Swap:
    weth_, usdc = ETHEREUM.wrapped.token_address, ETHEREUM.by_symbol("USDC").token_address
    return Swap(
        chain_id=ChainId(1),
        venue=Venue.UNISWAP_V3,
        router=DEPLOYMENTS.venue(ChainId(1), Venue.UNISWAP_V3).router,
        sold=ETHEREUM.by_symbol("USDC"),
        bought=ETHEREUM.native,
        exact="in",
        max_in=3_000_000_000,
        min_out=10**18,
        recipient=ALICE,
        deadline_s=1_900_000_000,
        path=(usdc, weth_),
        fees_pips=(500,),
    )


def test_the_calldata_of_a_swap_is_written_down() -> None:
    """multicall(deadline, [exactInputSingle(..., recipient = 2 = the router), unwrapWETH9(minimum, recipient)])."""
    abi = load_abi("swap_router_02")
    deadline, steps = decode_input(abi.function("multicall"), _encode(_v3_swap()).data)
    assert deadline == 1_900_000_000
    usdc, weth_ = _v3_swap().path
    expected = (usdc, weth_, 500, ROUTER_ITSELF, 3_000_000_000, 10**18, 0)
    assert decode_input(abi.function("exactInputSingle"), steps[0]) == (expected,)
    assert decode_input(abi.function("unwrapWETH9"), steps[1]) == (10**18, ALICE)
    assert len(steps) == 2


@pytest.mark.parametrize(
    "steps",
    [
        ["swap"],
        ["swap", "unwrap", "unwrap"],
        ["unwrap", "swap"],
        ["swap", "lower"],
        ["swap", "stranger"],
        ["swap", "unwrap", "refund"],
        ["swap", "unwrap", "swap"],
        [],
    ],
)
def test_another_row_of_router_steps_is_unknown(steps: list[str]) -> None:
    """An unwrap that is missing, doubled, first, below the swap's minimum, or to the router; refunds not asked for."""
    abi = load_abi("swap_router_02")
    _, (swap, unwrap) = decode_input(abi.function("multicall"), _encode(_v3_swap()).data)
    parts = {
        "swap": swap,
        "unwrap": unwrap,
        "lower": encode_call(abi.function("unwrapWETH9"), 10**18 - 1, ALICE),
        "stranger": encode_call(abi.function("unwrapWETH9"), 10**18, _v3_swap().router),
        "refund": encode_call(abi.function("refundETH")),
    }
    data = encode_call(abi.function("multicall"), 1_900_000_000, [parts[step] for step in steps])
    assert isinstance(_decode(CallRequest(to=_v3_swap().router, data=data)), UnknownCall)


@pytest.mark.parametrize(
    "change",
    [
        {"min_out": 0},
        {"max_in": 0},
        {"min_out": 2**128},
        {"max_in": 2**128},
        {"deadline_s": 0},
        {"deadline_s": 1_900_000_000_000},
        {"recipient": ZERO_ADDRESS},
        {"recipient": Address("0x0000000000000000000000000000000000000001")},
        {"recipient": ROUTER_ITSELF},
        {"recipient": ETHEREUM.by_symbol("DAI").token_address},
        {"recipient": DEPLOYMENTS.address(ChainId(1), "swap_router_02")},
        {"router": DEPLOYMENTS.address(ChainId(1), "uniswap_v2_router")},
        {"router": ALICE},
        {"venue": Venue.QUICKSWAP_V2},
        {"sold": ETHEREUM.by_symbol("DAI")},
        {"sold": LISTS[ChainId(137)].by_symbol("USDC")},
        {"bought": ETHEREUM.by_symbol("USDC")},
        {"path": ()},
        {"path": (ETHEREUM.by_symbol("USDC").token_address,)},
        {"fees_pips": ()},
        {"fees_pips": (500, 500)},
    ],
    ids="-".join,
)
def test_an_unsafe_swap_gets_no_calldata(change: dict[str, object]) -> None:
    with pytest.raises(UnsafeSwap):
        _encode(replace(_v3_swap(), **change))  # type: ignore[arg-type]  # one field, of its own type


def test_a_path_through_an_unlisted_token_or_in_a_circle_gets_no_calldata() -> None:
    swap = _v3_swap()
    usdc, weth_ = swap.path
    for path in ((usdc, ALICE, weth_), (usdc, weth_, usdc, weth_)):
        with pytest.raises(UnsafeSwap):
            _encode(replace(swap, path=path, fees_pips=(500,) * (len(path) - 1)))


@given(recipient=ACCOUNTS, amount=st.integers(0, 2**256 - 1), symbol=st.sampled_from([a.symbol for a in ETHEREUM]))
def test_a_transfer_decodes_to_what_it_was_made_of(recipient: Address, amount: int, symbol: str) -> None:
    asset = ETHEREUM.by_symbol(symbol)
    decoded = _decode(erc20.transfer_call(asset, recipient, amount=amount))
    wanted = NativeTransfer if asset.is_native else Transfer
    assert decoded == wanted(asset=asset, recipient=recipient, amount=amount)


@given(spender=ACCOUNTS, amount=st.integers(0, 2**256 - 1))
def test_an_approval_decodes_to_what_it_was_made_of(spender: Address, amount: int) -> None:
    usdt = ETHEREUM.by_symbol("USDT")
    call = erc20.approve_call(usdt.token_address, spender, amount=amount)
    assert _decode(call) == Approve(asset=usdt, spender=spender, amount=amount)
    assert isinstance(_decode(replace(call, value_wei=1)), UnknownCall)


def test_wrapping_decodes_and_only_for_the_wrapped_token() -> None:
    wrapped = ETHEREUM.wrapped
    assert _decode(weth.wrap_call(wrapped.token_address, 7)) == Wrap(asset=wrapped, amount=7)
    assert _decode(weth.unwrap_call(wrapped.token_address, 7)) == Unwrap(asset=wrapped, amount=7)
    dai = ETHEREUM.by_symbol("DAI").token_address
    assert isinstance(_decode(weth.unwrap_call(dai, 7)), UnknownCall)


def test_plain_value_to_a_contract_of_the_registry_is_no_transfer() -> None:
    """WETH9 would wrap it, a router would keep it."""
    for target in (ETHEREUM.wrapped.token_address, *DEPLOYMENTS.contracts(ChainId(1)).values(), ZERO_ADDRESS):
        assert isinstance(_decode(CallRequest(to=target, value_wei=1)), UnknownCall)


@pytest.mark.parametrize("function", ["transferFrom", "balanceOf"])
def test_another_function_of_a_token_is_unknown(function: str) -> None:
    entry = load_abi("erc20").function(function)
    arguments = {"transferFrom": (ALICE, ALICE, 1), "balanceOf": (ALICE,)}[function]
    token = ETHEREUM.by_symbol("USDC").token_address
    assert isinstance(_decode(CallRequest(to=token, data=encode_call(entry, *arguments))), UnknownCall)


def test_a_transfer_of_an_unlisted_token_is_unknown() -> None:
    data = encode_call(load_abi("erc20").function("transfer"), ALICE, 1)
    assert isinstance(_decode(CallRequest(to=ALICE, data=data)), UnknownCall)


def test_an_asset_list_of_another_chain_is_not_used() -> None:
    call = CallRequest(to=ALICE, value_wei=1)
    assert isinstance(decode_call(DEPLOYMENTS, ETHEREUM, ChainId(137), call), UnknownCall)
