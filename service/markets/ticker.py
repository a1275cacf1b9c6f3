"""Tickers as an exchange has them: best bid and ask of the book with their amounts, mid price, last trade, 24 hours.

Bid and ask are the top of the synthetic book (`service.markets.book`), the pools' fees inside; the mid price is the
middle between what the first unit costs either way, unrounded; last and the day come from the market's history. A
market without a pool of its own is `routed`: what a small amount trades at by the best route (`probing`).

Guarantees: all prices of an answer belong to the block it names; a market that could not be read is `unknown` with a
reason, never left out and never zero. Not guaranteed: that a feed's price (`reference`) is fresh: it has its age.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chains.units import format_units
from contracts.assets import Market
from contracts.chainlink import FeedAnswer
from contracts.ratio import Ratio
from service.markets.book import Book
from service.markets.prices import market_ratio_text, ratio_text
from service.markets.probing import Routed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticker:
    """One market at a block. `problem` is set, and the prices are not, when it could not be read."""

    market: Market
    book: Book | None = None
    routed: Routed | None = None
    """Instead of a book, where the market has no pool of its own."""
    mid: Ratio | None = None
    reference: tuple[FeedAnswer, FeedAnswer] | None = None
    problem: str | None = None


def ticker_document(ticker: Ticker, *, day: Mapping[str, Any] | None, now_ms: int) -> dict[str, Any]:
    """The ticker as clients see it; `day` is the market's last 24 hours, None where its history is not kept."""
    return {
        "market": ticker.market.symbol,
        "problem": ticker.problem,
        **(_top_of_book(ticker) if ticker.routed is None else _probed(ticker.market, ticker.routed)),
        "last": None if day is None else day["last"],
        "day": day,
        "reference": None if ticker.reference is None else _reference(ticker.reference, now_ms=now_ms),
    }


def _top_of_book(ticker: Ticker) -> dict[str, Any]:
    market, book = ticker.market, ticker.book
    bids = () if book is None else book.bids
    asks = () if book is None else book.asks
    return {
        "status": "ok" if bids and asks else "unknown",
        "bid": book.filters.price_text(bids[0].ticks) if book is not None and bids else None,
        "bid_amount": format_units(bids[0].base, market.base.decimals) if bids else None,
        "ask": book.filters.price_text(asks[0].ticks) if book is not None and asks else None,
        "ask_amount": format_units(asks[0].base, market.base.decimals) if asks else None,
        "mid": None if ticker.mid is None else market_ratio_text(ticker.mid, market),
    }


def _probed(market: Market, routed: Routed) -> dict[str, Any]:
    amount = format_units(routed.amount, market.base.decimals)
    return {
        "status": "routed",
        "bid": market_ratio_text(routed.bid, market),
        "bid_amount": amount,
        "ask": market_ratio_text(routed.ask, market),
        "ask_amount": amount,
        "mid": market_ratio_text(routed.mid, market),
    }


def _reference(feeds: tuple[FeedAnswer, FeedAnswer], *, now_ms: int) -> dict[str, Any]:
    base, quote = feeds
    oldest_ms = min(base.updated_at_s, quote.updated_at_s) * 1000
    return {
        "source": "chainlink",
        "price": ratio_text(base.answer * 10**quote.decimals, quote.answer * 10**base.decimals),
        "age_ms": max(0, now_ms - oldest_ms),
    }
