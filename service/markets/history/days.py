"""The last 24 hours of several markets, for their tickers."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from contracts.assets import AssetList, Market
from service.markets.history.documents import day_document
from service.markets.history.reading import read_day


def day_documents(
    c: Connection, assets: AssetList, wanted: Sequence[Market], *, now_ms: int
) -> Mapping[str, Mapping[str, Any] | None]:
    """By the markets' symbols; None while nothing is written of the chain's history. In a read of the database."""
    days = {market.symbol: read_day(c, assets, market, now_ms=now_ms) for market in wanted}
    return {
        market.symbol: None
        if days[market.symbol].extent.head is None
        else day_document(market, days[market.symbol], now_ms=now_ms)
        for market in wanted
    }
