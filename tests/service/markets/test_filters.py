"""Ticks, steps and least notionals by the rule that is written in the module."""

import pytest

from chains.types import Address, ChainId
from chains.units import format_units
from contracts.assets import AssetList, load_assets
from contracts.chainlink import FeedAnswer
from contracts.ratio import Ratio
from service.markets.filters import Filters, coarser, derive, tick_ratio

FEED = Address("0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419")


@pytest.fixture(scope="module")
def assets() -> AssetList:
    return load_assets(ChainId(1))


def _filters(
    assets: AssetList, symbol: str, price: str, *, usd: str | None = "1", before: Filters | None = None
) -> Filters:
    """At a price in whole units, and a feed's answer for one whole unit of quote."""
    market = assets.markets[symbol]
    whole, _, fraction = price.partition(".")
    num, den = int(whole + fraction), 10 ** len(fraction)
    ratio = Ratio.of(num * 10**market.quote.decimals, den * 10**market.base.decimals)
    feed = None
    if usd is not None:
        whole, _, fraction = usd.partition(".")
        feed = FeedAnswer(feed=FEED, answer=int(whole + fraction.ljust(8, "0")), decimals=8, updated_at_s=1)
    return derive(market, price=ratio, quote_usd=feed, before=before)


@pytest.mark.parametrize(
    ("symbol", "price", "tick"),
    [
        ("ETHUSDC", "3000.17", "0.01"),
        ("ETHUSDC", "7999", "0.01"),
        ("ETHUSDC", "8000", "0.1"),
        ("WBTCUSDC", "60000", "0.1"),
        ("WBTCUSDC", "123456789.5", "1000"),
        ("DAIUSDC", "1.0001", "0.00001"),
        ("DAIUSDC", "0.9998", "0.00001"),
        ("DAIUSDC", "0.0000001234", "0.000000000001"),
        ("DAIUSDC", "0." + "0" * 25 + "1", "0.000000000000000001"),
    ],
)
def test_a_tick_leaves_a_price_six_digits(assets: AssetList, symbol: str, price: str, tick: str) -> None:
    assert _filters(assets, symbol, price).tick_text() == tick


@pytest.mark.parametrize(("price", "tick"), [("500", "0.01"), ("19999", "0.01"), ("499", "0.001"), ("20000", "0.1")])
def test_a_published_tick_stays_until_the_price_is_far_from_it(assets: AssetList, price: str, tick: str) -> None:
    published = _filters(assets, "ETHUSDC", "3000")
    assert _filters(assets, "ETHUSDC", price, before=published).tick_text() == tick


@pytest.mark.parametrize(
    ("symbol", "step"), [("ETHUSDC", "0.00000001"), ("USDCUSDT", "0.000001"), ("WBTCETH", "0.00000001")]
)
def test_a_step_is_eight_places_or_what_the_base_asset_has(assets: AssetList, symbol: str, step: str) -> None:
    market = assets.markets[symbol]
    assert format_units(_filters(assets, symbol, "1").step, market.base.decimals) == step


@pytest.mark.parametrize(
    ("symbol", "usd", "least"),
    [
        ("ETHUSDC", "1", "1"),
        ("ETHUSDC", "0.9998", "1"),
        ("ETHUSDC", "1.0002", "1"),
        ("WBTCETH", "3000", "0.001"),
        ("ETHUSDC", None, "0.000001"),
    ],
)
def test_the_least_notional_is_a_power_of_ten_worth_about_a_dollar(
    assets: AssetList, symbol: str, usd: str | None, least: str
) -> None:
    market = assets.markets[symbol]
    assert format_units(_filters(assets, symbol, "20", usd=usd).least_quote, market.quote.decimals) == least


def test_prices_are_whole_numbers_of_ticks(assets: AssetList) -> None:
    filters = _filters(assets, "ETHUSDC", "3000")
    assert filters.price_text(299_926) == "2999.26"
    assert coarser(filters, 100).price_text(2_999) == "2999"
    assert coarser(filters, 1_000).price_text(300) == "3000"


def test_a_tick_in_base_units_is_the_published_one(assets: AssetList) -> None:
    market = assets.markets["ETHUSDC"]
    filters = _filters(assets, "ETHUSDC", "3000")
    assert tick_ratio(market, filters) == Ratio.of(10**4, 10**18)
    assert tick_ratio(market, coarser(filters, 1_000)) == Ratio.of(10**7, 10**18)


def test_a_feed_that_is_silent_for_a_moment_leaves_the_least_notional_as_it_was(assets: AssetList) -> None:
    market, price = assets.markets["ETHUSDC"], Ratio.of(3_000 * 10**6, 10**18)
    usd = FeedAnswer(feed=FEED, answer=10**8, decimals=8, updated_at_s=1)
    published = derive(market, price=price, quote_usd=usd)
    assert derive(market, price=price, quote_usd=None, before=published) == published
