"""What the chain fixtures promise to every other test."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from eth_utils.crypto import keccak

from scripts.devnet import DevRpc, LocalChain, artifacts, fund_native, fund_token
from scripts.devnet.calls import Contract, Reverted, hexed, send_raw, submit_raw, unhexed
from scripts.devnet.catalogue import ETHEREUM, UNIT
from scripts.devnet.cheats import feed_answer, impersonate, set_feed
from scripts.devnet.placing import (
    CREATE2_FACTORY,
    TREASURY,
    Builder,
    Create2,
    InPlace,
    Place,
    PlacingFailed,
    own_address,
)
from tests.chainfixtures import manual_mining

pytestmark = pytest.mark.chain

SOMEONE = "0x000000000000000000000000000000000000bEEF"
OTHER = "0x000000000000000000000000000000000000dEaD"


@pytest.mark.parametrize("round_", [1, 2])
def test_what_one_test_did_is_gone_in_the_next(ethereum: LocalChain, round_: int) -> None:
    rpc = DevRpc(ethereum.rpc_url)
    assert int(rpc("eth_getBalance", SOMEONE, "latest"), 16) == 0, round_
    assert rpc("txpool_status") == {"pending": "0x0", "queued": "0x0"}
    assert rpc("anvil_getAutomine") is True
    head = rpc("eth_getBlockByNumber", "latest", False)
    assert abs(int(head["timestamp"], 16) - time.time()) < 60
    assert 2 * int(head["baseFeePerGas"], 16) > ETHEREUM.base_fee_wei
    # Left behind on purpose: low fees, a balance, a waiting transaction, a clock ahead, no automine.
    rpc("anvil_mine", hex(50))
    impersonate(rpc, SOMEONE)
    rpc("evm_setAutomine", False)
    submit_raw(rpc, OTHER, data=b"", sender=SOMEONE, gas=21_000)
    rpc("evm_increaseTime", 10_000)
    rpc("evm_setBlockGasLimit", hex(20_000))


def test_with_manual_mining_only_the_test_makes_blocks(ethereum: LocalChain) -> None:
    rpc = DevRpc(ethereum.rpc_url)
    impersonate(rpc, SOMEONE)
    with manual_mining(rpc):
        before = rpc("eth_blockNumber")
        tx_hash = submit_raw(rpc, OTHER, data=b"", sender=SOMEONE, gas=21_000, value=1)
        fund_token(rpc, "ethereum", "USDT", OTHER, 5)
        fund_native(rpc, OTHER, 7)
        assert rpc("eth_blockNumber") == before
        assert rpc("eth_getTransactionReceipt", tx_hash) is None
        rpc("evm_mine")
        assert rpc("eth_getTransactionReceipt", tx_hash)["status"] == "0x1"
    assert int(rpc("eth_getBalance", OTHER, "latest"), 16) == 8
    send_raw(rpc, OTHER, data=b"", sender=SOMEONE, gas=21_000)


def test_a_fresh_chain_can_be_reorganised_and_leaves_the_shared_one_alone(
    fresh_ethereum: LocalChain, ethereum: LocalChain
) -> None:
    fresh, shared = DevRpc(fresh_ethereum.rpc_url), DevRpc(ethereum.rpc_url)
    head = shared("eth_getBlockByNumber", "latest", False)["hash"]
    fresh("anvil_mine", hex(5))
    before = fresh("eth_getBlockByNumber", "latest", False)
    fresh("anvil_reorg", 3, [])
    after = fresh("eth_getBlockByNumber", "latest", False)
    assert after["number"] == before["number"]
    assert after["hash"] != before["hash"]
    assert shared("eth_getBlockByNumber", "latest", False)["hash"] == head


def test_a_feed_can_be_set_through_its_proxy(polygon: LocalChain, ethereum: LocalChain) -> None:
    rpc = DevRpc(ethereum.rpc_url)
    impersonate(rpc, TREASURY)
    set_feed(rpc, ETHEREUM, base="ETH", answer=1234 * UNIT)
    assert feed_answer(rpc, ETHEREUM, "ETH") == 1234 * UNIT
    assert polygon.chain_id == 137


def test_a_hostile_token_misbehaves_as_told(ethereum: LocalChain) -> None:
    rpc = DevRpc(ethereum.rpc_url)
    token = _placed_hostile_token(rpc)
    token.send("mint(address,uint256)", SOMEONE, 1_000, sender=SOMEONE)
    token.send("misbehave(uint256,bool,bool)", 100, False, False, sender=SOMEONE)
    token.send("transfer(address,uint256)", OTHER, 1_000, sender=SOMEONE)
    assert token.view("balanceOf(address)(uint256)", OTHER) == 990
    token.send("misbehave(uint256,bool,bool)", 0, True, False, sender=SOMEONE)
    assert token.view("transfer(address,uint256)(bool)", SOMEONE, 1, sender=OTHER) is False
    token.send("misbehave(uint256,bool,bool)", 0, False, True, sender=SOMEONE)
    with pytest.raises(Reverted):
        token.send("approve(address,uint256)", OTHER, 1, sender=SOMEONE)


def test_create2_lands_where_factory_salt_and_bytes_say(ethereum: LocalChain) -> None:
    rpc = DevRpc(ethereum.rpc_url)
    impersonate(rpc, TREASURY)
    contracts = artifacts.ensure().contracts
    salt = bytes(31) + b"\x01"
    # EIP-1014.
    parts = b"\xff" + unhexed(CREATE2_FACTORY) + salt + keccak(contracts["Multicall3"].initcode)
    step = Place(
        name="Multicall3",
        artifact="Multicall3",
        address=hexed(keccak(parts)[12:]),
        how=Create2(salt=salt),
    )
    builder = Builder(rpc, contracts)
    builder.place(step)
    with pytest.raises(PlacingFailed, match="did not come out"):
        builder.place(replace(step, address=OTHER, how=Create2(salt=bytes(32))))


def _placed_hostile_token(rpc: DevRpc) -> Contract:
    impersonate(rpc, SOMEONE)
    address = own_address("hostile token of a test")
    Builder(rpc, artifacts.ensure().contracts).place(
        Place(
            name="hostile",
            artifact="hostile_token",
            address=address,
            how=InPlace(owner=SOMEONE),
            types=("string", "string", "uint8"),
            arguments=("Hostile", "HOS", 18),
        )
    )
    return Contract(rpc, address)
