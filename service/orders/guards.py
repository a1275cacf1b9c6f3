"""The bound on price impact for a priced trade; the rules themselves are in `service.markets.guards`."""

from service.markets import guards
from service.markets.quotes import PricedTrade


def check_price_impact(priced: PricedTrade, *, max_bps: int) -> None:
    """Raises: ApiError: price_impact_too_high."""
    guards.check_price_impact(priced.quote.price_impact_bps, max_bps=max_bps)
