"""An order as it is stored, its tries, and its states as an exchange names them.

An order **rests** while it is NEW and has no plan. A **try** is one plan of it: a market, IOC or FOK order has one at
most, a resting order one each time that it is triggered. Each try carries its own limits on the chain.

Guarantees: amounts are base units of the asset that the name says. `max_sold` and `min_bought` of a market order are
the limits that its calldata carries; of a limit order they are what its limit price allows for the whole size, and a
try's are never looser (rule 9). Prices are exact: base units of quote for one base unit of base.
Not guaranteed: that the assets are still listed. The decimals needed to show an order are in its `quote` snapshot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from chains.tx.model import PlanId
from chains.types import BlockRef, ChainId, TxHash
from contracts.assets import AssetId
from contracts.deployments import Venue
from contracts.ratio import Ratio
from service.markets.trades import Exact, Side, exact_side


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    LIMIT_MAKER = "limit_maker"
    """Refused when it would trade at once; then rests as a limit order does."""
    STOP_LOSS_LIMIT = "stop_loss_limit"
    TAKE_PROFIT_LIMIT = "take_profit_limit"


class TimeInForce(StrEnum):
    GTC = "gtc"
    """Rests until it trades as a whole, is cancelled, or expires."""
    IOC = "ioc"
    """What can be had now inside the limit, and nothing later."""
    FOK = "fok"
    """All of it now, or nothing."""


STOP_TYPES: Final = frozenset({OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
"""These wait for their stop price first."""


class OrderState(StrEnum):
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


OPEN_STATES: Final = frozenset({OrderState.NEW, OrderState.PARTIALLY_FILLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDraft:
    """An order about to be stored: everything but what the database and the chain decide."""

    account_id: int
    wallet_id: int
    key_id: str
    client_id: str
    params_hash: str
    chain_id: ChainId
    market: str
    base_asset: AssetId
    quote_asset: AssetId
    side: Side
    type: OrderType
    base_amount: int | None
    quote_amount: int | None
    slippage_bps: int
    max_sold: int
    min_bought: int
    quote: Mapping[str, Any]
    time_in_force: TimeInForce | None = None
    price: Ratio | None = None
    price_text: str | None = None
    stop_price: Ratio | None = None
    stop_price_text: str | None = None
    count_gas: bool | None = None
    max_price_impact_bps: int | None = None
    venue: Venue | None = None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A stored order. `gas_wei` is what all transactions of all its plans have paid so far.

    `plan_id`: the plan that carries it out now, or the last one of a closed order; None while it rests. `count_gas`:
    whether the gas, valued in quote, counts as part of the price (None: no limit price). `retry_after_ms`: before it
    nothing is tried again. `triggered_ms`: when its stop price was reached. `mac`: of an open order (`sealing`).
    """

    id: int
    account_id: int
    wallet_id: int
    key_id: str
    client_id: str
    params_hash: str
    chain_id: ChainId
    market: str
    base_asset: AssetId
    quote_asset: AssetId
    side: Side
    type: OrderType
    base_amount: int | None
    quote_amount: int | None
    slippage_bps: int
    max_sold: int
    min_bought: int
    quote: Mapping[str, Any]
    plan_id: PlanId | None
    time_in_force: TimeInForce | None
    price: Ratio | None
    price_text: str | None
    stop_price: Ratio | None
    stop_price_text: str | None
    count_gas: bool | None
    max_price_impact_bps: int | None
    venue: Venue | None
    expires_ms: int | None
    triggered_ms: int | None
    tries: int
    retry_after_ms: int | None
    state: OrderState
    reason: str | None
    filled_base: int
    filled_quote: int
    gas_wei: int
    created_ms: int
    updated_ms: int
    mac: bytes | None = field(default=None, repr=False)

    @property
    def is_resting(self) -> bool:
        """Whether it waits in the service's own book, with nothing of it on its way to the chain."""
        return self.state is OrderState.NEW and self.plan_id is None

    @property
    def may_rest(self) -> bool:
        """Whether a try that came to nothing leaves it resting, rather than closed."""
        return self.time_in_force is TimeInForce.GTC

    @property
    def sold_asset(self) -> AssetId:
        return self.base_asset if self.side is Side.SELL else self.quote_asset

    @property
    def bought_asset(self) -> AssetId:
        return self.quote_asset if self.side is Side.SELL else self.base_asset

    @property
    def exact(self) -> Exact:
        """Whether the fixed amount is of the sold asset (`in`) or of the bought one (`out`)."""
        return exact_side(self.side, base_is_fixed=self.base_amount is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTry:
    """One plan of an order, with the limits and the deadline (seconds) that its swap carries on the chain.

    `number` counts an order's tries from 1; `calls_hash` is the digest of all the plan's calls
    (`service.plans.binding`). Both are None of tries from before there were MACs.
    """

    plan_id: PlanId
    order_id: int
    max_sold: int
    min_bought: int
    deadline_s: int
    created_ms: int
    number: int | None = None
    calls_hash: str | None = None
    mac: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRow:
    """What one confirmed swap moved. A reversal names the fill it undoes; a fill is never edited."""

    id: int
    order_id: int
    tx_hash: TxHash
    block: BlockRef
    base: int
    quote: int
    gas_wei: int
    reverses: int | None
    created_ms: int
