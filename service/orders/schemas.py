"""Bodies and answers of the order routes."""

from typing import Literal

from pydantic import Field

from service.markets.schemas import Amount, AmountText, Document, QuoteOut, Route

CLIENT_ID = r"^[A-Za-z0-9_-]{1,64}$"


class OrderIn(Document):
    """A market order. Exactly one of `base_amount` and `quote_amount` fixes it."""

    market: str = Field(max_length=48, examples=["ETHUSDC"])
    side: Literal["buy", "sell"]
    type: Literal["market"] = "market"
    base_amount: AmountText | None = None
    quote_amount: AmountText | None = None
    slippage_bps: int | None = Field(default=None, ge=0, le=10_000, examples=[50])
    """How much worse than the quote the swap may be, in basis points; enforced on the chain."""
    max_price_impact_bps: int | None = Field(default=None, ge=0, le=10_000)
    client_order_id: str | None = Field(default=None, pattern=CLIENT_ID, examples=["my-order-1"])
    """Unique for ever. The same id with the same order answers with that order, and never trades twice."""


class Limit(Document):
    max_sold: str
    sold_asset: str
    min_bought: str
    bought_asset: str


class QuotedBlock(Document):
    number: int
    hash: str


class Quoted(Document):
    """The quote that the order was accepted on."""

    sell: str
    buy: str
    price: str | None
    mid_price: str | None
    price_impact_bps: int
    route: Route
    block: QuotedBlock


class StepOut(Document):
    """One transaction of the order: approvals first, the swap last."""

    position: int
    state: str
    outcome: Literal["none", "succeeded", "reverted", "cancelled"]
    nonce: int | None
    tx_hash: str | None
    block_number: int | None


class FillOut(Document):
    tx_hash: str
    block_number: int
    block_hash: str
    base: str
    quote: str
    gas: Amount
    reversal: bool
    """True for what undoes an earlier fill after a deep reorg."""


class OrderOut(Document):
    id: int
    client_order_id: str
    chain: str
    market: str
    side: Literal["buy", "sell"]
    type: Literal["market"]
    state: Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED"]
    reason: str | None
    base_amount: str | None
    quote_amount: str | None
    slippage_bps: int
    limit: Limit
    filled_base: str
    filled_quote: str
    average_price: str | None
    gas: Amount
    quoted: Quoted
    created_ms: int
    updated_ms: int


class OrderPage(OrderOut):
    """One order with its transactions and fills."""

    transactions: list[StepOut]
    fills: list[FillOut]


class Orders(Document):
    orders: list[OrderOut]


class OrderTested(Document):
    """What the order would do. Nothing was written or sent."""

    quote: QuoteOut
