"""Balances through Multicall3: the hand-written codec against eth_abi."""

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from hypothesis import given
from hypothesis import strategies as st

from chains.types import Address, address_from_bytes
from contracts import erc20
from contracts.balances import multicall3
from contracts.balances.packed import NATIVE, STIPEND_GAS

MULTICALL = Address("0xcA11bde05977b3631167028862bE2a173976CA11")
ADDRESSES = st.binary(min_size=20, max_size=20).map(address_from_bytes)
TOKENS = st.just(NATIVE) | ADDRESSES
WORDS = st.integers(0, 2**256 - 1).map(lambda value: value.to_bytes(32, "big"))
RESULTS = st.lists(st.tuples(st.booleans(), st.one_of(WORDS, st.just(b""), st.binary(max_size=70))), max_size=8)


@given(wallets=st.lists(ADDRESSES, max_size=3), tokens=st.lists(TOKENS, max_size=3))
def test_the_calls_are_those_of_each_pair_and_the_check(wallets: list[Address], tokens: list[Address]) -> None:
    pairs = [(token, wallet) for wallet in wallets for token in tokens]
    data = multicall3.encode(pairs, multicall=MULTICALL)
    ((*calls, check),) = abi_decode(["(address,bool,bytes)[]"], data[4:])
    assert data[:4].hex() == "82ad56cb"
    assert len(calls) == len(pairs)
    for (target, allow_failure, argument), pair in zip(calls, pairs, strict=True):
        alone = multicall3.request(pair, multicall=MULTICALL)
        assert (target, allow_failure, argument) == (alone.to.lower(), True, alone.data)
    assert check == (multicall3.PAIRING_CHECK.lower(), True, bytes(192 * 10))


def test_the_check_costs_the_stipend() -> None:
    """EIP-1108: 45,000 and 34,000 a pair of points of 192 bytes."""
    assert STIPEND_GAS == 45_000 + 34_000 * 10


def test_a_pair_asked_alone_is_balance_of_or_the_coin() -> None:
    wallet = address_from_bytes(b"\7" * 20)
    token = address_from_bytes(b"\5" * 20)
    assert multicall3.request((token, wallet), multicall=MULTICALL) == erc20.balance_of(token, wallet).request
    coin = multicall3.request((NATIVE, wallet), multicall=MULTICALL)
    assert (coin.to, coin.data.hex()) == (MULTICALL, "4d2301cc" + "00" * 12 + "07" * 20)


@given(results=RESULTS, had_gas=st.booleans())
def test_what_is_no_word_is_unknown_and_never_zero(results: list[tuple[bool, bytes]], had_gas: bool) -> None:
    check = (had_gas, (1).to_bytes(32, "big") if had_gas else b"")
    batch = multicall3.decode(abi_encode(["(bool,bytes)[]"], [[*results, check]]), count=len(results))
    assert batch.had_gas is had_gas
    assert batch.balances == [
        int.from_bytes(data[:32], "big") if success and len(data) >= 32 else None for success, data in results
    ]
