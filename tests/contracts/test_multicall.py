"""Batches of reads: the hand-written codec against eth_abi, and failures that stay alone."""

import pytest
from eth_abi.abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st

from chains.types import Address, BlockRef, BlockTag, CallRequest, ChainId, address_from_bytes
from contracts import erc20
from contracts.assets import load_assets
from contracts.call import Call
from contracts.errors import UndecodableReturn
from contracts.multicall import (
    BALANCES_PER_REQUEST,
    CALLS_PER_REQUEST,
    Ok,
    Reverted,
    aggregate,
    balances_of,
    decode_aggregate3,
    decode_balances,
    encode_aggregate3,
    encode_balance_calls,
)
from tests.contracts.desk import Desk, fresh_address

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


@given(owners=st.lists(ADDRESSES, min_size=1, max_size=3))
def test_balance_calls_are_ordinary_multicalls(owners: list[Address]) -> None:
    pairs = [(owner, asset) for owner in owners for asset in ASSETS]
    ((*calls,),) = decode(["(address,bool,bytes)[]"], encode_balance_calls(pairs, multicall=MULTICALL)[4:])
    assert len(calls) == len(pairs)
    for (target, allow_failure, data), (owner, asset) in zip(calls, pairs, strict=True):
        assert allow_failure
        if asset.is_native:
            assert (target, data[:4].hex()) == (MULTICALL.lower(), "4d2301cc")
        else:
            assert (target, data) == (asset.token_address.lower(), erc20.balance_of(asset.token_address, owner).data)
        assert data[16:] == bytes.fromhex(owner[2:])


@given(results=BALANCES)
def test_a_balance_that_is_not_a_word_is_unknown_and_never_zero(results: list[tuple[bool, bytes]]) -> None:
    expected = [
        Ok(int.from_bytes(data[:32], "big")) if success and len(data) >= 32 else Reverted(data)
        for success, data in results
    ]
    assert decode_balances(encode(["(bool,bytes)[]"], [results]), count=len(results)) == expected


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
    wallets = [address_from_bytes(i.to_bytes(20, "big")) for i in range(BALANCES_PER_REQUEST // len(ASSETS) + 1)]
    with pytest.raises(ValueError, match="pin them to a block"):
        await balances_of(_NoNode(), multicall=MULTICALL, wallets=wallets, assets=list(ASSETS), block="latest")


async def test_nothing_to_read_asks_no_node() -> None:
    assert await aggregate(_NoNode(), [], multicall=MULTICALL, block="latest") == []
    assert await balances_of(_NoNode(), multicall=MULTICALL, wallets=[], assets=[], block="latest") == {}


class _Counting:
    """Passes calls on and counts them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.calls = 0

    async def call(self, request: CallRequest, *, block: BlockRef | BlockTag | int = "latest") -> bytes:
        self.calls += 1
        return await self._desk.client.call(request, block=block)


@pytest.mark.chain
async def test_all_balances_of_a_wallet_are_one_node_call(desk: Desk) -> None:
    reader, block = _Counting(desk), await desk.head()
    read = await balances_of(
        reader, multicall=desk.multicall, wallets=[desk.wallet], assets=list(desk.assets), block=block
    )
    assert reader.calls == 1
    for asset in desk.assets:
        if asset.is_native:
            alone = await desk.client.balance(desk.wallet, block=block)
        else:
            call = erc20.balance_of(asset.token_address, desk.wallet)
            alone = call.decode(await desk.client.call(call.request, block=block))
        assert read[desk.wallet][asset.id] == Ok(alone)
        assert alone > 0


@pytest.mark.chain
async def test_thousands_of_pairs_are_chunked_at_one_block(ethereum_desk: Desk) -> None:
    desk, reader = ethereum_desk, _Counting(ethereum_desk)
    wallets = [fresh_address() for _ in range(399)] + [desk.wallet]
    block = await desk.head()
    read = await balances_of(reader, multicall=desk.multicall, wallets=wallets, assets=list(desk.assets), block=block)
    assert reader.calls == 2
    assert all(read[wallet][desk.assets.native.id] == Ok(0) for wallet in wallets[:-1])
    assert read[desk.wallet] == {key: Ok(raw) for key, raw in (await desk.balances(block)).items()}


@pytest.mark.chain
@pytest.mark.parametrize("code", ["0x", "0x00", "0x60006000fd", "0xfe", "0x60206000f3"])
async def test_a_broken_token_fails_alone(ethereum_desk: Desk, code: str) -> None:
    """No code, stop, revert, invalid opcode; and the last one answers zero, which is an answer."""
    desk = ethereum_desk
    dai = desk.assets.by_symbol("DAI")
    desk.rpc("anvil_setCode", dai.token_address, code)
    desk.rpc("evm_mine")
    read = await balances_of(
        desk.client,
        multicall=desk.multicall,
        wallets=[desk.wallet],
        assets=list(desk.assets),
        block=await desk.head(),
    )
    expected = Ok(0) if code == "0x60206000f3" else Reverted(b"")
    assert read[desk.wallet][dai.id] == expected
    others = [value for asset_id, value in read[desk.wallet].items() if asset_id != dai.id]
    assert len(others) == len(desk.assets) - 1
    assert all(isinstance(value, Ok) and value.value > 0 for value in others)


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
