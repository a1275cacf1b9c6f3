"""What was read of a market's history as documents for clients: base units and ratios become decimal text here."""

from collections.abc import Mapping
from typing import Any, Final

from chains.units import format_units
from contracts.assets import Market
from contracts.ratio import Ratio
from service.errors import ApiError
from service.markets.history.model import Candle, FollowedPool, HistoryHead
from service.markets.history.reading import Day, Extent, MarketTrade
from service.markets.prices import bps_between, ratio_text

HISTORY_NOT_READY: Final = "history_not_ready"


def head_of(extent: Extent) -> HistoryHead:
    """Raises: ApiError: history_not_ready, since nothing was written yet of this chain."""
    if extent.head is None:
        raise ApiError(HISTORY_NOT_READY, "no block of this chain's history is written yet")
    return extent.head


def block_document(extent: Extent, *, now_ms: int) -> dict[str, Any]:
    """Up to which block. Raises: ApiError: history_not_ready."""
    head = head_of(extent)
    return {"number": head.number, "hash": head.hash, "age_ms": max(0, now_ms - head.time_ms)}


def trade_document(market: Market, seen: MarketTrade, *, pools: Mapping[int, FollowedPool]) -> dict[str, Any]:
    pool = pools[seen.trade.pool_id]
    return {
        "id": seen.id,
        "time_ms": seen.time_ms,
        "price": price_text(market, Ratio.of(seen.quote, seen.base)),
        "base": format_units(seen.base, market.base.decimals),
        "quote": format_units(seen.quote, market.quote.decimals),
        "is_buyer_maker": seen.taker_sold,
        "tx_hash": seen.trade.tx_hash,
        "venue": str(pool.venue),
        "pool": pool.address,
    }


def candle_document(market: Market, candle: Candle, *, head: HistoryHead) -> dict[str, Any]:
    """Of a candle in the market's direction."""
    close_ms = candle.end_s * 1000 - 1
    return {
        "open_ms": candle.start_s * 1000,
        "close_ms": close_ms,
        "open": price_text(market, candle.open),
        "high": price_text(market, candle.high),
        "low": price_text(market, candle.low),
        "close": price_text(market, candle.close),
        "base_volume": format_units(candle.volume0, market.base.decimals),
        "quote_volume": format_units(candle.volume1, market.quote.decimals),
        "trades": candle.count,
        "taker_buy_base": format_units(candle.volume0 - candle.sold0, market.base.decimals),
        "taker_buy_quote": format_units(candle.volume1 - candle.sold1, market.quote.decimals),
        "first_id": candle.first_id,
        "last_id": candle.last_id,
        "is_closed": close_ms < head.time_ms,
    }


def day_document(market: Market, day: Day, *, now_ms: int) -> dict[str, Any]:
    """Raises: ApiError: history_not_ready."""
    traded, last = day.trades, day.last
    document: dict[str, Any] = {
        "from_ms": day.from_ms,
        "to_ms": day.to_ms,
        "open": None,
        "high": None,
        "low": None,
        "last": None if last is None else price_text(market, last),
        "change": None,
        "change_bps": None,
        "base_volume": "0",
        "quote_volume": "0",
        "trades": 0,
        "first_id": None,
        "last_id": None,
        "block": block_document(day.extent, now_ms=now_ms),
        "complete_from_ms": day.extent.complete_from_ms,
    }
    if traded is None:
        return document
    return document | {
        "open": price_text(market, traded.open),
        "high": price_text(market, traded.high),
        "low": price_text(market, traded.low),
        "change": _change_text(market, traded),
        "change_bps": bps_between((traded.close.num, traded.close.den), (traded.open.num, traded.open.den)),
        "base_volume": format_units(traded.volume0, market.base.decimals),
        "quote_volume": format_units(traded.volume1, market.quote.decimals),
        "trades": traded.count,
        "first_id": traded.first_id,
        "last_id": traded.last_id,
    }


def price_text(market: Market, price: Ratio) -> str:
    """Quote base units for a base unit of base, as whole units for a whole unit."""
    return ratio_text(price.num * 10**market.base.decimals, price.den * 10**market.quote.decimals)


def _change_text(market: Market, traded: Candle) -> str:
    """The last price less the first, signed."""
    before, after = traded.open, traded.close
    difference = after.num * before.den - before.num * after.den
    scale, over = 10**market.base.decimals, after.den * before.den * 10**market.quote.decimals
    return ("-" if difference < 0 else "") + ratio_text(abs(difference) * scale, over)
