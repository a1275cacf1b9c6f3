"""Swap calldata and its description are two forms of one thing, and no other bytes pass for a swap."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chains.types import Address, CallRequest, ChainId
from contracts.abi import load_abi
from contracts.decoding import UnknownCall, Wrap
from contracts.deployments import Venue
from contracts.swaps import Swap, one_leg
from tests.contracts.swaps.drawn import ALICE, DEPLOYMENTS, ETHEREUM, LISTS, decode, encode, swaps

GOLDEN = json.loads((Path(__file__).parent / "data" / "swaps_of_one_path.json").read_text("utf-8"))


@given(swap=swaps())
def test_a_swap_decodes_to_what_it_was_made_of(swap: Swap) -> None:
    assert decode(encode(swap), swap.chain_id) == swap


@given(one=swaps(), other=swaps())
def test_two_swaps_have_two_encodings(one: Swap, other: Swap) -> None:
    assert (encode(one) == encode(other)) == (one == other)


@given(swap=swaps(), data=st.data())
def test_a_changed_byte_never_passes_for_the_same_swap(swap: Swap, data: st.DataObject) -> None:
    call = encode(swap)
    changed = bytearray(call.data)
    for _ in range(data.draw(st.integers(1, 2))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    assume(bytes(changed) != call.data)
    _is_refused_or_made_by_us(replace(call, data=bytes(changed)), swap)


@given(swap=swaps(), data=st.data())
def test_a_word_put_elsewhere_never_passes_for_the_same_swap(swap: Swap, data: st.DataObject) -> None:
    """Words of the calldata over other words: amounts, offsets, recipients of other steps, lengths."""
    call = encode(swap)
    places = st.integers(0, (len(call.data) - 4) // 32 - 1).map(
        lambda word: 4 + 32 * word + 4 * data.draw(st.booleans())
    )
    source, target = data.draw(places), data.draw(places)
    changed = call.data[:target] + call.data[source : source + 32] + call.data[target + 32 :]
    assume(changed != call.data)
    _is_refused_or_made_by_us(replace(call, data=changed), swap)


@given(swap=swaps(), data=st.data())
def test_bytes_cut_out_or_put_in_never_pass_for_the_same_swap(swap: Swap, data: st.DataObject) -> None:
    call = encode(swap)
    at, width = data.draw(st.integers(0, len(call.data))), data.draw(st.sampled_from([1, 4, 31, 32, 36, 64]))
    put = data.draw(st.just(b"") | st.just(bytes(width)) | st.binary(min_size=width, max_size=width))
    changed = call.data[:at] + put + call.data[at if put else at + width :]
    assume(changed != call.data)
    _is_refused_or_made_by_us(replace(call, data=changed), swap)


@given(swap=swaps(), tail=st.binary(min_size=1, max_size=64))
def test_bytes_behind_a_swap_are_not_ignored(swap: Swap, tail: bytes) -> None:
    call = encode(swap)
    assert isinstance(decode(replace(call, data=call.data + tail), swap.chain_id), UnknownCall)


@given(swap=swaps(), value=st.integers(0, 2**128))
def test_another_value_is_another_call(swap: Swap, value: int) -> None:
    call = encode(swap)
    assume(value != call.value_wei)
    _is_refused_or_made_by_us(replace(call, value_wei=value), swap)


@given(target=st.sampled_from(sorted(LISTS)), swap=swaps())
def test_a_router_of_another_chain_is_not_trusted(target: ChainId, swap: Swap) -> None:
    assume(swap.router not in DEPLOYMENTS.spenders(target))
    assert isinstance(decode(encode(swap), target), UnknownCall)


@given(swap=swaps())
def test_what_one_router_understands_is_not_sent_to_another(swap: Swap) -> None:
    call = encode(swap)
    for other in DEPLOYMENTS.spenders(swap.chain_id) - {swap.router}:
        assert isinstance(decode(replace(call, to=other), swap.chain_id), UnknownCall)


@given(data=st.binary(max_size=400), value=st.integers(0, 10**20))
def test_any_bytes_to_a_router_or_token_are_decoded_without_an_error(data: bytes, value: int) -> None:
    for target in (*DEPLOYMENTS.spenders(ChainId(1)), ETHEREUM.wrapped.token_address):
        decoded = decode(CallRequest(to=target, data=data, value_wei=value))
        assert isinstance(decoded, UnknownCall | Wrap)


def test_selector_alone_is_refused_for_every_router_function() -> None:
    for target in DEPLOYMENTS.spenders(ChainId(1)):
        for abi in ("swap_router_02", "uniswap_v2_router"):
            for function in load_abi(abi).functions:
                assert isinstance(decode(CallRequest(to=target, data=function.selector)), UnknownCall)


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['venue']}-{'-'.join(row['tokens'])}-{row['exact']}")
def test_a_stored_swap_of_one_path_is_still_understood_and_still_made(row: dict[str, Any]) -> None:
    """Calldata as the encoder made it before there were legs (commit be97c38): plans that are open hold such bytes, and
    the pre-sign check reads them again."""
    assets = LISTS[ChainId(row["chain_id"])]
    tokens = [assets.token_of(assets.by_symbol(symbol)).token_address for symbol in row["tokens"]]
    max_in, min_out = int(row["max_in"]), int(row["min_out"])
    swap = Swap(
        chain_id=assets.chain_id,
        router=Address(row["to"]),
        sold=assets.by_symbol(row["tokens"][0]),
        bought=assets.by_symbol(row["tokens"][-1]),
        exact=row["exact"],
        max_in=max_in,
        min_out=min_out,
        recipient=ALICE,
        deadline_s=row["deadline_s"],
        legs=one_leg(
            tokens, row["fees_pips"], venue=Venue(row["venue"]), exact=row["exact"], max_in=max_in, min_out=min_out
        ),
    )
    call = CallRequest(to=swap.router, data=bytes.fromhex(row["data"]), value_wei=int(row["value_wei"]))
    assert decode(call, assets.chain_id) == swap
    assert encode(swap) == call


def _is_refused_or_made_by_us(call: CallRequest, swap: Swap) -> None:
    """Another call than the swap's: what is still understood is a swap that we could have made, byte for byte."""
    decoded = decode(call, swap.chain_id)
    assert decoded != swap
    if isinstance(decoded, Swap):
        assert encode(decoded) == call
    else:
        assert isinstance(decoded, UnknownCall)
