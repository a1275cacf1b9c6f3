"""Answers of the history routes. Amounts and prices are decimal text."""

from typing import Annotated, Literal

from pydantic import Field

from service.markets.schemas import AddressText, Block, ChainKey, Document, HashText, MarketName, Millis, PriceText

IntervalName = Literal["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"]
"""`service.markets.history.candles.INTERVALS` as a client writes them; a test holds the two equal."""
TradeId = Annotated[int, Field(examples=[23_900_000_000_123])]
"""Grows along the chain, below 2^53: block number x 1,000,000 + log index."""
Quantity = Annotated[str, Field(examples=["0.25"])]
CompleteFrom = Annotated[
    Millis | None,
    Field(description="Since when no trade is missing; earlier ones may be. None: since the chain's first block."),
]


class TradeOut(Document):
    """One swap in one pool, as its taker saw it: what he paid and got, the pool's fee inside the price."""

    id: TradeId
    time_ms: Millis
    price: PriceText
    base: Quantity
    quote: Quantity
    is_buyer_maker: bool = Field(description="The taker sold: base went into the pool.")
    tx_hash: HashText
    venue: str = Field(examples=["uniswap_v3"])
    pool: AddressText


class TradesOut(Document):
    chain: ChainKey
    market: MarketName
    block: Block
    """Up to here, one block below the chain's head."""
    complete_from_ms: CompleteFrom
    trades: list[TradeOut]
    """Oldest first."""


class CandleOut(Document):
    """What was traded from `open_ms` to `close_ms`, both included. Flat where nothing was: the last price before."""

    open_ms: Millis
    close_ms: Millis
    open: PriceText
    high: PriceText
    low: PriceText
    close: PriceText
    base_volume: Quantity
    quote_volume: Quantity
    trades: int = Field(examples=[42])
    taker_buy_base: Quantity
    taker_buy_quote: Quantity
    first_id: TradeId
    last_id: TradeId
    is_closed: bool = Field(description="The block that this answer goes up to is later: only a reorg changes it now.")


class CandlesOut(Document):
    chain: ChainKey
    market: MarketName
    interval: IntervalName
    block: Block
    complete_from_ms: CompleteFrom
    candles: list[CandleOut]
    """Oldest first, without a gap between."""


class DayOut(Document):
    """The 24 hours up to now. Prices are None where there was no trade in them, `last` where there never was one."""

    from_ms: Millis
    to_ms: Millis
    open: PriceText | None
    high: PriceText | None
    low: PriceText | None
    last: PriceText | None
    change: str | None = Field(examples=["-12.5"])
    change_bps: int | None = Field(examples=[-41])
    base_volume: Quantity
    quote_volume: Quantity
    trades: int = Field(examples=[5_210])
    first_id: TradeId | None
    last_id: TradeId | None
    block: Block
    complete_from_ms: CompleteFrom
