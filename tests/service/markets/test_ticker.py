"""The probe of a ticker, and how a ticker is shown when it could not be read."""

import pytest

from chains.types import Address, ChainId
from contracts.assets import load_assets
from contracts.chainlink import FeedAnswer
from service.markets.ticker import Ticker, probe_size, ticker_document

ASSETS = load_assets(ChainId(1))
FEED = Address("0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419")


def feed(answer: int, *, updated_at_s: int = 1_767_225_590) -> FeedAnswer:
    return FeedAnswer(feed=FEED, answer=answer, decimals=8, updated_at_s=updated_at_s)


@pytest.mark.parametrize(
    ("symbol", "usd", "probe"),
    [
        ("ETH", 2990 * 10**8, 3 * 10**16),
        ("WBTC", 61_234 * 10**8, 10**5),
        ("USDC", 10**8, 10**8),
        ("DAI", 99_950_000, 10**20),
    ],
)
def test_the_probe_is_worth_about_a_hundred_dollars_in_one_digit(symbol: str, usd: int, probe: int) -> None:
    assert probe_size(ASSETS.by_symbol(symbol), feed(usd)) == probe


def test_without_a_feed_the_probe_is_one_whole_unit() -> None:
    assert probe_size(ASSETS.by_symbol("WBTC"), None) == 10**8


def test_a_probe_is_never_nothing() -> None:
    assert probe_size(ASSETS.by_symbol("USDC"), feed(10**40)) == 1


def test_a_market_that_could_not_be_read_is_unknown_with_its_reason_and_has_no_prices() -> None:
    ticker = Ticker(market=ASSETS.markets["ETHUSDC"], probe=10**17, problem="NoRoute")
    shown = ticker_document(ticker, now_ms=0)
    assert (shown["status"], shown["problem"]) == ("unknown", "NoRoute")
    assert (shown["bid"], shown["ask"], shown["mid"], shown["reference"]) == (None, None, None, None)


def test_the_reference_is_the_ratio_of_two_feeds_and_as_old_as_the_older() -> None:
    reference = (feed(3000 * 10**8, updated_at_s=100), feed(10**8, updated_at_s=90))
    ticker = Ticker(market=ASSETS.markets["ETHUSDC"], probe=1, reference=reference, problem="x")
    shown = ticker_document(ticker, now_ms=101_000)
    assert shown["reference"] == {"source": "chainlink", "price": "3000", "age_ms": 11_000}
