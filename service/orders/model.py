"""An order as it is stored, and its states as an exchange names them.

Guarantees: amounts are base units of the asset that the name says; `max_sold` and `min_bought` are the limits that
the signed calldata carries, fixed when the order was accepted.
Not guaranteed: that the assets are still listed. The decimals needed to show an order are in its `quote` snapshot.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from chains.tx.model import PlanId
from chains.types import BlockRef, ChainId, TxHash
from contracts.assets import AssetId
from service.markets.trades import Exact, Side, exact_side


class OrderType(StrEnum):
    MARKET = "market"


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
    plan_id: PlanId


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A stored order. `gas_wei` is what all transactions of its plan have paid so far."""

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
    plan_id: PlanId
    state: OrderState
    reason: str | None
    filled_base: int
    filled_quote: int
    gas_wei: int
    created_ms: int
    updated_ms: int

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
