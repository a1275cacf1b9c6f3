"""How a ticker is shown: the top of the book, the day, the reference, and what could not be read."""

from typing import Any

import pytest

from chains.types import Address
from contracts.chainlink import FeedAnswer
from contracts.ratio import Ratio
from service.markets.book import Book, Level
from service.markets.probing import Routed, probe_size
from service.markets.ticker import Ticker, ticker_document
from tests.service.markets.test_book import ASSETS, ETHUSDC, filters

FEED = Address("0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419")
DAY: dict[str, Any] = {"last": "3001.5", "open": "2990"}
BOOK = Book(
    market=ETHUSDC,
    filters=filters(),
    bids=(Level(ticks=299_850, base=10**18, quote=2_998_500_000),),
    asks=(Level(ticks=300_151, base=25 * 10**17, quote=7_503_775_000),),
)


def feed(answer: int, *, updated_at_s: int = 1_767_225_590) -> FeedAnswer:
    return FeedAnswer(feed=FEED, answer=answer, decimals=8, updated_at_s=updated_at_s)


def test_bid_and_ask_are_the_top_of_the_book_with_their_amounts() -> None:
    ticker = Ticker(market=ETHUSDC, book=BOOK, mid=Ratio.of(3_000_005 * 10**3, 10**18))
    shown = ticker_document(ticker, day=DAY, now_ms=0)
    assert (shown["bid"], shown["bid_amount"]) == ("2998.5", "1")
    assert (shown["ask"], shown["ask_amount"]) == ("3001.51", "2.5")
    assert (shown["mid"], shown["last"], shown["day"]) == ("3000.005", "3001.5", DAY)
    assert (shown["status"], shown["problem"]) == ("ok", None)


def test_a_market_that_could_not_be_read_is_unknown_with_its_reason_and_has_no_prices() -> None:
    shown = ticker_document(Ticker(market=ETHUSDC, problem="no_pool"), day=None, now_ms=0)
    assert (shown["status"], shown["problem"]) == ("unknown", "no_pool")
    assert [shown[name] for name in ("bid", "ask", "mid", "last", "day", "reference")] == [None] * 6


def test_a_book_with_one_side_is_no_price() -> None:
    half = Book(market=ETHUSDC, filters=filters(), bids=BOOK.bids, asks=())
    shown = ticker_document(Ticker(market=ETHUSDC, book=half, problem="no_liquidity"), day=None, now_ms=0)
    assert (shown["status"], shown["bid"], shown["ask"]) == ("unknown", "2998.5", None)


def test_the_reference_is_the_ratio_of_two_feeds_and_as_old_as_the_older() -> None:
    reference = (feed(3000 * 10**8, updated_at_s=100), feed(10**8, updated_at_s=90))
    shown = ticker_document(Ticker(market=ETHUSDC, reference=reference), day=None, now_ms=101_000)
    assert shown["reference"] == {"source": "chainlink", "price": "3000", "age_ms": 11_000}


def test_a_market_without_its_own_pool_shows_what_the_probe_trades_at() -> None:
    routed = Routed(
        amount=3 * 10**16,
        bid=Ratio.of(2_990 * 10**6, 10**18),
        ask=Ratio.of(3_010 * 10**6, 10**18),
        mid=Ratio.of(3_000 * 10**6, 10**18),
    )
    shown = ticker_document(Ticker(market=ETHUSDC, routed=routed, problem="no_pool"), day=None, now_ms=0)
    assert (shown["status"], shown["problem"], shown["bid_amount"]) == ("routed", "no_pool", "0.03")
    assert (shown["bid"], shown["mid"], shown["ask"]) == ("2990", "3000", "3010")


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
