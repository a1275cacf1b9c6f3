"""Why a trade goes the way it goes, as clients see it: each path alone, the split, and what each leaves after gas."""

from typing import Any

from chains.units import format_units
from contracts.routing.explain import Candidate, Explanation
from contracts.routing.gas import judged_asset
from service.markets.needs import QuotedChain
from service.markets.quotes import block_document, legs_text, route_document
from service.markets.state.model import MarketView
from service.markets.trades import Trade


def routes_document(
    chain: QuotedChain, trade: Trade, found: Explanation, *, view: MarketView, now_ms: int
) -> dict[str, Any]:
    """The candidates, splits first and then each path alone from the best on, and the route that won."""
    judged = judged_asset(trade.sold, trade.bought, trade.exact)

    def candidate(one: Candidate) -> dict[str, Any]:
        amount = one.amount_out if trade.exact == "in" else one.amount_in
        return {
            "path": legs_text(chain, one.legs),
            "router": one.router.kind.value,
            "chosen": one == found.won,
            "amount": format_units(amount, judged.decimals),
            "net": format_units(one.net, judged.decimals),
            "gas_units": one.gas_estimate,
        }

    return {
        "chain": chain.config.key,
        "market": trade.market.symbol,
        "exact": "sell" if trade.exact == "in" else "buy",
        "judged_in": judged.symbol,
        "candidates": [candidate(one) for one in (*found.splits, *found.singles)],
        "route": route_document(chain, found.winner),
        "net": format_units(found.won.net, judged.decimals),
        "gain": format_units(found.gain, judged.decimals),
        "reason": found.reason,
        "block": block_document(view.header, now_ms),
        "checked_ms": view.checked_ms,
    }
