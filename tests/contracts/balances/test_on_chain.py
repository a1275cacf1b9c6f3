"""All ways on a real node: the same answers, hostile tokens included, and each its own failure."""

import random
from typing import Final

import pytest

from chains.errors import ChainError
from chains.types import ZERO_ADDRESS, Address, BlockRef, CallRequest
from contracts import erc20
from contracts.balances import packed
from contracts.balances.ladder import BalanceReader, Way
from contracts.balances.packed import NATIVE, STIPEND_GAS, Balance, Pair
from tests.contracts.desk import Desk, fresh_address

pytestmark = pytest.mark.chain

CODES: Final = {
    "reverts": "60006000fd",
    "reverts with a word": "602a60005260206000fd",
    "stops": "00",
    "invalid opcode": "fe",
    "loops for ever": "5b600056",
    "31 bytes": "602a600052601f6000f3",
    "a word": "602a60005260206000f3",
    "zero": "60206000f3",
    "the wallet as balance": "60043560005260206000f3",
    "most there is": "6000196000" + "5260206000f3",
    "64 kB, the wallet first": "600435600052620100006000f3",
    "a gigabyte": "634000000060" + "00f3",
    "reverts with a megabyte": "6210000060" + "00fd",
    "reverts for odd wallets": "6004356001166014576004356000526020" + "6000f35b60006000fd",
    "burns 100,000 gas, then a word": "6110005b60019003806003576007600052602060" + "00f3",
    "needs 200,000 gas left": "5a62030d4011601357600760005260206000f35b6000" + "6000fd",
}
"""Runtime code of tokens, by how they behave."""


async def _alone(desk: Desk, pair: Pair, block: BlockRef) -> Balance:
    """What one plain call with the stipend says: the reference."""
    token, wallet = pair
    if token == NATIVE:
        return await desk.client.balance(wallet, block=block)
    call = erc20.balance_of(token, wallet)
    try:
        raw = await desk.client.call(call.request, block=block, gas_limit=21_000 + 36 * 16 + STIPEND_GAS)
    except ChainError:
        return None
    return int.from_bytes(raw[:32], "big") if len(raw) >= 32 else None


def _place(desk: Desk) -> dict[str, Address]:
    placed = {name: fresh_address() for name in CODES}
    for name, address in placed.items():
        desk.rpc("anvil_setCode", address, "0x" + CODES[name])
    desk.rpc("evm_mine")
    return placed


@pytest.mark.parametrize("seed", range(3))
async def test_all_ways_agree_on_random_sets_with_hostile_tokens(desk: Desk, seed: int) -> None:
    rng = random.Random(seed)
    hostile = _place(desk)
    listed = [NATIVE if asset.is_native else asset.token_address for asset in desk.assets]
    tokens = [*listed, *hostile.values(), desk.wallet, ZERO_ADDRESS, desk.multicall]
    owners = [desk.wallet, ZERO_ADDRESS, *hostile.values(), *(fresh_address() for _ in range(10))]
    pairs = [(rng.choice(tokens), rng.choice(owners)) for _ in range(rng.choice((1, 7, 64, 300)))]
    block = await desk.head()
    expected = [await _alone(desk, pair, block) for pair in pairs]
    for way in Way:
        reader = BalanceReader(desk.client, multicall=desk.multicall, ways=[way])
        assert await reader.read(pairs, block=block) == expected, way


@pytest.mark.parametrize("way", Way)
async def test_each_hostile_token_fails_alone(ethereum_desk: Desk, way: Way) -> None:
    desk = ethereum_desk
    usdc = desk.assets.by_symbol("USDC").token_address
    block_before = await desk.head()
    (held,) = await BalanceReader(desk.client, multicall=desk.multicall).read([(usdc, desk.wallet)], block=block_before)
    assert held == 1_000_000 * 10**6
    wallet = int(desk.wallet, 16)
    placed = _place(desk)
    expected = {
        "a word": 42,
        "zero": 0,
        "the wallet as balance": wallet,
        "most there is": 2**256 - 1,
        "64 kB, the wallet first": wallet,
        "reverts for odd wallets": None if wallet % 2 else wallet,
        "burns 100,000 gas, then a word": 7,
        "needs 200,000 gas left": 7,
    }
    block = await desk.head()
    for name, token in placed.items():
        reader = BalanceReader(desk.client, multicall=desk.multicall, ways=[way])
        pairs = [(usdc, desk.wallet), (token, desk.wallet), (NATIVE, desk.wallet), (usdc, desk.wallet)]
        before, found, native, after = await reader.read(pairs, block=block)
        assert (before, after) == (held, held), name
        assert native == await desk.client.balance(desk.wallet, block=block)
        assert found == expected.get(name), name


@pytest.mark.parametrize("way", Way)
async def test_thousands_of_pairs_with_a_burner_among_them_are_exact(ethereum_desk: Desk, way: Way) -> None:
    desk = ethereum_desk
    burner = _place(desk)["loops for ever"]
    usdc = desk.assets.by_symbol("USDC").token_address
    pairs: list[Pair] = [(usdc, desk.wallet)] * 3_000
    for at in (0, 1_500, 1_501, 2_999):
        pairs[at] = (burner, desk.wallet)
    block = await desk.head()
    found = await BalanceReader(desk.client, multicall=desk.multicall, ways=[way]).read(pairs, block=block)
    assert [at for at, value in enumerate(found) if value is None] == [0, 1_500, 1_501, 2_999]
    assert set(found) == {None, 1_000_000 * 10**6}


@pytest.mark.parametrize("way", Way)
async def test_more_burners_than_a_call_has_gas_for_leave_the_others_known(ethereum_desk: Desk, way: Way) -> None:
    desk = ethereum_desk
    burner = _place(desk)["loops for ever"]
    pairs: list[Pair] = [pair for _ in range(90) for pair in ((burner, desk.wallet), (NATIVE, desk.wallet))]
    assert 90 * STIPEND_GAS > 30_000_000
    block = await desk.head()
    found = await BalanceReader(desk.client, multicall=desk.multicall, ways=[way]).read(pairs, block=block)
    assert found == [None, await desk.client.balance(desk.wallet, block=block)] * 90


@pytest.mark.parametrize("way", Way)
async def test_a_token_that_comes_late_has_its_whole_stipend(ethereum_desk: Desk, way: Way) -> None:
    """It reverts, cheaply, where those before it left little: by themselves, or because one burned nearly all."""
    desk = ethereum_desk
    placed = _place(desk)
    burner, costly, picky = (
        placed[name] for name in ("loops for ever", "burns 100,000 gas, then a word", "needs 200,000 gas left")
    )
    block = await desk.head()
    after_burner = [[burner, *[costly] * count, picky] for count in range(5)]
    # About as many as the 30 million gas of a call do for.
    after_many = [[*[costly] * count, picky] for count in range(268, 286)]
    for tokens in [*after_burner, *after_many]:
        reader = BalanceReader(desk.client, multicall=desk.multicall, ways=[way])
        found = await reader.read([(token, desk.wallet) for token in tokens], block=block)
        assert found == [None if token == burner else 7 for token in tokens], len(tokens)


async def test_the_ladder_begins_with_the_placed_reader_here(desk: Desk) -> None:
    reader = BalanceReader(desk.client, multicall=desk.multicall)
    native, nobody = await reader.read([(NATIVE, desk.wallet), (packed.READER, desk.wallet)], block=await desk.head())
    assert (native, nobody) == (await desk.client.balance(desk.wallet, block="latest"), None)
    assert reader.way is Way.PLACED


async def test_the_block_asked_for_is_the_one_that_is_read(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    weth = desk.assets.by_symbol("WETH").token_address
    before = await desk.head()
    await desk.send(CallRequest(to=weth, value_wei=5))
    for way in Way:
        reader = BalanceReader(desk.client, multicall=desk.multicall, ways=[way])
        (old,) = await reader.read([(weth, desk.wallet)], block=before)
        (new,) = await reader.read([(weth, desk.wallet)], block=await desk.head())
        assert old is not None
        assert new == old + 5
