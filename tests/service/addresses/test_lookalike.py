"""Which addresses are taken for one another."""

from hypothesis import given
from hypothesis import strategies as st

from chains.types import Address, address_from_bytes
from service.addresses.lookalike import SHOWN_HEX, Known, resembled, resembles

addresses = st.binary(min_size=20, max_size=20).map(address_from_bytes)
ENDS = SHOWN_HEX // 2
"""Bytes of the shown digits at either end."""


def with_middle(address: Address, middle: bytes) -> Address:
    raw = bytes.fromhex(address[2:])
    return address_from_bytes(raw[:ENDS] + middle + raw[-ENDS:])


@given(addresses, st.binary(min_size=20 - 2 * ENDS, max_size=20 - 2 * ENDS))
def test_whatever_is_between_the_shown_digits_two_addresses_look_alike(address: Address, middle: bytes) -> None:
    other = with_middle(address, middle)
    assert resembles(address, other) is (address != other)
    assert resembles(other, address) is (address != other)


@given(addresses, st.integers(0, 2 * SHOWN_HEX - 1), st.integers(1, 15))
def test_one_shown_digit_that_differs_is_seen(address: Address, place: int, by: int) -> None:
    digits = address[2:].lower()
    at = place if place < SHOWN_HEX else len(digits) - 1 - (place - SHOWN_HEX)
    changed = f"{int(digits[at], 16) ^ by:x}"
    other = Address("0x" + digits[:at] + changed + digits[at + 1 :])
    assert not resembles(address, other)


@given(addresses, st.lists(addresses, max_size=20))
def test_an_address_resembles_exactly_the_known_ones_that_look_like_it(address: Address, others: list[Address]) -> None:
    twin = with_middle(address, bytes(20 - 2 * ENDS))
    known = [Known(address=one, what="known") for one in [*others, twin, twin, address]]
    found = [one.address for one in resembled(address, known)]
    assert len(found) == len(set(found))
    assert set(found) == {one for one in {*others, twin} if resembles(address, one)}


@given(addresses)
def test_the_case_of_the_digits_hides_nothing(address: Address) -> None:
    twin = with_middle(address, b"\xab" * (20 - 2 * ENDS))
    if twin != address:
        assert resembles(address, Address(twin.lower()))
    assert not resembles(address, Address(address.lower()))
