"""Prices as text, from integers alone."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.markets.prices import SIGNIFICANT, bps_between, price_text, ratio_text


@pytest.mark.parametrize(
    ("numerator", "denominator", "text"),
    [
        (0, 7, "0"),
        (1, 3, "0.333333333333"),
        (2, 3, "0.666666666666"),
        (1, 8, "0.125"),
        (3000, 1, "3000"),
        (29984377, 10_000, "2998.4377"),
        (10**30, 1, "1" + "0" * 30),
        (1, 10**20, "0.00000000000000000001"),
    ],
)
def test_a_ratio_is_shown_to_twelve_digits_and_truncated(numerator: int, denominator: int, text: str) -> None:
    assert ratio_text(numerator, denominator) == text


@given(st.integers(1, 2**256), st.integers(1, 2**256))
def test_a_ratio_is_never_above_the_exact_value_and_close_to_it(numerator: int, denominator: int) -> None:
    with localcontext(prec=200):
        shown, exact = Decimal(ratio_text(numerator, denominator)), Decimal(numerator) / Decimal(denominator)
        assert shown <= exact
        if exact > Decimal(10) ** -40:
            assert exact - shown <= exact * Decimal(10) ** (1 - SIGNIFICANT)


def test_a_price_accounts_for_the_decimals_of_both_assets() -> None:
    one_eth_for_2998_usdc = price_text(base_raw=10**18, base_decimals=18, quote_raw=2_998_437_709, quote_decimals=6)
    assert one_eth_for_2998_usdc == "2998.437709"


def test_nothing_traded_has_no_price() -> None:
    assert price_text(base_raw=0, base_decimals=18, quote_raw=5, quote_decimals=6) is None


@pytest.mark.parametrize(
    ("value", "reference", "bps"),
    [((101, 100), (1, 1), 100), ((99, 100), (1, 1), -100), ((1, 1), (1, 1), 0), ((1, 2), (1, 1), -5000)],
)
def test_a_deviation_is_signed_basis_points(value: tuple[int, int], reference: tuple[int, int], bps: int) -> None:
    assert bps_between(value, reference) == bps


def test_a_ratio_over_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive denominator"):
        ratio_text(1, 0)
