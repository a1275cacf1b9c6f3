"""Batches of reads: the hand-written codec against eth_abi, and failures that stay alone."""

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from chains.types import Address, BlockRef, BlockTag, CallRequest, ChainId, address_from_bytes
from contracts import erc20
from contracts.assets import load_assets
from contracts.call import Call
from contracts.errors import UndecodableReturn
from contracts.multicall import (
    CALLS_PER_REQUEST,
    Ok,
    Reverted,
    aggregate,
    decode_aggregate3,
    encode_aggregate3,
)
from tests.contracts.desk import Desk

ADDRESSES = st.binary(min_size=20, max_size=20).map(address_from_bytes)
CALLS = st.lists(st.tuples(ADDRESSES, st.binary(max_size=100)), max_size=8)
RESULTS = st.lists(st.tuples(st.booleans(), st.binary(max_size=100)), max_size=8)
WORDS = st.integers(0, 2**256 - 1).map(lambda value: value.to_bytes(32, "big"))
BALANCES = st.lists(st.tuples(st.booleans(), st.one_of(WORDS, st.just(b""), st.binary(max_size=70))), max_size=8)
MULTICALL = Address("0xcA11bde05977b3631167028862bE2a173976CA11")
ASSETS = load_assets(ChainId(1))


@given(calls=CALLS)
def test_calls_are_encoded_as_eth_abi_does(calls: list[tuple[Address, bytes]]) -> None:
    reference = encode(["(address,bool,bytes)[]"], [[(target, True, data) for target, data in calls]])
    assert encode_aggregate3(calls) == bytes.fromhex("82ad56cb") + reference


@given(results=RESULTS)
def test_results_are_decoded_as_eth_abi_does(results: list[tuple[bool, bytes]]) -> None:
    assert decode_aggregate3(encode(["(bool,bytes)[]"], [results]), count=len(results)) == results


@given(results=RESULTS.filter(bool), cut=st.integers(1, 400))
def test_an_answer_cut_short_is_refused(results: list[tuple[bool, bytes]], cut: int) -> None:
    answer = encode(["(bool,bytes)[]"], [results])
    last = results[-1][1]
    # Padding of the last result is not looked at.
    cut += -len(last) % 32
    with pytest.raises(UndecodableReturn):
        decode_aggregate3(answer[: max(0, len(answer) - cut)], count=len(results))


def test_an_answer_for_another_number_of_calls_is_refused() -> None:
    answer = encode(["(bool,bytes)[]"], [[(True, b"")]])
    with pytest.raises(UndecodableReturn, match="2 results"):
        decode_aggregate3(answer, count=2)


class _NoNode:
    async def call(self, request: CallRequest, *, block: BlockRef | BlockTag | int = "latest") -> bytes:
        raise AssertionError("no call was expected")


async def test_more_than_one_node_call_needs_a_pinned_block() -> None:
    calls = [erc20.decimals(MULTICALL)] * (CALLS_PER_REQUEST + 1)
    with pytest.raises(ValueError, match="pin them to a block"):
        await aggregate(_NoNode(), calls, multicall=MULTICALL, block="latest")


async def test_nothing_to_read_asks_no_node() -> None:
    assert await aggregate(_NoNode(), [], multicall=MULTICALL, block="latest") == []


@pytest.mark.chain
async def test_a_call_that_reverts_or_answers_nothing_fails_alone(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    usdc = desk.assets.by_symbol("USDC").token_address
    calls: list[Call[int] | Call[str]] = [
        erc20.decimals(usdc),
        erc20.decimals(desk.wallet),
        erc20.decimals(desk.multicall),
        erc20.symbol(usdc),
    ]
    answers = await aggregate(desk.client, calls, multicall=desk.multicall, block=await desk.head())
    assert answers == [Ok(6), Reverted(b""), Reverted(b""), Ok("USDC")]
