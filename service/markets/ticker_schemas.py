"""The answer of the ticker route."""

from typing import Literal

from pydantic import Field

from service.markets.history.schemas import DayOut
from service.markets.schemas import Block, ChainKey, Document, MarketName, Millis, PriceText, Reference


class TickerOut(Document):
    market: MarketName
    status: Literal["ok", "routed", "unknown"]
    """`routed`: the market has no pool of its own; bid and ask are what a small amount trades at by the best route."""
    problem: str | None = Field(examples=[None])
    """Why there is no book: `no_pool`, `no_liquidity` or `block_moved` (ask again)."""
    bid: PriceText | None
    bid_amount: str | None = Field(examples=["0.41"])
    """Base at that price. Bid and ask are the top of `/depth`, pool fees inside."""
    ask: PriceText | None
    ask_amount: str | None = Field(examples=["0.41"])
    mid: PriceText | None
    last: PriceText | None
    day: DayOut | None
    """None where the market's history is not kept yet."""
    reference: Reference | None


class Tickers(Document):
    chain: ChainKey
    block: Block
    checked_ms: Millis
    """When the node last said that this block is its head."""
    tickers: list[TickerOut]
