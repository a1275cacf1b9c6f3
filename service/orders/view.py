"""An order as clients see it: the same document in answers and in outbox events.

A pure function of the stored row: the decimals and symbols are those of the quote snapshot, so that an order can be
shown when its asset is no longer listed or its chain no longer configured.
"""

from collections.abc import Mapping
from typing import Any, Final

from chains.units import format_units, mul_div_up
from contracts.assets import Asset, Market
from service.markets.prices import price_text
from service.markets.trades import Side
from service.orders.model import FillRow, Order, OrderState
from service.orders.reasons import expiry_reason

PIPS: Final = 1_000_000


def unquoted(chain: str, market: Market, native: Asset) -> dict[str, Any]:
    """The snapshot of an order that was stored without a quote: what showing it needs."""
    assets = {"base": market.base, "quote": market.quote, "native": native}
    labels = {name: {"symbol": asset.symbol, "decimals": asset.decimals} for name, asset in assets.items()}
    return {"chain": chain, **labels, "quoted": None}


def order_document(order: Order) -> dict[str, Any]:
    """The public fields, amounts as decimal text."""
    snapshot = order.quote
    base, quote, native = snapshot["base"], snapshot["quote"], snapshot["native"]
    sold, bought = (base, quote) if order.side is Side.SELL else (quote, base)
    return {
        "id": order.id,
        "client_order_id": order.client_id,
        "chain": snapshot["chain"],
        "market": order.market,
        "side": order.side.value,
        "type": order.type.value,
        "time_in_force": None if order.time_in_force is None else order.time_in_force.value,
        "state": order.state.value,
        "reason": order.reason,
        "expiry_reason": _expiry_reason(order),
        "resting": order.is_resting,
        "base_amount": _optional(order.base_amount, base["decimals"]),
        "quote_amount": _optional(order.quote_amount, quote["decimals"]),
        "price": order.price_text,
        "stop_price": order.stop_price_text,
        "count_gas": order.count_gas,
        "slippage_bps": order.slippage_bps,
        "limit": {
            "max_sold": format_units(order.max_sold, sold["decimals"]),
            "sold_asset": sold["symbol"],
            "min_bought": format_units(order.min_bought, bought["decimals"]),
            "bought_asset": bought["symbol"],
        },
        "filled_base": format_units(order.filled_base, base["decimals"]),
        "filled_quote": format_units(order.filled_quote, quote["decimals"]),
        "average_price": price_text(
            base_raw=order.filled_base,
            base_decimals=base["decimals"],
            quote_raw=order.filled_quote,
            quote_decimals=quote["decimals"],
        ),
        "gas": {"asset": native["symbol"], "amount": format_units(order.gas_wei, native["decimals"])},
        "lp_fee": _lp_fee(order, sold),
        "quoted": snapshot["quoted"],
        "tries": order.tries,
        "retry_after_ms": order.retry_after_ms if order.is_resting else None,
        "triggered_ms": order.triggered_ms,
        "expires_ms": order.expires_ms,
        "created_ms": order.created_ms,
        "updated_ms": order.updated_ms,
    }


def fill_price(fill: FillRow, order: Order) -> str | None:
    """What one unit of base cost in a fill."""
    base, quote = order.quote["base"], order.quote["quote"]
    return price_text(
        base_raw=fill.base,
        base_decimals=base["decimals"],
        quote_raw=fill.quote,
        quote_decimals=quote["decimals"],
    )


def _expiry_reason(order: Order) -> str | None:
    if order.state is not OrderState.EXPIRED:
        return None
    return expiry_reason(order.type, order.time_in_force, reason=order.reason)


def _lp_fee(order: Order, sold: Mapping[str, Any]) -> dict[str, str] | None:
    """What pools kept of the sold asset, by the fees of the quoted route, rounded up; it is inside the price."""
    quoted = order.quote["quoted"]
    paid = order.filled_base if order.side is Side.SELL else order.filled_quote
    if quoted is None or not paid:
        return None
    pips = int(quoted.get("route", {}).get("lp_fee_pips", 0))
    return {"asset": sold["symbol"], "amount": format_units(mul_div_up(paid, pips, PIPS), sold["decimals"])}


def _optional(raw: int | None, decimals: int) -> str | None:
    return None if raw is None else format_units(raw, decimals)
