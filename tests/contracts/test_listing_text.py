"""Names that deceive."""

# ruff: noqa: RUF001 - ambiguous letters are what is tested

import pytest

from chains.types import Address, ChainId
from contracts.assets import load_assets
from contracts.listing_text import look_alikes, shown, skeleton, text_problem, unusual_text

ASSETS = load_assets(ChainId(1))
ELSEWHERE = Address("0x1f9840a85d5aF5bf1D1762F925BDADdC4201F984")


@pytest.mark.parametrize("text", ["USDC", "usdc", "UЅDС", "ＵＳＤＣ", "ÚSDC", "U$DC", "U.S.D.C", "U5DC"])
def test_what_looks_alike_has_one_skeleton(text: str) -> None:
    assert skeleton(text) == skeleton("USDC")


@pytest.mark.parametrize(
    ("one", "other"), [("W0BTC", "WOBTC"), ("L1NK", "LINK"), ("LlNK", "LINK"), ("modem", "rnodern")]
)
def test_digits_and_strokes_are_taken_for_letters(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize("text", ["USDT", "USD", "USDCE", "DAI"])
def test_other_symbols_have_other_skeletons(text: str) -> None:
    assert skeleton(text) != skeleton("USDC")


@pytest.mark.parametrize("text", ["US\u202eDC", "USDC\u200b", "US\u0000DC", "\u2066USDC", "USDC "])
def test_text_that_hides_something_is_a_problem(text: str) -> None:
    assert text_problem(text) is not None
    assert all(one.isprintable() for one in shown(text))


@pytest.mark.parametrize("text", ["USDC", "USDC.e", "Wrapped Ether (PoS)", "USD₮0", "Ethereum Ξ"])
def test_ordinary_text_is_none(text: str) -> None:
    assert text_problem(text) is None


def test_letters_that_are_not_ascii_and_long_texts_are_looked_at_twice() -> None:
    assert unusual_text("USDС", longest=16) == "has letters that are not ASCII: С (U+0421)"
    assert unusual_text("X" * 17, longest=16) == "has 17 characters"
    assert unusual_text("USDC", longest=16) is None
    assert shown("X" * 70_000) == "X" * 64 + "..."


@pytest.mark.parametrize(
    ("symbol", "name", "says"),
    [
        ("USDC", None, "the symbol 'USDC' is that of the listed USDC"),
        ("USDС", None, "the symbol 'USDС' looks like USDC"),
        ("OTHER", "Wrapped  Éther", "is that of WETH"),
        ("WBTС", "Wrapped BTC", "looks like WBTC"),
    ],
)
def test_a_token_that_may_be_taken_for_a_listed_one_is_named(symbol: str, name: str | None, says: str) -> None:
    found = look_alikes(ASSETS, address=ELSEWHERE, texts=[symbol], name=name)
    assert any(says in one for one in found)


def test_an_address_mined_to_look_like_a_listed_one_is_named() -> None:
    usdc = ASSETS.by_symbol("USDC").token_address
    mined = Address(usdc[:6] + "1" * 32 + usdc[-4:].lower())
    assert look_alikes(ASSETS, address=mined, texts=["XYZ"]) == [
        f"the address begins and ends like that of USDC, {usdc}"
    ]
    assert look_alikes(ASSETS, address=ELSEWHERE, texts=["XYZ"], name="Xyz") == []


def test_a_listed_token_is_not_its_own_look_alike() -> None:
    usdc = ASSETS.by_symbol("USDC")
    assert look_alikes(ASSETS, address=usdc.token_address, texts=["USDC"], name=usdc.name) == []
