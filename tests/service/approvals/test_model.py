"""From when on a second person is needed."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.units import MAX_UINT256
from contracts.assets import AssetId
from service.approvals.model import InvalidThresholds, Taken, Thresholds, Why, document, parse, stricter_of, why

USDC: Final = AssetId("eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48")
ETH: Final = AssetId("eip155:1/slip44:60")
NOTHING: Final = Taken()
AMOUNTS: Final = st.integers(min_value=0, max_value=1_000)
THRESHOLDS: Final = st.builds(
    Thresholds,
    usd=st.none() | AMOUNTS,
    assets=st.dictionaries(st.sampled_from([USDC, ETH]), AMOUNTS),
)


def asked(thresholds: Thresholds, *, amount: int = 1, usd: int | None = 1, before: Taken = NOTHING) -> Why | None:
    return why(thresholds, {USDC: amount}, usd=usd, before=before)


def test_without_thresholds_nobody_is_asked() -> None:
    assert asked(Thresholds(), amount=10**30, usd=None) is None


def test_what_is_at_a_threshold_is_not_above_it() -> None:
    assert asked(Thresholds(usd=100), usd=100) is None
    assert asked(Thresholds(usd=100), usd=101) is Why.OVER_USD
    assert asked(Thresholds(assets={USDC: 100}), amount=100) is None
    assert asked(Thresholds(assets={USDC: 100}), amount=101) is Why.OVER_AMOUNT


def test_zero_asks_always() -> None:
    assert asked(Thresholds(usd=0)) is Why.OVER_USD
    assert asked(Thresholds(assets={USDC: 0})) is Why.OVER_AMOUNT


def test_a_worth_that_is_not_known_is_above_every_threshold_in_usd() -> None:
    assert asked(Thresholds(usd=MAX_UINT256), usd=None) is Why.WORTH_UNKNOWN


def test_an_assets_own_threshold_says_nothing_of_others() -> None:
    assert asked(Thresholds(assets={ETH: 0}), usd=None) is None


def test_what_left_alone_before_counts_so_that_many_small_ones_are_one_large_one() -> None:
    assert asked(Thresholds(usd=100), usd=40, before=Taken(usd=60)) is None
    assert asked(Thresholds(usd=100), usd=41, before=Taken(usd=60)) is Why.OVER_USD
    assert asked(Thresholds(assets={USDC: 100}), amount=41, before=Taken(amounts={USDC: 60})) is Why.OVER_AMOUNT


@given(one=THRESHOLDS, other=THRESHOLDS, amount=AMOUNTS, usd=st.none() | AMOUNTS)
def test_the_stricter_of_two_asks_whenever_one_of_them_does(
    one: Thresholds, other: Thresholds, amount: int, usd: int | None
) -> None:
    both = stricter_of(one, other)
    either = asked(one, amount=amount, usd=usd) or asked(other, amount=amount, usd=usd)
    assert (asked(both, amount=amount, usd=usd) is None) == (either is None)


@given(thresholds=THRESHOLDS)
def test_what_is_stored_is_read_again(thresholds: Thresholds) -> None:
    assert parse(document(thresholds)) == thresholds


def test_a_form_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidThresholds):
        parse({"assets": {}, "eur": "1"})
    with pytest.raises(InvalidThresholds):
        Thresholds(usd=-1)
