"""Mnemonics as every wallet derives them, and none of their words in an error."""

import pytest

from chains.errors import SigningError
from chains.signing.mnemonic import derive, generate
from chains.signing.signer import UnlockedKey

PUBLIC = "test test test test test test test test test test test junk"
"""The mnemonic of every development chain."""


@pytest.mark.parametrize(
    ("index", "address"),
    [
        (0, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        (1, "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        (9, "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"),
    ],
)
def test_the_addresses_of_the_development_mnemonic_are_the_known_ones(index: int, address: str) -> None:
    assert UnlockedKey(derive(PUBLIC, index)).address == address


def test_blanks_and_case_do_not_matter_but_the_passphrase_does() -> None:
    assert derive("  " + PUBLIC.upper().replace(" ", " \n ")) == derive(PUBLIC)
    assert derive(PUBLIC, passphrase="x") != derive(PUBLIC)


@pytest.mark.parametrize("words", [12, 24])
def test_new_words_are_valid_and_not_the_same_twice(words: int) -> None:
    first, second = generate(words), generate(words)  # type: ignore[arg-type]
    assert len(first.split()) == words
    assert first != second
    assert len(derive(first)) == 32


def test_other_lengths_are_not_made() -> None:
    with pytest.raises(ValueError, match="12 or 24"):
        generate(15)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "words", [PUBLIC.replace("junk", "test"), PUBLIC.replace("junk", "zebra zebra"), "canary", "", "test " * 11]
)
def test_invalid_words_are_refused_without_being_repeated(words: str) -> None:
    with pytest.raises(SigningError) as caught:
        derive(words)
    error: BaseException | None = caught.value
    while error is not None:
        assert "zebra" not in str(error)
        assert "canary" not in str(error)
        error = error.__context__


@pytest.mark.parametrize("index", [-1, 2**31])
def test_an_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(SigningError, match="index"):
        derive(PUBLIC, index)
