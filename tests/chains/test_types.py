"""Addresses and hashes from outside are read strictly; secrets stay out of reprs."""

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from chains.types import (
    InvalidAddress,
    InvalidHash,
    SignedTx,
    TxHash,
    address_bytes,
    address_from_bytes,
    parse_address,
    parse_hash,
)

CHECKSUMMED = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"


@pytest.mark.parametrize("text", [CHECKSUMMED, CHECKSUMMED.lower(), "0x" + CHECKSUMMED[2:].upper()])
def test_an_address_without_case_or_with_its_checksum_is_read(text: str) -> None:
    assert parse_address(text) == CHECKSUMMED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        CHECKSUMMED[:-1],
        CHECKSUMMED + "0",
        CHECKSUMMED[2:],
        "0X" + CHECKSUMMED[2:],
        " " + CHECKSUMMED[:-1],
        CHECKSUMMED.replace("C0", "c0", 1),
        "0x" + "g" * 40,
        "0x" + "\uff11" * 40,
        "vitalik.eth",
    ],
)
def test_other_texts_are_not_addresses(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_address(text)


@given(st.binary(min_size=20, max_size=20))
def test_bytes_and_address_are_inverse(raw: bytes) -> None:
    assert address_bytes(address_from_bytes(raw)) == raw
    assert parse_address(address_from_bytes(raw)) == address_from_bytes(raw)


@given(st.binary(min_size=20, max_size=20))
def test_the_checksum_is_the_one_of_eip_55(raw: bytes) -> None:
    assert address_from_bytes(raw) == str(to_checksum_address(raw))


def test_an_address_has_twenty_bytes() -> None:
    with pytest.raises(InvalidAddress):
        address_from_bytes(b"\x00" * 19)


def test_a_hash_is_read_in_lower_case() -> None:
    assert parse_hash("0x" + "AB" * 32) == "0x" + "ab" * 32
    for text in ("", "0x" + "ab" * 31, "0x" + "zz" * 32, "ab" * 33):
        with pytest.raises(InvalidHash):
            parse_hash(text)


def test_signed_bytes_are_not_in_the_repr() -> None:
    signed = SignedTx(hash=TxHash("0x" + "11" * 32), raw=b"\xca\xfe\xca\xfe")
    assert "cafe" not in repr(signed)
    assert "\\xca" not in repr(signed)
