"""Bodies and answers of the order routes."""

from typing import Annotated, Literal

from pydantic import Field

from service.markets.schemas import (
    Amount,
    AmountText,
    BlockNumber,
    ChainKey,
    Document,
    HashText,
    MarketName,
    Millis,
    PriceText,
    QuoteOut,
    Route,
    VenueName,
)

CLIENT_ID = r"^[A-Za-z0-9_-]{1,64}$"

BaseText = Annotated[str, Field(examples=["0.25"])]
PriceIn = Annotated[str, Field(min_length=1, max_length=160)]
QuoteText = Annotated[str, Field(examples=["749.609427"])]


TypeName = Literal["market", "limit", "limit_maker", "stop_loss_limit", "take_profit_limit"]
TimeInForceName = Literal["gtc", "ioc", "fok"]


class OrderIn(Document):
    """An order. A market order is fixed by exactly one of `base_amount` and `quote_amount`, others by `base_amount`."""

    market: str = Field(max_length=48, examples=["ETHUSDC"])
    side: Literal["buy", "sell"]
    type: TypeName = "market"
    time_in_force: TimeInForceName | None = Field(default=None, examples=[None])
    """Of a limit order. `gtc`: it rests until it trades as a whole; `ioc`: what fits inside the limit now; `fok`: all
    of it now or nothing. Other types that rest are `gtc`."""
    base_amount: AmountText | None = None
    quote_amount: AmountText | None = Field(default=None, examples=[None])
    price: PriceIn | None = Field(default=None, examples=[None])
    """Limit price: quote for one unit of base, on the market's tick."""
    stop_price: PriceIn | None = Field(default=None, examples=[None])
    """The ticker's mid price at which a stop order becomes a limit order."""
    expires_ms: Millis | None = Field(default=None, examples=[None])
    """When it stops resting."""
    count_gas: bool | None = Field(default=None, examples=[None])
    """Whether the gas, valued in quote, counts as part of the price; a setting of the service by default."""
    slippage_bps: int | None = Field(default=None, ge=0, le=10_000, examples=[50])
    """How much worse than the quote the swap may be, in basis points; enforced on the chain."""
    max_price_impact_bps: int | None = Field(default=None, ge=0, le=10_000, examples=[100])
    venue: VenueName | None = Field(default=None, examples=[None])
    """Trade through this protocol only; without it the best price among all chooses."""
    client_order_id: str | None = Field(default=None, pattern=CLIENT_ID, examples=["my-order-1"])
    """Unique for ever. The same id with the same order answers with that order, and never trades twice."""


class Limit(Document):
    max_sold: BaseText
    sold_asset: str = Field(examples=["ETH"])
    min_bought: str = Field(examples=["745.861379"])
    bought_asset: str = Field(examples=["USDC"])


class QuotedBlock(Document):
    number: BlockNumber
    hash: HashText


class Quoted(Document):
    """The quote that the order was accepted on."""

    sell: BaseText
    buy: QuoteText
    price: PriceText | None
    mid_price: PriceText | None
    price_impact_bps: int = Field(examples=[3])
    route: Route
    block: QuotedBlock


class StepOut(Document):
    """One transaction of a try of the order: approvals first, the swap last."""

    of_try: int = Field(examples=[1])
    """From 1; an order that rests may be tried several times."""
    position: int = Field(examples=[0])
    state: str = Field(examples=["confirmed"])
    outcome: Literal["none", "succeeded", "reverted", "cancelled"]
    nonce: int | None = Field(examples=[48])
    tx_hash: HashText | None
    block_number: BlockNumber | None


class FillOut(Document):
    tx_hash: HashText
    block_number: BlockNumber
    block_hash: HashText
    base: BaseText
    quote: QuoteText
    gas: Amount
    reversal: bool
    """True for what undoes an earlier fill after a deep reorg."""


class OrderOut(Document):
    id: int = Field(examples=[42])
    client_order_id: str = Field(examples=["my-order-1"])
    chain: ChainKey
    market: MarketName
    side: Literal["buy", "sell"]
    type: TypeName
    time_in_force: TimeInForceName | None = Field(examples=[None])
    state: Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED"]
    reason: str | None = Field(examples=[None])
    """Why it is so; of an order that rests, why its last try came to nothing."""
    expiry_reason: str | None = Field(examples=[None])
    """What an exchange calls it, of an expired order."""
    resting: bool
    """Whether it waits in the service's book, with nothing of it on its way to the chain."""
    base_amount: BaseText | None
    quote_amount: str | None = Field(examples=[None])
    price: PriceText | None
    stop_price: PriceText | None
    count_gas: bool | None = Field(examples=[None])
    slippage_bps: int = Field(examples=[50])
    limit: Limit
    filled_base: BaseText
    filled_quote: QuoteText
    average_price: PriceText | None
    gas: Amount
    lp_fee: Amount | None
    """What the pools kept of the sold asset; it is inside the price."""
    quoted: Quoted | None
    tries: int = Field(examples=[1])
    retry_after_ms: Millis | None
    triggered_ms: Millis | None
    expires_ms: Millis | None
    created_ms: Millis
    updated_ms: Millis


class OrderPage(OrderOut):
    """One order with its transactions and fills."""

    transactions: list[StepOut]
    fills: list[FillOut]


class Orders(Document):
    orders: list[OrderOut]
    unusable: list[str] = Field(
        examples=[[]],
        description="Ids of orders whose rows make no sense, something else has written them: nothing is signed.",
    )


class OrderTested(Document):
    """What the order would do. Nothing was written or sent."""

    outcome: Literal["trade", "rest", "expire"]
    """Whether it would trade now, rest, or expire at once (`reason` says why)."""
    reason: str | None = Field(examples=[None])
    quote: QuoteOut | None
    """Of the size that would trade now, or of the whole one; None where the pools cannot fill it."""


class CancelledOrders(Document):
    cancelled: list[OrderOut]
    being_executed: list[OrderOut]
    """Open orders of which a transaction has its nonce: the chain decides about them."""
    unusable: list[str] = Field(
        examples=[[]], description="Ids of open orders whose rows make no sense: what rested of them has ended too."
    )


class ReplaceIn(Document):
    """Which order is to be cancelled (by exactly one id), and the one that comes in its place."""

    cancel_order_id: int | None = Field(default=None, ge=1, le=2**53 - 1, examples=[42])
    cancel_client_order_id: str | None = Field(default=None, pattern=CLIENT_ID, examples=[None])
    mode: Literal["stop_on_failure", "allow_failure"] = "stop_on_failure"
    order: OrderIn


class Refusal(Document):
    """Why a half of it was refused."""

    code: str = Field(examples=["order_being_executed"])
    detail: str = Field(examples=["order 42 is being executed on the chain and can no longer be cancelled"])
    hint: str = Field(examples=["Look at it again; the chain decides."])


class ReplacedOut(Document):
    """What became of both halves; with `stop_on_failure` there are no errors in it, since then nothing changes."""

    cancelled: OrderOut | None
    cancel_error: Refusal | None
    placed: OrderOut | None
    place_error: Refusal | None


class OrderFillOut(FillOut):
    """A fill with the order that it is of."""

    id: int = Field(examples=[7])
    order_id: int = Field(examples=[42])
    client_order_id: str = Field(examples=["my-order-1"])
    chain: ChainKey
    market: MarketName
    side: Literal["buy", "sell"]
    price: PriceText | None
    created_ms: Millis


class Fills(Document):
    fills: list[OrderFillOut]
