"""The packed reader's bytes: what goes in, what comes out, and the code itself, word for word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.types import address_bytes, address_from_bytes
from contracts.balances import packed
from contracts.balances.packed import Balance, decode_answer, encode_pairs
from contracts.errors import UndecodableReturn

ADDRESSES = st.binary(min_size=20, max_size=20).map(address_from_bytes)
BALANCES = st.lists(st.none() | st.integers(0, 2**256 - 1), min_size=1, max_size=40)


def answer_of(balances: list[Balance], *, count: int, lead: int) -> bytes:
    """As the program writes it; an unknown one leaves anything in its word."""
    bits = bytearray(count + 7 >> 3)
    for index, balance in enumerate(balances):
        if balance is None:
            bits[index >> 3] |= 0x80 >> (index & 7)
    words = [(0xBAD if balance is None else balance).to_bytes(32, "big") for balance in balances]
    return bytes(lead) + bytes(bits) + b"".join(words)


@given(pairs=st.lists(st.tuples(ADDRESSES, ADDRESSES), max_size=5))
def test_a_pair_is_forty_bytes(pairs: list[packed.Pair]) -> None:
    assert encode_pairs(pairs) == b"".join(address_bytes(token) + address_bytes(wallet) for token, wallet in pairs)


@given(balances=BALANCES, more=st.integers(0, 20), lead=st.integers(0, 1))
def test_an_answer_is_the_first_pairs_that_it_came_to(balances: list[Balance], more: int, lead: int) -> None:
    count = len(balances) + more
    assert decode_answer(answer_of(balances, count=count, lead=lead), count=count, lead=lead) == balances


@given(balances=BALANCES, cut=st.integers(1, 31))
def test_an_answer_of_another_length_is_refused(balances: list[Balance], cut: int) -> None:
    answer = answer_of(balances, count=len(balances), lead=0)
    for wrong in (answer[:-cut], answer + bytes(cut), answer + bytes(32), b""):
        with pytest.raises(UndecodableReturn):
            decode_answer(wrong, count=len(balances), lead=0)


def test_an_answer_that_came_to_no_pair_is_refused() -> None:
    with pytest.raises(UndecodableReturn):
        decode_answer(bytes(1), count=8, lead=0)


def test_the_most_pairs_of_initcode_fit_its_limits() -> None:
    program, most = packed.initcode(), packed.INITCODE_PAIRS
    longest = answer_of([0] * most, count=most, lead=program.lead)
    assert len(longest) <= packed.CODE_LIMIT_BYTES < len(longest) + 32
    assert len(program.code) + packed.PAIR_BYTES * most <= 49_152


def test_the_code_is_the_one_that_was_tried() -> None:
    """A change of the listing shows here: run the chain tests before it is written down."""
    assert packed.placed().code.hex() == (
        "6370a0823160e01b60005236600060288183030460070160031c6040015b8282146100b55763000626a85a106100b5"
        "57813560601c8073eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee1461008157826014013560601c600452602082"
        "6024600084630005dfe8fa3d601f101615610091575b50602001906028019061001d565b826014013560601c318252"
        "610073565b602861000084030460018160071660ff031b9060031c604001908151179052610073565b604090036040"
        "f3"
    )
    assert packed.initcode().code[-3:].hex() == "603ff3"
