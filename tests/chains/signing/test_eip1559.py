"""Our bytes are eth_account's bytes, and nothing out of range is signed."""

import pickle
from dataclasses import replace

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.errors import SigningError
from chains.signing import eip1559
from chains.signing.signer import LocalSigner, UnlockedKey
from chains.types import Address, ChainId, Fees, UnsignedTx, address_from_bytes
from chains.units import MAX_UINT256
from tests.examples import examples

KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
"""The first development key of Anvil and Hardhat: public, holds nothing."""
SENDER = Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
TX = UnsignedTx(
    chain_id=ChainId(1),
    nonce=7,
    to=Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"),
    data=bytes.fromhex("d0e30db0"),
    value_wei=10**18,
    gas_limit=60_000,
    fees=Fees(max_fee_wei=23 * 10**9, priority_fee_wei=10**9),
)
GOLDEN_RAW = (
    "02f8770107843b9aca0085055ae8260082ea6094c02aaa39b223fe8d0a0e5c4f27ead9083c756cc2880de0b6b3"
    "a764000084d0e30db0c001a0f00d8ada2677ed86fa360fec917d993ded16a07b1e23195dc65bdd7cb6611eb3a0"
    "404d5b4e3028b885525a6170638686284cf8f4f881c7b584b9facfd05f1b5106"
)
GOLDEN_HASH = "0xcd67fead8093f5ee43eae12218907ee2fb477bd3362625921415ab02cf539a77"


def by_eth_account(key: bytes, tx: UnsignedTx) -> tuple[bytes, bytes]:
    signed = Account.sign_transaction(
        {
            "type": 2,
            "chainId": tx.chain_id,
            "nonce": tx.nonce,
            "to": tx.to,
            "data": tx.data,
            "value": tx.value_wei,
            "gas": tx.gas_limit,
            "maxFeePerGas": tx.fees.max_fee_wei,
            "maxPriorityFeePerGas": tx.fees.priority_fee_wei,
        },
        key,
    )
    return bytes(signed.raw_transaction), bytes(signed.hash)


def test_the_golden_transaction() -> None:
    signed = UnlockedKey(KEY).sign(TX)
    assert signed.raw.hex() == GOLDEN_RAW
    assert signed.hash == GOLDEN_HASH


transactions = st.builds(
    UnsignedTx,
    chain_id=st.integers(1, 2**32).map(ChainId),
    nonce=st.one_of(st.integers(0, 300), st.integers(0, eip1559.MAX_NONCE)),
    to=st.binary(min_size=20, max_size=20).map(address_from_bytes),
    data=st.one_of(st.binary(max_size=2), st.binary(min_size=50, max_size=60), st.binary(max_size=70_000)),
    value_wei=st.one_of(st.just(0), st.integers(0, 300), st.integers(0, MAX_UINT256)),
    gas_limit=st.integers(0, 2**64 - 1),
    fees=st.tuples(st.integers(0, 2**200), st.integers(0, 2**200)).map(
        lambda pair: Fees(max_fee_wei=max(pair), priority_fee_wei=min(pair))
    ),
)
keys = st.integers(1, 2**255).map(lambda number: number.to_bytes(32, "big"))


@settings(max_examples=examples(150), deadline=None)
@given(key=keys, tx=transactions)
def test_every_transaction_has_the_bytes_that_eth_account_makes(key: bytes, tx: UnsignedTx) -> None:
    signed = UnlockedKey(key).sign(tx)
    raw, digest = by_eth_account(key, tx)
    assert signed.raw == raw
    assert signed.hash == "0x" + digest.hex()


@settings(max_examples=examples(60), deadline=None)
@given(key=keys, tx=transactions)
def test_signed_bytes_tell_their_transaction_and_sender(key: bytes, tx: UnsignedTx) -> None:
    unlocked = UnlockedKey(key)
    assert eip1559.decode(unlocked.sign(tx).raw) == (tx, unlocked.address)


@pytest.mark.parametrize(
    "tx",
    [
        replace(TX, nonce=-1),
        replace(TX, nonce=2**64 - 1),
        replace(TX, value_wei=-1),
        replace(TX, value_wei=MAX_UINT256 + 1),
        replace(TX, gas_limit=2**64),
        replace(TX, chain_id=ChainId(0)),
        replace(TX, fees=Fees(max_fee_wei=1, priority_fee_wei=2)),
        replace(TX, fees=Fees(max_fee_wei=MAX_UINT256 + 1, priority_fee_wei=2)),
        replace(TX, nonce=True),
    ],
)
def test_a_field_out_of_range_is_not_signed(tx: UnsignedTx) -> None:
    with pytest.raises(SigningError, match="out of range"):
        UnlockedKey(KEY).sign(tx)


def test_a_signature_with_high_s_is_not_accepted() -> None:
    raw = UnlockedKey(KEY).sign(TX).raw
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    s = int.from_bytes(raw[-32:], "big")
    malleable = raw[:-32] + (order - s).to_bytes(32, "big")
    with pytest.raises(SigningError, match="not a signed"):
        eip1559.is_signed_by(malleable, SENDER)


@pytest.mark.parametrize("cut", [0, 1, 2, 10, 50, 100])
def test_truncated_bytes_are_not_a_transaction(cut: int) -> None:
    with pytest.raises(SigningError):
        eip1559.is_signed_by(UnlockedKey(KEY).sign(TX).raw[:cut], SENDER)


@settings(max_examples=examples(300), deadline=None)
@given(raw=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_and_never_crash_the_decoder(raw: bytes) -> None:
    with pytest.raises(SigningError):
        eip1559.decode(b"\x02" + raw)


# -- the signer -------------------------------------------------------------------------------------------


async def test_the_signer_signs_for_the_addresses_it_has() -> None:
    signer = LocalSigner([UnlockedKey(KEY)])
    assert list(await signer.addresses()) == [SENDER]
    signed = await signer.sign(SENDER, TX)
    assert eip1559.is_signed_by(signed.raw, SENDER)


async def test_the_signer_has_no_key_for_others() -> None:
    with pytest.raises(SigningError, match="no unlocked key"):
        await LocalSigner([UnlockedKey(KEY)]).sign(TX.to, TX)


async def test_a_signature_of_another_key_never_leaves_the_signer() -> None:
    key = UnlockedKey(KEY)
    key.address = TX.to  # a corrupted record: the key of one address under the name of another
    with pytest.raises(SigningError, match="not its own"):
        await LocalSigner([key]).sign(TX.to, TX)


@pytest.mark.parametrize("key", [b"", b"\x01" * 31, b"\x00" * 32, b"\xff" * 32, b"\x01" * 33])
def test_what_is_not_a_private_key_is_refused_without_being_repeated(key: bytes) -> None:
    with pytest.raises(SigningError) as caught:
        UnlockedKey(key)
    assert key.hex() not in str(caught.value) or not key


def test_a_key_shows_in_no_repr_and_is_not_pickled() -> None:
    key = UnlockedKey(KEY)
    assert KEY.hex() not in f"{key!r}{LocalSigner([key])!r}"
    with pytest.raises(TypeError):
        pickle.dumps(key)
