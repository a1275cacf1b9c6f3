"""What a quoted trade must satisfy before it is accepted. Each guard raises, so that a list of them fails closed.

Here: the price impact. A comparison with a reference price (the feed, other venues) belongs beside it.
"""

from service.errors import ApiError
from service.markets.quotes import PricedTrade


def check_price_impact(priced: PricedTrade, *, max_bps: int) -> None:
    """Raises: ApiError: price_impact_too_high."""
    impact = priced.quote.price_impact_bps
    if impact > max_bps:
        raise ApiError(
            "price_impact_too_high",
            f"this trade would move the price by {impact} basis points; the bound is {max_bps}",
        )
