"""An order as clients see it: the same document in answers and in outbox events.

A pure function of the stored row: the decimals and symbols are those of the quote snapshot, so that an order can be
shown when its asset is no longer listed or its chain no longer configured.
"""

from typing import Any

from chains.units import format_units
from service.markets.prices import price_text
from service.markets.trades import Side
from service.orders.model import Order


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
        "state": order.state.value,
        "reason": order.reason,
        "base_amount": _optional(order.base_amount, base["decimals"]),
        "quote_amount": _optional(order.quote_amount, quote["decimals"]),
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
        "quoted": snapshot["quoted"],
        "created_ms": order.created_ms,
        "updated_ms": order.updated_ms,
    }


def _optional(raw: int | None, decimals: int) -> str | None:
    return None if raw is None else format_units(raw, decimals)
