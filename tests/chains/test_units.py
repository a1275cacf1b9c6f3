"""Amounts are exact: what cannot be represented is refused, and rounding says its direction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.units import (
    MAX_UINT256,
    InvalidAmount,
    format_units,
    less_bps,
    mul_div,
    mul_div_up,
    parse_units,
    plus_bps,
)


@pytest.mark.parametrize(
    ("text", "decimals", "raw"),
    [
        ("0", 18, 0),
        ("1", 0, 1),
        ("1.5", 6, 1_500_000),
        ("0.000000000000000001", 18, 1),
        ("1.10", 1, 11),
        ("1.000000000", 6, 1_000_000),
        ("115792089237316195423570985008687907853269984665640564039457.584007913129639935", 18, MAX_UINT256),
    ],
)
def test_plain_decimals_are_read_exactly(text: str, decimals: int, raw: int) -> None:
    assert parse_units(text, decimals) == raw


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1e18",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1\n",
        "01",
        ".5",
        "5.",
        "1,000",
        "1_000",
        "0x10",
        "NaN",
        "Infinity",
        "\uff11",
        "1.2.3",
        "0.0000001",
        "9" * 79,
        str(MAX_UINT256),
    ],
)
def test_other_texts_are_not_amounts(text: str) -> None:
    """F58"""
    with pytest.raises(InvalidAmount):
        parse_units(text, 6)


@given(raw=st.integers(0, MAX_UINT256), decimals=st.integers(0, 36))
def test_text_and_base_units_are_inverse(raw: int, decimals: int) -> None:
    assert parse_units(format_units(raw, decimals), decimals) == raw


@pytest.mark.parametrize(
    ("raw", "decimals", "text"),
    [(0, 18, "0"), (1, 18, "0.000000000000000001"), (1_500_000, 6, "1.5"), (-1_500_000, 6, "-1.5"), (100, 0, "100")],
)
def test_base_units_are_written_in_fixed_point(raw: int, decimals: int, text: str) -> None:
    assert format_units(raw, decimals) == text


@given(a=st.integers(0, MAX_UINT256), b=st.integers(0, MAX_UINT256), d=st.integers(1, MAX_UINT256))
def test_the_two_divisions_enclose_the_quotient(a: int, b: int, d: int) -> None:
    assert mul_div(a, b, d) * d <= a * b <= mul_div_up(a, b, d) * d
    assert mul_div_up(a, b, d) - mul_div(a, b, d) in (0, 1)


@given(amount=st.integers(0, MAX_UINT256), bps=st.integers(0, 10_000))
def test_slippage_is_never_looser_than_asked(amount: int, bps: int) -> None:
    assert less_bps(amount, bps) * 10_000 >= amount * (10_000 - bps)
    assert plus_bps(amount, bps) * 10_000 <= amount * (10_000 + bps)
